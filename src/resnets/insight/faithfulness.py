"""Whether a map of what matters tells the truth: the answer as squares of a picture go, or come, in its order.

As in arXiv:1806.07421, section 4.2, but by squares, as in arXiv:1509.06321: single pixels taken out here and there
break any answer, whichever they are. Squares that are not there have the mean colour. A map that is right makes the
answer fall at once when its squares go, and rise at once when they come; one that is no better than chance does as a
random order does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets.data.order import permutation
from resnets.insight.attributions import BATCH, Scalar

GRID = 8
"""Squares along each side, or as many as there are pixels."""

STEPS = 16
"""In which all squares go, equally many in each."""

ORDERS = 3
"""Random ones that stand for chance."""


@dataclass(frozen=True)
class Faithfulness:
    """The mean of the answer over the steps.

    Attributes:
        deletion: while squares go, the most important first; less is better.
        insertion: while they come; more is better.
    """

    deletion: float
    insertion: float


def faithfulness(network: nn.Module, image: Tensor, importance: Tensor, answer: Scalar) -> Faithfulness:
    """How well a map orders the squares of one picture.

    Args:
        network: in evaluation mode.
        image: (1, C, H, W), normalised.
        importance: (H, W), whose means over the squares are compared.
        answer: from the network's outputs to what is looked at, such as the probability of a class.
    """
    squares = F.adaptive_avg_pool2d(importance[None].cpu(), _grid(image))[0]
    return _along(network, image, squares.flatten().argsort(descending=True, stable=True), answer)


def chance(network: nn.Module, image: Tensor, answer: Scalar) -> Faithfulness:
    """What random orders reach, the mean of `ORDERS`."""
    rows, columns = _grid(image)
    found = [_along(network, image, permutation(seed, 0, rows * columns), answer) for seed in range(ORDERS)]
    return Faithfulness(*(sum(getattr(one, name) for one in found) / ORDERS for name in ("deletion", "insertion")))


def _grid(image: Tensor) -> tuple[int, int]:
    return min(GRID, image.shape[2]), min(GRID, image.shape[3])


@torch.no_grad()
def _along(network: nn.Module, image: Tensor, order: Tensor, answer: Scalar) -> Faithfulness:
    rank = torch.empty(len(order))
    rank[order] = torch.arange(len(order), dtype=torch.float32)
    ranks = F.interpolate(rank.view(1, 1, *_grid(image)), image.shape[2:], mode="nearest-exact")
    steps = min(STEPS, len(order))
    gone = torch.linspace(0, len(order), steps + 1).round()
    first = (ranks < gone[:, None, None, None]).to(image.device)  # (steps + 1, 1, H, W)
    means = []
    for pictures in (torch.where(first, 0, image), torch.where(first, image, 0)):
        answers = torch.cat([answer(network(part)) for part in pictures.split(BATCH)]).double()
        means.append(torch.trapezoid(answers).item() / steps)
    return Faithfulness(*means)
