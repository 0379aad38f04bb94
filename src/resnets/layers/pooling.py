"""Max-pooling, and the average over a whole map that stands between the last stage and the classifier.

Legend: N pictures, C channels, H x W places.
"""

from __future__ import annotations

from ctypes import c_int, c_long, c_void_p
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from resnets.layers.native import address, library, suits

SOURCE = Path(__file__).with_name("pooling.c")
ARGUMENTS = (*(c_long,) * 9, c_int, *(c_void_p,) * 3)
"""Of its functions."""


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
        self.numbers = kernel**2 <= 256  # whether a byte can number the places of a window

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, h, w), with h = (H + 2 padding - kernel) // stride + 1."""
        if not (self.numbers and suits(x) and x.requires_grad and library(SOURCE, x.dtype)):
            return super().forward(x)
        return _MaxPool.apply(x, self.kernel_size, self.stride, self.padding)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        N, C, *sides = x.shape
        h, w = ((side + 2 * padding - kernel) // stride + 1 for side in sides)
        y = torch.empty((N, C, h, w), dtype=x.dtype, memory_format=torch.channels_last)
        which = torch.empty_like(y, dtype=torch.uint8)
        ctx.windows = N, *sides, h, w, C, kernel, stride, padding
        _call("pool", ctx.windows, x, y, which)
        ctx.save_for_backward(which)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        N, H, W, _, _, C, *_ = ctx.windows
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = torch.empty((N, C, H, W), dtype=gradient.dtype, memory_format=torch.channels_last)
        _call("distribute", ctx.windows, gradient, *ctx.saved_tensors, of_x)
        return of_x, None, None, None


def _call(function: str, windows: tuple[int, ...], *tensors: Tensor) -> None:
    """Have `pooling.c` compute something of maps of the first tensor's type."""
    compiled = getattr(library(SOURCE, tensors[0].dtype), function)
    compiled.argtypes, compiled.restype = ARGUMENTS, None
    compiled(*windows, torch.get_num_threads(), *map(address, tensors))
