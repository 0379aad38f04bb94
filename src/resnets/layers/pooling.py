"""The average over a whole map, between the last stage and the classifier."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def global_average(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, 1, 1)."""
    if torch.compiler.is_compiling():
        return x.mean((2, 3), keepdim=True)  # the same numbers, for maps of any size
    # The gradient of a mean forgets channels-last memory, which slows the layers before it several times on a CPU.
    return F.avg_pool2d(x, x.shape[2:])
