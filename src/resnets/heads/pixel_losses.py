"""Losses over pixels, each the mean or a share of what counts; pixels of `IGNORED` do not.

Shapes: logits (N, K, H, W) float, targets (N, H, W) uint8 class numbers, weights (K,) of the classes or None.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.types import IGNORED

FOCUS = 2.0
"""Gamma of the focal loss (arXiv:1708.02002, table 1b)."""

PixelLoss = Callable[..., Tensor]


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """The mean of -log p, each pixel counting as its class's weight; 0 where no pixel counts."""
    labels = targets.long()
    total = F.cross_entropy(logits, labels, weights, ignore_index=IGNORED, label_smoothing=smoothing, reduction="sum")
    return total / _divisor(labels, weights)


def focal(logits: Tensor, targets: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """The mean of -(1 - p)^2 log p (arXiv:1708.02002, equation 4), each pixel counting as its class's weight."""
    labels = targets.long()
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORED, label_smoothing=smoothing, reduction="none")
    likely = torch.exp(-F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="none"))
    losses = (1 - likely) ** FOCUS * losses
    if weights is not None:
        losses = losses * weights[labels.clamp(max=len(weights) - 1)]  # what is ignored has a loss of 0
    return losses.sum() / _divisor(labels, weights)


def dice(logits: Tensor, targets: Tensor) -> Tensor:
    """1 less Dice's coefficient 2 sum(p g) / (sum p + sum g), the mean over the classes that the batch has."""
    probabilities, truth = _counted(logits, targets)
    inside = (probabilities * truth).sum(0)
    there = truth.sum(0)
    losses = 1 - 2 * inside / (probabilities.sum(0) + there).clamp(min=1e-7)
    return losses[there > 0].sum() / (there > 0).sum().clamp(min=1)


def lovasz(logits: Tensor, targets: Tensor) -> Tensor:
    """Lovasz-Softmax (arXiv:1705.08790, equations 8, 9 and 12), the mean over the classes that the batch has.

    It is a convex surrogate of 1 less the intersection over union.
    """
    probabilities, truth = _counted(logits, targets)
    losses = []
    for likely, true in zip(probabilities.T, truth.T, strict=True):
        if true.any():
            errors, order = (true - likely).abs().sort(descending=True)
            ordered = true[order]
            total = ordered.sum()
            jaccard = 1 - (total - ordered.cumsum(0)) / (total + (1 - ordered).cumsum(0))
            losses.append(errors @ jaccard.diff(prepend=jaccard.new_zeros(1)))
    return torch.stack(losses).mean() if losses else logits.sum() * 0


LOSSES: dict[str, PixelLoss] = {"cross_entropy": cross_entropy, "dice": dice, "focal": focal, "lovasz": lovasz}

WEIGHTED = ("cross_entropy", "focal")
"""Losses that count a pixel as its class's weight, and can smooth labels."""


def parts_of(name: str) -> tuple[str, ...]:
    """The names in a sum of losses, such as "cross_entropy+dice"; "" is cross-entropy.

    Raises:
        ValueError: if there is no such loss, or one is named twice.
    """
    parts = tuple(name.split("+")) if name else ("cross_entropy",)
    if not set(parts) <= set(LOSSES) or len(set(parts)) < len(parts):
        raise ValueError(f"loss must be {', '.join(LOSSES)}, or a sum such as cross_entropy+dice, not {name!r}")
    return parts


def weight_of(labels: Tensor, weights: Tensor | None) -> Tensor:
    """What the pixels that count weigh together, ()."""
    counted = labels[labels != IGNORED].long()
    return counted.new_tensor(len(counted), dtype=torch.float32) if weights is None else weights[counted].sum()


def _divisor(labels: Tensor, weights: Tensor | None) -> Tensor:
    """By what the sum of the pixels' losses becomes their mean; 1 where no pixel counts."""
    total = weight_of(labels, weights)
    return total if total > 0 else torch.ones_like(total)


def _counted(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of the P pixels that count, probabilities (P, K) and the true classes as zeros and ones (P, K)."""
    chosen = targets != IGNORED
    probabilities = logits.softmax(1).movedim(1, -1)[chosen]
    return probabilities, F.one_hot(targets[chosen].long(), logits.shape[1]).to(probabilities.dtype)
