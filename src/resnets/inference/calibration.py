"""Temperature scaling (arXiv:1706.04599, section 4.2): one number that lets probabilities be believed."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

COLDEST, HOTTEST = 0.05, 20.0


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature T for which softmax(logits / T) has the least cross-entropy.

    1 where every answer is right, because then the likelihood would always want more confidence.

    Args:
        logits: (N, K) of a split that the network was not trained on.
        targets: (N,) int64.
    """
    logits = logits.double()
    if (logits.argmax(1) == targets).all():
        return 1.0
    inverse = torch.zeros((), dtype=torch.float64, requires_grad=True)  # log(1 / T); the loss is convex in 1 / T
    optimiser = torch.optim.LBFGS([inverse], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        value = F.cross_entropy(logits * inverse.exp(), targets)
        value.backward()
        return value.item()

    optimiser.step(loss)
    return min(max(math.exp(-inverse.item()), COLDEST), HOTTEST)
