"""Pre-activation blocks: y = shortcut(x) + F(x), the sum left as it is (arXiv:1603.05027, figure 4e).

Normalisation and activation stand before each convolution. The first pair also feeds the shortcut where that is a
projection, as in the authors' code. Parameters have timm's names (`resnetv2_*`).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from resnets.blocks.residual import Residual
from resnets.layers.convolution import convolution


class Preactivation(Residual):
    """What both pre-activation blocks share."""

    norm1: nn.Module

    def preactivate(self, x: Tensor) -> Tensor:
        """The first normalisation and activation."""
        return self.activation(self.norm1(x))

    def convolve(self, x: Tensor) -> Tensor:
        """F after its first normalisation and activation."""
        raise NotImplementedError

    def shortcut(self, x: Tensor) -> Tensor:
        """x itself, or the projection of its activation."""
        return self.downsample(self.preactivate(x) if self.projects else x)

    def residual(self, x: Tensor) -> Tensor:
        """F(x), from the first normalisation to the last convolution."""
        return self.convolve(self.preactivate(x))

    def forward(self, x: Tensor) -> Tensor:
        """shortcut(x) + F(x), with what both begin with computed once."""
        self.check_paths()
        activated = self.preactivate(x)
        shortcut = self.downsample(activated if self.projects else x) if self.use_shortcut else 0
        residual = self.drop_path(self.convolve(activated)) if self.use_residual else 0
        return shortcut + residual

    @property
    def projects(self) -> bool:
        """Whether the shortcut has a convolution."""
        return isinstance(self.downsample, nn.Sequential)


class PreactivationBasic(Preactivation):
    """Two 3x3 convolutions."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        shortcut: nn.Module,
        norm: Callable[[int], nn.Module],
        activation: Callable[[], nn.Module],
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),
        attention: Callable[[int], nn.Module] | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.downsample = shortcut
        self.norm1 = norm(in_channels)
        self.conv1 = convolution(in_channels, width, 3, stride, dilations[0])
        self.norm2 = norm(width)
        self.conv2 = convolution(width, width, 3, 1, dilations[1])
        self.se = attention(width) if attention else nn.Identity()
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)
        self.drop_path = StochasticDepth(drop_path, "row")

    def convolve(self, x: Tensor) -> Tensor:
        """3x3, 3x3."""
        x = self.activation(self.norm2(self.conv1(x)))
        return self.se(self.conv2(self.dropout(x)))

    @property
    def last(self) -> nn.Module:
        """The layer whose weight scales F(x)."""
        return self.conv2


class PreactivationBottleneck(Preactivation):
    """A 1x1 convolution that narrows, a 3x3, and a 1x1 that widens."""

    expansion = 4
    convolutions = 3

    def __init__(
        self,
        in_channels: int,
        width: int,
        shortcut: nn.Module,
        norm: Callable[[int], nn.Module],
        activation: Callable[[], nn.Module],
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),
        attention: Callable[[int], nn.Module] | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        inner_width: int | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__()
        inner = inner_width or width
        self.downsample = shortcut
        self.norm1 = norm(in_channels)
        self.conv1 = convolution(in_channels, inner, 1)
        self.norm2 = norm(inner)
        self.conv2 = convolution(inner, inner, 3, stride, dilations[0], groups)
        self.norm3 = norm(inner)
        self.conv3 = convolution(inner, width * self.expansion, 1)
        self.se = attention(width * self.expansion) if attention else nn.Identity()
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)
        self.drop_path = StochasticDepth(drop_path, "row")

    def convolve(self, x: Tensor) -> Tensor:
        """1x1, 3x3, 1x1."""
        x = self.activation(self.norm2(self.conv1(x)))
        x = self.activation(self.norm3(self.conv2(x)))
        return self.se(self.conv3(self.dropout(x)))

    @property
    def last(self) -> nn.Module:
        """The layer whose weight scales F(x)."""
        return self.conv3
