"""Masks as pictures: index pictures with a palette, and overlays."""

from __future__ import annotations

import colorsys

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from resnets.types import IGNORED

_GOLDEN = 0.61803398875  # of the circle of hues, so that any number of them are far apart
_STRENGTH = 0.6  # of a class's colour over the picture


def class_colours(count: int) -> list[tuple[int, int, int]]:
    """Red, green and blue, 0 to 255, of so many classes: those of matplotlib's tab20, strong ones first, then more."""
    table = colormaps["tab20"](range(20))[:, :3]
    known = [tuple(table[number]) for number in (*range(0, 20, 2), *range(1, 20, 2))]
    more = [colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.55 + 0.4 * (number % 2), 0.9) for number in range(20, count)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in [*known, *more][:count]]


def index_picture(mask: Tensor, classes: int) -> Image.Image:
    """A mask (h, w) uint8 as a picture whose pixels are the class numbers, shown in the classes' colours."""
    image = Image.fromarray(mask.numpy())  # grey, which becomes an index by its palette
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[:classes] = class_colours(classes)
    image.putpalette(palette.flatten().tolist())
    return image


def overlay(pixels: Tensor, mask: Tensor, classes: int, longest: int | None = None) -> Image.Image:
    """A picture under the colours of its mask; where pixels count neither way it is darkened.

    Args:
        pixels: (C, h, w) uint8 with C = 1 (grey) or 3 (RGB).
        mask: (h, w) uint8.
        classes: how many there are.
        longest: pixels of the longer side of the result; by default the picture's own size.
    """
    colours = torch.zeros(256, 3)
    colours[:classes] = torch.tensor(class_colours(classes), dtype=torch.float32)
    colours[IGNORED] = 0
    picture = pixels.expand(3, -1, -1).permute(1, 2, 0).float()  # (h, w, 3)
    blended = (1 - _STRENGTH) * picture + _STRENGTH * colours[mask.int()]
    image = Image.fromarray(blended.round().to(torch.uint8).numpy())
    if longest is not None and max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return image
