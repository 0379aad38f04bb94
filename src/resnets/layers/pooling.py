"""Max-pooling, and the average over a whole map that stands between the last stage and the classifier.

Legend: N pictures, C channels, H x W places.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

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
    """PyTorch's, of square windows; where gradients in bfloat16 are wanted of a processor, several times as fast."""

    def __init__(self, kernel: int, stride: int | None = None, padding: int = 0) -> None:
        super().__init__(kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, h, w), with h = (H + 2 padding - kernel) // stride + 1."""
        kernel, stride, padding = cast(tuple[int, int, int], (self.kernel_size, self.stride, self.padding))
        usual = self.dilation == 1 and not self.ceil_mode and not self.return_indices and kernel <= LARGEST
        fits = 2 * padding <= kernel <= min(x.shape[2:]) + 2 * padding  # else PyTorch says what is wrong
        if not (usual and fits and suits(x) and x.requires_grad and library(SOURCE) is not None):
            return super().forward(x)
        return _MaxPool.apply(x, kernel, stride, padding)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        N, C, *sides = x.shape
        h, w = ((side + 2 * padding - kernel) // stride + 1 for side in sides)
        y = _maps((N, C, h, w), x)
        which = torch.empty_like(y, dtype=torch.uint8)
        ctx.windows = N, *sides, h, w, C, kernel, stride, padding
        call(SOURCE, "pool", *ctx.windows, torch.get_num_threads(), x, y, which)
        ctx.save_for_backward(which)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        N, H, W, _, _, C, *_ = ctx.windows
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_x = _maps((N, C, H, W), gradient)
        threads, (which,) = torch.get_num_threads(), ctx.saved_tensors
        call(SOURCE, "distribute", *ctx.windows, threads, gradient, which, of_x)
        return of_x, None, None, None


def _maps(shape: tuple[int, ...], x: Tensor) -> Tensor:
    """Room for maps of a shape, of the type of x and where it is."""
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
