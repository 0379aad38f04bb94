"""The residual blocks: y = activation(shortcut(x) + F(x)) (arXiv:1512.03385, equation 2 and figure 5).

| block | F(x) | channels of y |
|---|---|---|
| basic | 3x3, 3x3 | width |
| bottleneck | 1x1, 3x3, 1x1 | 4 width |

Each convolution is followed by a normalisation, and all but the last of those by an activation. In `preactivation.py`
they precede the convolutions instead. Parameters have torchvision's names.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from resnets.layers.convolution import convolution


class Residual(nn.Module):
    """What all residual blocks share: the sum of two paths, each of which can be reached, watched and switched off.

    `block.residual(x)` is F(x) and `block.shortcut(x)` what it is added to. A forward hook on `block.drop_path`
    sees F(x) during any pass. An experiment may switch off one of `use_shortcut` and `use_residual`.
    """

    expansion = 1
    convolutions = 2

    downsample: nn.Module
    drop_path: StochasticDepth
    activation: nn.Module
    use_shortcut = True
    use_residual = True

    def shortcut(self, x: Tensor) -> Tensor:
        """The block's input in the shape of its output."""
        return self.downsample(x)

    def residual(self, x: Tensor) -> Tensor:
        """F(x), what the block adds to its shortcut."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """activation(shortcut(x) + F(x))."""
        self.check_paths()
        shortcut = self.shortcut(x) if self.use_shortcut else 0
        residual = self.drop_path(self.residual(x)) if self.use_residual else 0
        return self.activation(shortcut + residual)

    def check_paths(self) -> None:
        """Raise ValueError where neither path is left."""
        if not (self.use_shortcut or self.use_residual):
            raise ValueError("a block needs its shortcut or its residual; both are switched off")


class Basic(Residual):
    """Two 3x3 convolutions (figure 5, left)."""

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
        self.conv1 = convolution(in_channels, width, 3, stride, dilations[0])
        self.bn1 = norm(width)
        self.conv2 = convolution(width, width, 3, 1, dilations[1])
        self.bn2 = norm(width)
        self.se = attention(width) if attention else nn.Identity()
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)
        self.drop_path = StochasticDepth(drop_path, "row")
        self.downsample = shortcut

    def residual(self, x: Tensor) -> Tensor:
        """F(x): 3x3, 3x3."""
        x = self.activation(self.bn1(self.conv1(x)))
        return self.se(self.bn2(self.conv2(self.dropout(x))))

    @property
    def last(self) -> nn.Module:
        """The layer whose weight scales F(x)."""
        return self.bn2


class Bottleneck(Residual):
    """A 1x1 convolution that narrows, a 3x3, and a 1x1 that widens (figure 5, right)."""

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
        stride_first: bool = False,
    ) -> None:
        super().__init__()
        inner = inner_width or width
        first, second = (stride, 1) if stride_first else (1, stride)
        self.conv1 = convolution(in_channels, inner, 1, first)
        self.bn1 = norm(inner)
        self.conv2 = convolution(inner, inner, 3, second, dilations[0], groups)
        self.bn2 = norm(inner)
        self.conv3 = convolution(inner, width * self.expansion, 1)
        self.bn3 = norm(width * self.expansion)
        self.se = attention(width * self.expansion) if attention else nn.Identity()
        self.activation = activation()
        self.dropout = nn.Dropout(dropout)
        self.drop_path = StochasticDepth(drop_path, "row")
        self.downsample = shortcut

    def residual(self, x: Tensor) -> Tensor:
        """F(x): 1x1, 3x3, 1x1."""
        x = self.activation(self.bn1(self.conv1(x)))
        x = self.activation(self.bn2(self.conv2(x)))
        return self.se(self.bn3(self.conv3(self.dropout(x))))

    @property
    def last(self) -> nn.Module:
        """The layer whose weight scales F(x)."""
        return self.bn3
