"""Max-pooling, and the average over a whole map that stands between the last stage and the classifier.

Legend: N pictures, C channels, H x W places.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from resnets.layers.native import call, library, suits

SOURCE = Path(__file__).with_name("pooling.c")

LARGEST = 16
"""Places of a window's side that a byte can number."""


def global_average(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, 1, 1)."""
    if torch.compiler.is_compiling():
        return x.mean((2, 3), keepdim=True)  # the same numbers, for maps of any size
    # The gradient of a mean forgets channels-last memory, which slows the layers before it several times on a CPU.
    return F.avg_pool2d(x, x.shape[2:])


class MaxPool(nn.MaxPool2d):
    """PyTorch's, of square windows; in training on a processor several times as fast, most of all on the way back."""

    def __init__(self, kernel: int, stride: int | None = None, padding: int = 0) -> None:
        super().__init__(kernel, stride or kernel, padding)
        self.window = kernel, stride or kernel, padding

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, h, w), with h = (H + 2 padding - kernel) // stride + 1."""
        kernel, _, padding = self.window
        if not (suits(x) and x.requires_grad and kernel <= LARGEST and library(SOURCE, x.dtype)):
            return super().forward(x)
        if not 2 * padding <= kernel <= min(x.shape[2:]) + 2 * padding:
            return super().forward(x)  # which says what is wrong
        return _MaxPool.apply(x, *self.window)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        N, C, *sides = x.shape
        h, w = ((side + 2 * padding - kernel) // stride + 1 for side in sides)
        y = torch.empty((N, C, h, w), dtype=x.dtype, memory_format=torch.channels_last)
        which = torch.empty_like(y, dtype=torch.uint8)
        ctx.windows = N, *sides, h, w, C, kernel, stride, padding
        call(SOURCE, "pool", x.dtype, *ctx.windows, torch.get_num_threads(), x, y, which)
        ctx.save_for_backward(which)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        N, H, W, _, _, C, *_ = ctx.windows
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = torch.empty((N, C, H, W), dtype=gradient.dtype, memory_format=torch.channels_last)
        threads, (which,) = torch.get_num_threads(), ctx.saved_tensors
        call(SOURCE, "distribute", gradient.dtype, *ctx.windows, threads, gradient, which, of_x)
        return of_x, None, None, None
