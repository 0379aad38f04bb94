"""The shortcuts of arXiv:1512.03385, section 3.3 and table 3, and of its descendants.

| kind | where the shape stays | where the shape changes |
|---|---|---|
| A | identity | every second pixel, zeros for the new channels: no parameters |
| B | identity | 1x1 convolution |
| C | 1x1 convolution | 1x1 convolution |
| D | identity | 2x2 average, then 1x1 convolution (ResNet-D, arXiv:1812.01187, figure 2c) |
| identity | identity | impossible |
| none | none | none: the plain network |

Where dilation takes the place of the stride, D has a convolution alone, and timm's networks an average at stride 1.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from resnets.layers.convolution import convolution
from resnets.layers.fused import InTurn
from resnets.layers.native import call, library, suits
from resnets.layers.normalisation import MakeNorm

SOURCE = Path(__file__).with_name("shortcuts.c")

Shortcut = Literal["A", "B", "C", "D", "identity", "none"]


class ZeroPad(nn.Module):
    """Option A: (N, C, H, W) to (N, C + extra_channels, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, extra_channels: int, stride: int) -> None:
        super().__init__()
        self.extra_channels = extra_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Every `stride`-th pixel of all channels, then channels of zeros."""
        # A 1x1 average with a stride takes the same pixels as x[:, :, ::stride, ::stride], and its gradient
        # keeps channels-last memory; a slice's does not, which slows the layers before it several times.
        x = F.avg_pool2d(x, 1, self.stride) if self.stride > 1 else x
        return F.pad(x, (0, 0, 0, 0, 0, self.extra_channels))

    def extra_repr(self) -> str:
        """What `print` shows of it."""
        return f"extra_channels={self.extra_channels}, stride={self.stride}"


def fork(x: Tensor) -> tuple[Tensor, Tensor]:
    """x for each of a block's two paths.

    PyTorch adds the gradient of one in place to that of the other. Of maps in bfloat16 on a processor that takes three
    times as long as it has to (26 MB on two cores: 7.5 ms), so there they are added here.
    """
    adds = suits(x) and x.requires_grad and library(SOURCE) is not None
    return _Fork.apply(x) if adds else (x, x)


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
        one, other = (each.contiguous(memory_format=torch.channels_last) for each in (one, other))
        total = torch.empty_like(one)
        call(SOURCE, "add", one.numel(), torch.get_num_threads(), one, other, total)
        return total


def shortcut(kind: Shortcut, in_channels: int, out_channels: int, stride: int, norm: MakeNorm | None) -> nn.Module:
    """The module that brings a block's input to the shape of its output.

    Args:
        kind: see the table above; a plain network ("none") has option A's, which its blocks leave out.
        in_channels, out_channels, stride: of the block.
        norm: what follows a projection; None in pre-activation blocks, whose projections read what is
            normalised already.

    Raises:
        ValueError: for an identity that would have to change the shape.
    """
    changes = stride != 1 or in_channels != out_channels
    if not changes and kind != "C":
        return nn.Identity()
    if kind in ("A", "none"):
        return ZeroPad(out_channels - in_channels, stride)
    if kind == "identity":
        raise ValueError(
            f"an identity cannot take {in_channels} channels to {out_channels} at stride {stride}; "
            "use shortcut 'A', 'B', 'C' or 'D'"
        )
    parts = OrderedDict[str, nn.Module]()
    if kind == "D":
        pools = stride != 1
        parts["pool"] = (
            nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False) if pools else nn.Identity()
        )
        stride = 1
    parts["conv"] = convolution(in_channels, out_channels, 1, stride)
    if norm is None:
        return nn.Sequential(parts)  # timm's names: downsample.conv
    return InTurn(*parts.values(), norm(out_channels))  # torchvision's: downsample.0, downsample.1
