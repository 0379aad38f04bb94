"""Pictures inside a page, as data addresses."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

_CRISP = 128  # pixels: up to this side a picture keeps every pixel
_LONGEST = 288  # pixels: what a gallery's tile shows on a dense screen
_FOR, _AGAINST = (0xF0, 0x5A, 0x00), (0x1E, 0x7A, 0xE0)  # orange and blue; both stand out on grey
_STRONGEST = 0.99  # the share of pixels whose value is within the colours' range


@dataclass(frozen=True)
class Picture:
    """A picture's data address, its sides in pixels, and whether it is too small to be smoothed."""

    address: str
    width: int
    height: int
    tiny: bool


def embed(pixels: Tensor, longest: int = _LONGEST) -> Picture:
    """A picture as a data address: lossless PNG up to 128 pixels a side, else a JPEG of at most `longest`.

    Args:
        pixels: (C, H, W) uint8 with C = 1 (grey) or 3 (RGB).
        longest: pixels of the longer side.

    Raises:
        ValueError: where `pixels` is anything else.
    """
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or str(pixels.dtype) != "torch.uint8":
        raise ValueError(
            f"A picture must be uint8 of shape (1 or 3, H, W), not {pixels.dtype} of {tuple(pixels.shape)}"
        )
    channels_last = pixels.cpu().permute(1, 2, 0).contiguous().numpy()  # (H, W, C)
    image = Image.fromarray(channels_last[..., 0] if len(pixels) == 1 else channels_last)
    tiny = max(image.size) <= _CRISP
    if not tiny:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return Picture(data_address(image, "PNG" if tiny else "JPEG"), *image.size, tiny)


def overlay(pixels: Tensor, values: Tensor) -> Tensor:
    """A picture in grey under colours that say how much each pixel counts, (3, H, W) uint8.

    Orange speaks for the answer and blue against it, the more the stronger; both have one scale, which reaches to the
    0.99 quantile of the values' sizes.

    Args:
        pixels: (1 or 3, H, W) uint8.
        values: (H, W) of any scale.
    """
    grey = pixels.float().mean(0, keepdim=True)
    grey = 60 + 0.65 * grey  # less contrast than the colours
    colour, strength = _colours(values)
    strength = strength * 0.85
    return (grey * (1 - strength) + colour * strength).round().clamp(0, 255).to(torch.uint8)


def heat(values: Tensor) -> Image.Image:
    """The colours of `overlay` alone, to lie over a picture: the less a pixel counts, the more can be seen through it.

    Args:
        values: (H, W) of any scale.
    """
    colour, strength = _colours(values)
    layers = torch.cat((colour.expand(3, *values.shape), 255 * strength)).round().to(torch.uint8)
    return Image.fromarray(layers.permute(1, 2, 0).contiguous().numpy())


def _colours(values: Tensor) -> tuple[Tensor, Tensor]:
    """The colour of each pixel, (3, H, W), and how strong it is, (1, H, W) from 0 to 1."""
    sizes = values.abs().float()
    scale = torch.quantile(sizes.flatten()[:: max(1, sizes.numel() // 100_000)], _STRONGEST)
    if scale <= 0:
        scale = sizes.max().clamp(min=1e-30)
    speaks_for, speaks_against = (torch.tensor(colour)[:, None, None] for colour in (_FOR, _AGAINST))
    return torch.where(values[None] >= 0, speaks_for, speaks_against), (sizes / scale).clamp(max=1)[None]


def data_address(image: Image.Image, file_format: str) -> str:
    """The `data:` address of a picture as PNG or JPEG."""
    file = io.BytesIO()
    options = {"quality": 82} if file_format == "JPEG" else {"optimize": True}
    image.save(file, file_format, **options)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
