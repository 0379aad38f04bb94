"""Several views of one picture, whose answers are averaged (arXiv:1512.03385, section 4.1).

Shapes: a picture (C, H, W) uint8 to groups of views (V, C, h, w) uint8, each group of one size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from resnets.data.views import covering, view
from resnets.data.windows import INTERPOLATION
from resnets.types import Preprocessing

SCALES = (1.0, 8 / 7, 12 / 7, 15 / 7, 20 / 7)
"""The shorter sides of multi-scale testing, as shares of the input's: 224, 256, 384, 480 and 640 of 224."""

SHIFT = 1 / 32
"""By how much of its sides a picture is shifted: one pixel of CIFAR's."""


def mirrored(picture: Tensor, preprocessing: Preprocessing) -> list[Tensor]:
    """What the network sees otherwise, and its mirror image."""
    seen = view(picture, preprocessing)
    return [torch.stack([seen, seen.flip(2)])]


def shifted(picture: Tensor, preprocessing: Preprocessing) -> list[Tensor]:
    """What the network sees otherwise, the same a little to the lower right and upper left, and their mirror images.

    What comes in at the edges mirrors the picture (arXiv:2404.00498, section 3.5).
    """
    seen = view(picture, preprocessing)
    H, W = seen.shape[-2:]
    y, x = max(round(SHIFT * H), 1), max(round(SHIFT * W), 1)
    padded = tv.pad(seen, [x, y], padding_mode="reflect")
    views = torch.stack([seen, padded[:, :H, :W], padded[:, 2 * y :, 2 * x :]])
    return [torch.cat([views, views.flip(3)])]


def ten_crop(picture: Tensor, preprocessing: Preprocessing) -> list[Tensor]:
    """The four corners and the centre of the resized picture, and their mirror images."""
    resized = replace(preprocessing, size=covering(picture.shape[-2:], preprocessing), crop=1.0)
    return [torch.stack(tv.ten_crop(view(picture, resized), list(preprocessing.size)))]


def multi_scale(picture: Tensor, preprocessing: Preprocessing) -> list[Tensor]:
    """The whole picture at five scales, each with its mirror image; the network pools over all of it."""
    H, W = picture.shape[-2:]
    mode = INTERPOLATION[preprocessing.interpolation]
    views = []
    for scale in SCALES:
        height, width = (round(scale * side) for side in preprocessing.size)
        size = [max(H * width // W, height), max(W * height // H, width)]
        resized = tv.resize(picture, size, interpolation=mode, antialias=True)
        views.append(torch.stack([resized, resized.flip(2)]))
    return views


VIEWS: dict[str, Callable[[Tensor, Preprocessing], list[Tensor]]] = {
    "mirrored": mirrored,
    "shifted": shifted,
    "ten-crop": ten_crop,
    "multi-scale": multi_scale,
}
