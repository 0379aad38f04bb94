"""The shortcuts of arXiv:1512.03385, section 3.3 and table 3, and of its descendants.

| kind | where the shape stays | where the shape changes |
|---|---|---|
| A | identity | every second pixel, zeros for the new channels: no parameters |
| B | identity | 1x1 convolution |
| C | 1x1 convolution | 1x1 convolution |
| D | identity | 2x2 average, then 1x1 convolution (ResNet-D, arXiv:1812.01187, figure 2c) |
| identity | identity | an error |
| none | none | none: the plain network |
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from resnets.layers.convolution import convolution

Shortcut = Literal["A", "B", "C", "D", "identity", "none"]


class ZeroPad(nn.Module):
    """Option A: (N, C, H, W) to (N, C + extra, ceil(H / stride), ceil(W / stride)), the extra channels zero."""

    def __init__(self, extra_channels: int, stride: int) -> None:
        super().__init__()
        self.extra_channels = extra_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Every `stride`-th pixel of every channel, then the zeros."""
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.extra_channels))

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"extra_channels={self.extra_channels}, stride={self.stride}"


def shortcut(
    kind: Shortcut, in_channels: int, out_channels: int, stride: int, norm: Callable[[int], nn.Module] | None
) -> nn.Module:
    """The module that brings a block's input to the shape of its output.

    Args:
        kind: see the table above; a plain network has option A's, switched off.
        norm: the normalisation that follows a projection; None in pre-activation blocks, whose projections read
            what is normalised already.
    """
    same = stride == 1 and in_channels == out_channels
    if same and kind != "C":
        return nn.Identity()
    if kind in ("A", "none"):
        return ZeroPad(out_channels - in_channels, stride)
    if kind == "identity":
        raise ValueError(
            f"an identity shortcut cannot take {in_channels} channels to {out_channels} with stride {stride}; "
            "use shortcut A, B, C or D"
        )
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if kind == "D":
        shrinks = stride > 1
        parts["pool"] = (
            nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if shrinks else nn.Identity()
        )
        stride = 1
    parts["conv"] = convolution(in_channels, out_channels, 1, stride)
    if norm is None:
        return nn.Sequential(parts)  # timm's keys: downsample.conv
    return nn.Sequential(
        *parts.values(), norm(out_channels)
    )  # torchvision's keys: downsample.0, downsample.1
