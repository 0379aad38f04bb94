"""The convolution of every network here: square, odd, padded to keep the size, without a bias.

A normalisation follows each one, or precedes the next in pre-activation networks: a bias would do nothing.
"""

from __future__ import annotations

from torch import nn

from resnets.layers.small_maps import SmallMapConvolution


def convolution(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """(N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)).

    The 3x3 of most blocks learns from small maps in a way of its own.
    """
    if (kernel, stride, dilation, groups) == (3, 1, 1, 1):
        return SmallMapConvolution(in_channels, out_channels)
    padding = dilation * (kernel // 2)
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups, bias=False)
