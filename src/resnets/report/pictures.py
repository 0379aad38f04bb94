"""Pictures inside a page, as data addresses."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

_CRISP = 128  # pixels: up to this side a picture keeps every pixel
_LONGEST = 288  # pixels: what a gallery's tile shows on a dense screen


@dataclass(frozen=True)
class Picture:
    """A picture's data address, its sides in pixels, and whether it is too small to be smoothed."""

    address: str
    width: int
    height: int
    tiny: bool


def embed(pixels: Tensor) -> Picture:
    """A picture as a data address: lossless PNG up to 128 pixels a side, else a JPEG of at most 288.

    Args:
        pixels: (C, H, W) uint8 with C = 1 (grey) or 3 (RGB).

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
        image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    return Picture(data_address(image, "PNG" if tiny else "JPEG"), *image.size, tiny)


def data_address(image: Image.Image, file_format: str) -> str:
    """The `data:` address of a picture as PNG or JPEG."""
    file = io.BytesIO()
    options = {"quality": 82} if file_format == "JPEG" else {"optimize": True}
    image.save(file, file_format, **options)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
