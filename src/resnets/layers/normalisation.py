"""Normalisations and activations by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

Norm = Literal["batch", "group", "frozen", "none"]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu"]

MakeNorm = Callable[[int], nn.Module]
MakeActivation = Callable[[], nn.Module]


class GroupNorm(nn.GroupNorm):
    """Group normalisation in float32 of what is in 16 bits: PyTorch's in bfloat16 is ten times slower on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) normalised, in the type of `x`."""
        if x.dtype not in (torch.bfloat16, torch.float16):
            return super().forward(x)
        weight, bias = (None if own is None else own.float() for own in (self.weight, self.bias))
        return F.group_norm(x.float(), self.num_groups, weight, bias, self.eps).to(x.dtype)


def group_norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """32 groups (arXiv:1803.08494, table 3), or fewer where a group would have less than two channels; one of odd ones.

    Without `affine` it has no scale and no bias to learn.
    """
    groups = 1 if channels % 2 else math.gcd(32, channels // 2)
    return GroupNorm(groups, channels, affine=affine)


class Shift(nn.Module):
    """What is left of a normalisation that does not normalise: (N, C, H, W) + bias (C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The map with the channels' biases added."""
        return x + self.bias[:, None, None]


NORMS: dict[Norm, MakeNorm] = {
    "batch": nn.BatchNorm2d,
    "group": group_norm,
    "frozen": FrozenBatchNorm2d,
    "none": Shift,
}

# In place for ReLU alone, whose derivative needs only its output. Each activation follows a normalisation or
# a sum, and those do not need their own output to differentiate.
ACTIVATIONS: dict[Activation, MakeActivation] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
