"""What a true and a found mask have in common, in counts that add up over pictures.

Shapes: h x w pixels of a picture, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.types import IGNORED

BOUNDARY_TOLERANCE = 0.0075
"""How far a boundary may be off to be right, in diagonals of the picture (Csurka et al., BMVC 2013)."""


def confusion(true: Tensor, found: Tensor, classes: int) -> Tensor:
    """(K, K) int64: pixels by their true class (row) and the one found (column); ignored pixels are not counted."""
    counted = true != IGNORED
    pairs = true[counted].long() * classes + found[counted].long()
    return pairs.bincount(minlength=classes**2).view(classes, classes)


def boundaries(true: Tensor, found: Tensor, classes: int) -> Tensor:
    """(4, K) int64 boundary pixels of each class: the true and how many are found, the found and how many are true.

    A boundary pixel has another class to its left or right, above or below; ignored pixels have and make none. It is
    found if a boundary pixel of its class in the other mask is at most 0.0075 diagonals away.
    """
    found = torch.where(true == IGNORED, IGNORED, found)
    edges = [_edges(mask, classes) for mask in (true, found)]
    radius = BOUNDARY_TOLERANCE * math.hypot(*true.shape)
    near = [dilated(mask, radius) for mask in edges]
    counts = (edges[0], edges[0] & near[1], edges[1], edges[1] & near[0])
    return torch.stack([count.sum((1, 2)) for count in counts])


def _edges(mask: Tensor, classes: int) -> Tensor:
    """(K, h, w) bool: the boundary pixels of each class in a mask (h, w)."""
    edge = torch.zeros_like(mask, dtype=torch.bool)
    for dimension in (0, 1):
        length = mask.shape[dimension] - 1
        first, second = (mask.narrow(dimension, start, length) for start in (0, 1))
        differ = (first != second) & (first != IGNORED) & (second != IGNORED)
        for start in (0, 1):
            edge.narrow(dimension, start, length).logical_or_(differ)
    return edge & (mask == torch.arange(classes, device=mask.device)[:, None, None])


def dilated(masks: Tensor, radius: float) -> Tensor:
    """(K, h, w) bool: the pixels at most `radius` away from one that is true in masks (K, h, w)."""
    reach = int(radius)
    spread = [masks]  # by the pixels that a row is widened to either side
    for _ in range(reach):
        wider = spread[-1].clone()
        wider[:, :, 1:] |= spread[-1][:, :, :-1]
        wider[:, :, :-1] |= spread[-1][:, :, 1:]
        spread.append(wider)
    result = spread[reach].clone()
    for down in range(1, min(reach, masks.shape[1] - 1) + 1):
        row = spread[int(math.sqrt(radius**2 - down**2))]
        result[:, down:] |= row[:, :-down]
        result[:, :-down] |= row[:, down:]
    return result


def counts_of(logits: Tensor, true: Tensor) -> Tensor:
    """All that is kept of a picture: K * K of `confusion`, 4 * K of `boundaries`, the sum of -log p; float64, (F,).

    Args:
        logits: (K, h, w), in the picture's own pixels.
        true: (h, w) uint8.
    """
    classes = len(logits)
    found = logits.argmax(0).to(torch.uint8)
    loss = F.cross_entropy(logits[None].float(), true[None].long(), ignore_index=IGNORED, reduction="sum")
    counts = (confusion(true, found, classes).flatten(), boundaries(true, found, classes).flatten(), loss[None])
    return torch.cat([each.double().cpu() for each in counts])


def split_counts(rows: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (N, F) of `counts_of` as confusions (N, K, K), boundaries (N, 4, K) and losses (N,)."""
    square = classes**2
    return (
        rows[:, :square].reshape(-1, classes, classes),
        rows[:, square:-1].reshape(-1, 4, classes),
        rows[:, -1],
    )
