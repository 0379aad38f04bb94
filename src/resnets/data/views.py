"""From one picture of any size to the network's input size, on the CPU, still uint8."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from resnets.data.order import uniform
from resnets.data.transforms import Augmentation
from resnets.types import Preprocessing

INTERPOLATION = {
    "nearest": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}
_TRIES = 10


def view(picture: Tensor, preprocessing: Preprocessing, original: tuple[int, int] | None = None) -> Tensor:
    """What evaluation and prediction see of a picture: (C, H, W) uint8 to (C, *size) uint8.

    Resized so that it just covers `size / crop`, then cropped about its centre, as `Preprocessing` says. Where it was
    decoded at reduced size, `original` is the height and width of the whole, which say what just covers.
    """
    picture = _checked(picture, preprocessing)
    size = covering(original or picture.shape[-2:], preprocessing)
    if size != tuple(picture.shape[-2:]):
        mode = INTERPOLATION[preprocessing.interpolation]
        picture = tv.resize(picture, list(size), interpolation=mode, antialias=True)
    return tv.center_crop(picture, list(preprocessing.size))


def covering(size: Sequence[int], preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width at which a picture of that height and width just covers `size / crop`.

    The side that just covers is exact, and the other is rounded down, as torchvision's Resize does.
    """
    H, W = size
    height, width = (round(side / preprocessing.crop) for side in preprocessing.size)
    return max(H * width // W, height), max(W * height // H, width)


def random_view(
    picture: Tensor,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    index: int,
) -> Tensor:
    """What training sees of a picture in one epoch: a random part of it, resized to (C, *size) uint8.

    The part has a share of the area in `augmentation.scale` and a width by height in `augmentation.ratio`,
    both drawn ten times until it fits into the picture (arXiv:1409.4842, sec. 6); failing that, it is the
    largest about the centre that has an allowed ratio. Without a random part this is `view`.
    """
    if not augmentation.resized_crop:
        return view(picture, preprocessing)
    picture = _checked(picture, preprocessing)
    numbers = uniform(seed, epoch, torch.tensor([index]), "view", 4 * _TRIES).view(_TRIES, 4).tolist()
    top, left, height, width = _random_box(picture.shape[-2:], augmentation, numbers)
    mode = INTERPOLATION[preprocessing.interpolation]
    size = list(preprocessing.size)
    return tv.resized_crop(picture, top, left, height, width, size, interpolation=mode, antialias=True)


def _checked(picture: Tensor, preprocessing: Preprocessing) -> Tensor:
    if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != preprocessing.channels:
        raise ValueError(
            f"expected a uint8 picture of shape ({preprocessing.channels}, H, W), "
            f"not {picture.dtype} of shape {tuple(picture.shape)}"
        )
    return picture


def _random_box(
    size: Sequence[int], augmentation: Augmentation, numbers: list[list[float]]
) -> tuple[int, int, int, int]:
    """Top, left, height and width of the first drawn part that fits."""
    H, W = size
    smallest, largest = augmentation.scale
    low, high = map(math.log, augmentation.ratio)
    for area, ratio, y, x in numbers:
        pixels = H * W * (smallest + area * (largest - smallest))
        proportion = math.exp(low + ratio * (high - low))
        width, height = round(math.sqrt(pixels * proportion)), round(math.sqrt(pixels / proportion))
        if 0 < width <= W and 0 < height <= H:
            return int(y * (H - height + 1)), int(x * (W - width + 1)), height, width
    width = min(W, round(H * augmentation.ratio[1]))
    height = min(H, round(W / augmentation.ratio[0]))
    return (H - height) // 2, (W - width) // 2, height, width
