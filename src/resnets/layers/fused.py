"""Batch norm together with the sum and the ReLU that follow it, in training on a processor.

PyTorch goes over the maps for the statistics, to normalise, to add the shortcut and to clip, and over as many and more
on the way back; `fused.c` goes over them twice, and twice on the way back, where it also adds up the gradients of a map
that both paths of the next block use.

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
    activates = _is_relu(activation)
    x, _ = _normalised(norm, x, activates, shortcut)  # type: ignore[arg-type]
    return x if activation is None or activates else activation(x)


def normalised_for_two(
    norm: nn.Module, x: Tensor, activation: nn.Module | None = None, shortcut: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What `normalised` gives, for each of the next block's two paths."""
    activates = _is_relu(activation)
    nothing_else = activates or activation is None or (type(activation) is nn.Identity and not watched(activation))
    if nothing_else and _fuses(norm, x, shortcut):
        return _normalised(norm, x, activates, shortcut)  # type: ignore[arg-type]
    return fork(normalised(norm, x, activation, shortcut))


def fork(x: Tensor) -> tuple[Tensor, Tensor]:
    """x for each of a block's two paths.

    PyTorch adds the gradient of one in place to that of the other. Of maps in bfloat16 on a processor that takes three
    times as long as it has to (26 MB on two cores: 7.5 ms), so there they are added here.
    """
    adds = suits(x) and x.requires_grad and library(SOURCE) is not None
    return _Fork.apply(x) if adds else (x, x)


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


def _is_relu(activation: nn.Module | None) -> bool:
    """Whether it is what `fused.c` can do, and nobody would miss the module."""
    return type(activation) is nn.ReLU and not watched(activation)


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


def _normalised(norm: nn.BatchNorm2d, x: Tensor, activates: bool, shortcut: Tensor | None) -> tuple[Tensor, Tensor]:
    """The map that `_Normalised` gives, twice; the batch is counted into the statistics as PyTorch does it."""
    y, again, of_channels = _Normalised.apply(x, shortcut, norm.weight, norm.bias, float(norm.eps), activates)
    rows = x.numel() // x.shape[1]
    mean, variance = of_channels[:2]
    share = cast(float, norm.momentum)
    with torch.no_grad():
        cast(Tensor, norm.running_mean).lerp_(mean, share)
        cast(Tensor, norm.running_var).lerp_(variance * (rows / (rows - 1)), share)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
    return y, again


class _Normalised(torch.autograd.Function):
    """(N, C, H, W) normalised, added to and clipped, twice; and mean, variance, slope and offset (4, C)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shortcut: Tensor | None, weight: Tensor, bias: Tensor, epsilon: float, activates: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, of_channels = torch.empty_like(x), weight.new_empty(4, len(weight))
        _call("normalise", x, (activates, epsilon), x, shortcut, weight, bias, y, of_channels)
        ctx.save_for_backward(x, y if activates and shortcut is not None else None, of_channels)
        ctx.options = activates, epsilon
        ctx.adds = shortcut is not None
        ctx.mark_non_differentiable(of_channels)
        ctx.set_materialize_grads(False)
        return y, y.view_as(y), of_channels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, one: Tensor | None, other: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        x, y, of_channels = ctx.saved_tensors
        gradient, second = (other, None) if one is None else (one, other)
        if gradient is None:
            return (None,) * 6
        gradient, second = _as_maps(gradient), None if second is None else _as_maps(second)
        of_sum = None if y is None and second is None else torch.empty_like(x)
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        of_weight, of_bias = of_channels.new_empty(2, x.shape[1])
        _call("differentiate", x, ctx.options, gradient, second, x, y, of_channels, of_sum, of_x, of_weight, of_bias)
        of_shortcut = (gradient if of_sum is None else of_sum) if ctx.adds else None
        return of_x, of_shortcut, of_weight, of_bias, None, None


class _Fork(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return x.view_as(x), x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(_: Any, one: Tensor | None, other: Tensor | None) -> Tensor | None:
        if one is None or other is None:
            return one if other is None else other
        one, other = _as_maps(one), _as_maps(other)
        total = torch.empty_like(one)
        call(SOURCE, "add", one.numel(), torch.get_num_threads(), one, other, total)
        return total


def _as_maps(gradient: Tensor) -> Tensor:
    """As it has to lie in memory."""
    return gradient.contiguous(memory_format=torch.channels_last)


def _call(function: str, x: Tensor, options: tuple[bool, float], *tensors: Tensor | None) -> None:
    """Have `fused.c` compute something of maps like `x`."""
    rows, channels, threads = x.numel() // x.shape[1], x.shape[1], torch.get_num_threads()
    scratch = x.new_empty((3 * threads + 1) * channels, dtype=torch.float64)
    call(SOURCE, function, rows, channels, threads, *options, *tensors, scratch)
