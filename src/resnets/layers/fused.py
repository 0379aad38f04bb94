"""Batch norm together with the sum and the ReLU that follow it, in training on a processor.

PyTorch goes over the maps for the statistics, to normalise, to add the shortcut and to clip, and over as many and more
on the way back; `fused.c` goes over them twice, and twice on the way back.

Legend: N pictures, C channels, H x W places.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from resnets.layers.native import call, library, suits, watched

SOURCE = Path(__file__).with_name("fused.c")


def normalised(
    norm: nn.Module, x: Tensor, activation: nn.Module | None = None, shortcut: Tensor | None = None
) -> Tensor:
    """activation(norm(x) + shortcut) of maps (N, C, H, W), without the sum or the activation where they are not given.

    In training in bfloat16 on a processor, batch norm of channels-last maps is computed together with the sum, and with
    ReLU. Modules that hooks watch are called as they are. What is fused can be differentiated once.
    """
    if not _fuses(norm, x, shortcut):
        x = norm(x)
        x = x if shortcut is None else shortcut + x
        return x if activation is None else activation(x)
    activates = type(activation) is nn.ReLU and not watched(activation)
    x = _normalised(norm, x, activates, shortcut)  # type: ignore[arg-type]
    return x if activation is None or activates else activation(x)


def in_turn(modules: Iterable[nn.Module], x: Tensor) -> Tensor:
    """What the modules make of x one after another, a batch norm together with the ReLU that follows it."""
    remaining = deque(modules)
    while remaining:
        module = remaining.popleft()
        if isinstance(module, nn.BatchNorm2d):
            activates = bool(remaining) and isinstance(remaining[0], nn.ReLU)
            x = normalised(module, x, remaining.popleft() if activates else None)
        else:
            x = module(x)
    return x


class InTurn(nn.Sequential):
    """PyTorch's, but for a batch norm and its ReLU, which go together."""

    def forward(self, x: Tensor) -> Tensor:
        """What the last module gives."""
        return in_turn(self, x)


def _fuses(norm: nn.Module, x: Tensor, shortcut: Tensor | None) -> bool:
    """Whether `fused.c` can do what batch norm and a sum do, and nobody would miss the module."""
    return (
        type(norm) is nn.BatchNorm2d
        and norm.training
        and norm.track_running_stats
        and norm.momentum is not None
        and suits(x)
        and all(_is_of_channels(tensor, x.shape[1]) for tensor in (norm.weight, norm.bias, norm.running_mean))
        and x.numel() > x.shape[1]
        and (shortcut is None or (suits(shortcut) and shortcut.shape == x.shape))
        and not watched(norm)
        and library(SOURCE) is not None
    )


def _is_of_channels(tensor: Tensor | None, channels: int) -> bool:
    """Whether a tensor is one float32 a channel, side by side in memory."""
    return (
        tensor is not None
        and tensor.shape == (channels,)
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and tensor.is_contiguous()
    )


def _normalised(norm: nn.BatchNorm2d, x: Tensor, activates: bool, shortcut: Tensor | None) -> Tensor:
    """What `_Normalised` gives; the batch is counted into the statistics as PyTorch does it."""
    y, of_channels = _Normalised.apply(x, shortcut, norm.weight, norm.bias, float(norm.eps), activates)
    rows = x.numel() // x.shape[1]
    mean, variance = of_channels[:2]
    share = cast(float, norm.momentum)
    with torch.no_grad():
        cast(Tensor, norm.running_mean).lerp_(mean, share)
        cast(Tensor, norm.running_var).lerp_(variance * (rows / (rows - 1)), share)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
    return y


class _Normalised(torch.autograd.Function):
    """(N, C, H, W) normalised, added to and clipped; and (4, C): mean, variance, slope and offset of the channels."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, epsilon: float, activates: bool
    ) -> tuple[Tensor, Tensor]:
        y, of_channels = torch.empty_like(x), weight.new_empty(4, len(weight))
        _call("normalise", x, (activates, epsilon), x, shortcut, weight, bias, y, of_channels)
        ctx.save_for_backward(x, y if activates and shortcut is not None else None, of_channels)
        ctx.options = activates, epsilon
        ctx.adds = shortcut is not None
        ctx.mark_non_differentiable(of_channels)
        return y, of_channels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, y, of_channels = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_sum = None if y is None else torch.empty_like(x)
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        of_weight, of_bias = of_channels.new_empty(2, x.shape[1])
        _call("differentiate", x, ctx.options, gradient, x, y, of_channels, of_sum, of_x, of_weight, of_bias)
        of_shortcut = (gradient if of_sum is None else of_sum) if ctx.adds else None
        return of_x, of_shortcut, of_weight, of_bias, None, None


def _call(function: str, x: Tensor, options: tuple[bool, float], *tensors: Tensor | None) -> None:
    """Have `fused.c` compute something of maps like `x`."""
    rows, channels, threads = x.numel() // x.shape[1], x.shape[1], torch.get_num_threads()
    scratch = x.new_empty((3 * threads + 1) * channels, dtype=torch.float64)
    call(SOURCE, function, rows, channels, threads, *options, *tensors, scratch)
