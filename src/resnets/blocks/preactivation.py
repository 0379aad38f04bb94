"""Pre-activation blocks: y = shortcut(x) + F(x), the sum left as it is (arXiv:1603.05027, figure 4e).

Normalisation and activation stand before each convolution. The first pair also feeds a shortcut that is
a projection, as in the authors' code. Layers have the names of timm's `resnetv2_*`.
"""

from __future__ import annotations

from torch import Tensor, nn

from resnets.blocks.residual import BlockPlan, Residual
from resnets.layers.convolution import convolution
from resnets.layers.fused import normalised
from resnets.layers.shortcuts import shortcut


class Preactivation(Residual):
    """What both pre-activation blocks share."""

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.downsample = shortcut(plan.shortcut, plan.in_channels, plan.out_channels, plan.stride, norm=None)
        self.projects = isinstance(self.downsample, nn.Sequential)
        self.norm1 = plan.norm(plan.in_channels)

    def preactivate(self, x: Tensor) -> Tensor:
        """The first normalisation and activation."""
        return normalised(self.norm1, x, self.activation)

    def convolve(self, x: Tensor) -> Tensor:
        """F after its first normalisation and activation."""
        raise NotImplementedError

    def shortcut(self, x: Tensor) -> Tensor:
        """x itself (for option A, padded), or the projection of its activation."""
        return self.downsample(self.preactivate(x) if self.projects else x)

    def residual(self, x: Tensor) -> Tensor:
        """F(x), from the first normalisation to the last convolution."""
        return self.convolve(self.preactivate(x))

    def joined(self, beside: Tensor, x: Tensor) -> Tensor:
        """shortcut(x) + F(x), what both begin with computed once."""
        self.check_paths()
        activated = self.preactivate(x)
        shortcut = self.downsample(activated if self.projects else beside) if self.use_shortcut else x.new_zeros(())
        residual = self.scaled(self.convolve(activated)) if self.use_residual else x.new_zeros(())
        return shortcut + residual


class PreactivationBasic(Preactivation):
    """Two 3x3 convolutions."""

    last = "conv2"

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__(plan)
        self.conv1 = convolution(plan.in_channels, plan.inner_channels, 3, plan.stride, plan.dilations[0])
        self.norm2 = plan.norm(plan.inner_channels)
        self.conv2 = convolution(plan.inner_channels, plan.out_channels, 3, 1, plan.dilations[1])
        self.finish(plan)

    def convolve(self, x: Tensor) -> Tensor:
        """3x3, 3x3."""
        x = normalised(self.norm2, self.conv1(x), self.activation)
        return self.se(self.conv2(self.dropout(x)))


class PreactivationBottleneck(Preactivation):
    """A 1x1 convolution that narrows, a 3x3, and a 1x1 that widens."""

    last = "conv3"

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__(plan)
        inner = plan.inner_channels
        self.conv1 = convolution(plan.in_channels, inner, 1)
        self.norm2 = plan.norm(inner)
        self.conv2 = convolution(inner, inner, 3, plan.stride, plan.dilations[0], plan.groups)
        self.norm3 = plan.norm(inner)
        self.conv3 = convolution(inner, plan.out_channels, 1)
        self.finish(plan)

    def convolve(self, x: Tensor) -> Tensor:
        """1x1, 3x3, 1x1."""
        x = normalised(self.norm2, self.conv1(x), self.activation)
        x = normalised(self.norm3, self.conv2(x), self.activation)
        return self.se(self.conv3(self.dropout(x)))
