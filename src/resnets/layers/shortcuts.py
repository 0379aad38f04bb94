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
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from resnets.layers.convolution import convolution
from resnets.layers.fused import InTurn
from resnets.layers.normalisation import MakeNorm

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
