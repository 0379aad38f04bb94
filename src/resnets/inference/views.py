"""Several views of one picture, whose answers are averaged (arXiv:1512.03385, section 4.1).

Some are made of what the network sees otherwise, of many pictures at once: (N, C, H, W) uint8 to as many for each view.
Others are made of one picture (C, h, w) uint8 as it was decoded: groups of views (V, C, H, W), each of one size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
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


def mirrored(seen: Tensor) -> list[Tensor]:
    """What the network sees otherwise, and its mirror image."""
    return [seen, seen.flip(3)]


def shifted(seen: Tensor) -> list[Tensor]:
    """What the network sees otherwise, the same a little to the lower right and upper left, and their mirror images.

    What comes in at the edges mirrors the picture (arXiv:2404.00498, section 3.5).
    """
    H, W = seen.shape[-2:]
    y, x = max(round(SHIFT * H), 1), max(round(SHIFT * W), 1)
    padded = tv.pad(seen, [x, y], padding_mode="reflect")
    views = [seen, padded[..., :H, :W], padded[..., 2 * y :, 2 * x :]]
    return [*views, *(each.flip(3) for each in views)]


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


OF_SEEN: dict[str, Callable[[Tensor], list[Tensor]]] = {"mirrored": mirrored, "shifted": shifted}
OF_WHOLE: dict[str, Callable[[Tensor, Preprocessing], list[Tensor]]] = {
    "ten-crop": ten_crop,
    "multi-scale": multi_scale,
}
VIEWS = (*OF_SEEN, *OF_WHOLE)


def averages(pictures: Sequence[Sequence[Tensor]], answers: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """For each picture the mean of the answers to all its views; those of one size are computed together.

    Args:
        pictures: for each its groups of views.
        answers: to a batch of views, a row each; it is given as many at a time as there are pictures.
    """
    alike: dict[torch.Size, list[tuple[int, Tensor]]] = defaultdict(list)
    for number, groups in enumerate(pictures):
        for group in groups:
            alike[group.shape[1:]].append((number, group))
    found: list[list[Tensor]] = [[] for _ in pictures]
    for members in alike.values():
        parts = torch.cat([group for _, group in members]).split(len(pictures))
        rows = torch.cat([answers(part) for part in parts])
        for (number, _), own in zip(members, rows.split([len(group) for _, group in members]), strict=True):
            found[number].append(own)
    return [torch.cat(own).mean(0) for own in found]
