"""Objects in pictures of any size: what the network's input shows, or all of a large picture tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from resnets.data.views import painted
from resnets.data.windows import Window, tiles, whole
from resnets.types import Preprocessing

SAME_OBJECT = 0.5
"""Two boxes of one class from different tiles that overlap by more (IoU) are one object."""

AT_EDGE = 2.0
"""Pixels: a box that ends so near to a tile's edge is of an object that the tile cuts."""


def find_objects(
    pictures: Sequence[Tensor],
    preprocessing: Preprocessing,
    answers: Callable[[Tensor], Tensor],
    batch_size: int,
    tiled: bool = False,
) -> list[Tensor]:
    """The detections (D, 6 and more) in each picture, in its own pixels, the surest first.

    Args:
        pictures: each (C, h, w) uint8, of any size.
        preprocessing: of the network.
        answers: from inputs (N, C, H, W) uint8 to detections (N, D, 6 and more) in the pixels of the input.
        batch_size: inputs at a time.
        tiled: look at tiles of the input's size, at the picture's own resolution, beside the whole picture.
    """
    seen = [
        (number, window)
        for number, picture in enumerate(pictures)
        for window in windows_of((picture.shape[1], picture.shape[2]), preprocessing, tiled)
    ]
    found: list[list[Tensor]] = [[] for _ in pictures]
    remaining = iter(seen)
    while chunk := list(islice(remaining, batch_size)):
        inputs = torch.stack([painted([(pictures[number], window)], preprocessing) for number, window in chunk])
        for (number, window), rows in zip(chunk, answers(inputs), strict=True):
            _, h, w = pictures[number].shape
            found[number].append(placed(rows[rows[:, 4] > 0], window, (h, w)))
    return [merged(parts) for parts in found]


def windows_of(size: tuple[int, int], preprocessing: Preprocessing, tiled: bool) -> list[Window]:
    """Through which windows a picture of `size` is looked at; tiles where it is larger than the input."""
    larger = size[0] > preprocessing.size[0] or size[1] > preprocessing.size[1]
    return [whole(size, preprocessing), *(tiles(size, preprocessing) if tiled and larger else ())]


def placed(rows: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    """Detections (D, 6 and more) of an input in the pixels of the picture, without those that the window cuts."""
    part, limits = window.part, torch.tensor([size[1], size[0]] * 2, dtype=torch.float32)
    edges = torch.tensor([part.left, part.top, part.left + part.width, part.top + part.height], dtype=torch.float32)
    inner = (edges > 0) & (edges < limits)
    boxes = window.boxes_back(rows[:, :4])
    cut = (((boxes - edges).abs() < AT_EDGE) & inner).any(1)
    return torch.cat((boxes.clamp(min=0).minimum(limits), rows[:, 4:]), 1)[~cut]


def merged(parts: Sequence[Tensor]) -> Tensor:
    """The detections of all windows of a picture, each object once."""
    rows = torch.cat(list(parts))
    if len(parts) == 1:
        return rows
    return rows[batched_nms(rows[:, :4], rows[:, 4], rows[:, 5].long(), SAME_OBJECT)]
