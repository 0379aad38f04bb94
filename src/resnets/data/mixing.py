"""Two pictures made one, and parts of pictures erased: batches on their device, every random part an
argument.

A picture's partner is the one before it in the batch, whose order is random already. Targets are (N, K) class
shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_TRIES = 8  # a gamma variate needs a second try in under 5 % of cases, so eight fail less than once in 10**10
BETA_NUMBERS = 2 * (3 * _TRIES + 1)
"""How many uniform numbers `beta` takes for each of its results."""

_ERASED_AREA = (0.02, 1 / 3)  # arXiv:1708.04896, sec. 4: s_l, s_h, and the range of ratios r_1
_ERASED_RATIO = (0.3, 1 / 0.3)


def mixup(images: Tensor, targets: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Blend each picture with its partner: `share` (N,) of itself, the rest of that (arXiv:1710.09412)."""
    weight = share.to(images.dtype)[:, None, None, None]
    blended = images * weight + images.roll(1, 0) * (1 - weight)
    return blended, _blend(targets, share)


def cutmix(images: Tensor, targets: Tensor, share: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Replace a rectangle of each picture by the same part of its partner (arXiv:1905.04899).

    The rectangle has the picture's proportions and 1 - `share` (N,) of its area, about `centres` (N, 2), y
    and x from 0 to 1; what reaches over the border is cut off. Targets are shared by the area that is really
    left.
    """
    side = (1 - share).clamp(min=0).sqrt()
    cut = _rectangles(centres, side, side, images.shape[-2:])
    left = 1 - cut.flatten(1).mean(1, dtype=torch.float32)
    return torch.where(cut[:, None], images.roll(1, 0), images), _blend(targets, left)


def erase(images: Tensor, numbers: Tensor, probability: float) -> Tensor:
    """Set a rectangle of some pictures to zero, which is the mean colour once they are normalised.

    `numbers` (N, 5) uniform in [0, 1) say whether, the rectangle's area (2 % to a third of the picture), its
    ratio of height by width (0.3 to 3.3) and its centre: arXiv:1708.04896, but that a rectangle may reach
    over the border.
    """
    H, W = images.shape[-2:]
    whether, area, ratio = numbers[:, 0], numbers[:, 1], numbers[:, 2]
    area = _ERASED_AREA[0] + area * (_ERASED_AREA[1] - _ERASED_AREA[0])
    low, high = map(math.log, _ERASED_RATIO)
    ratio = torch.exp(low + ratio * (high - low)) * (W / H)
    erased = _rectangles(numbers[:, 3:], (area * ratio).sqrt(), (area / ratio).sqrt(), images.shape[-2:])
    erased = erased & (whether < probability)[:, None, None]
    return images.masked_fill(erased[:, None], 0)


def beta(alpha: float, numbers: Tensor) -> Tensor:
    """(N,) numbers of the distribution Beta(alpha, alpha), from (N, BETA_NUMBERS) uniform ones."""
    first, second = (_log_gamma_variate(alpha, half) for half in numbers.chunk(2, dim=1))
    return torch.sigmoid(first - second)  # x / (x + y) of two gamma variates, safe where both underflow


def _log_gamma_variate(shape: float, numbers: Tensor) -> Tensor:
    """The logarithm of a Gamma(shape, 1) variate: G. Marsaglia and W. Tsang, ACM TOMS 26 (2000), pp. 363-372.

    Drawn for shape + 1 and brought down by U ** (1 / shape), their section 6.
    """
    tiny = torch.finfo(torch.float32).tiny
    boost, tries = numbers[:, 0], numbers[:, 1:].unflatten(1, (_TRIES, 3))
    d = shape + 1 - 1 / 3
    radius = (-2 * (1 - tries[..., 0]).log()).sqrt()  # Box and Muller
    normal = radius * torch.cos(2 * math.pi * tries[..., 1])
    v = (1 + normal / math.sqrt(9 * d)) ** 3
    log_v = v.clamp(min=tiny).log()
    accepted = (v > 0) & ((1 - tries[..., 2]).log() < normal**2 / 2 + d - d * v + d * log_v)
    first = accepted.int().argmax(1, keepdim=True)
    return math.log(d) + log_v.gather(1, first)[:, 0] + (1 - boost).log() / shape


def _blend(targets: Tensor, share: Tensor) -> Tensor:
    return targets * share[:, None] + targets.roll(1, 0) * (1 - share[:, None])


def _rectangles(centres: Tensor, heights: Tensor, widths: Tensor, size: Sequence[int]) -> Tensor:
    """(N, H, W) bool; centres, heights and widths are shares of the picture's sides."""
    H, W = size
    y = (torch.arange(H, device=centres.device) + 0.5) / H
    x = (torch.arange(W, device=centres.device) + 0.5) / W
    rows = (y - centres[:, :1]).abs() < heights[:, None] / 2
    columns = (x - centres[:, 1:]).abs() < widths[:, None] / 2
    return rows[:, :, None] & columns[:, None, :]
