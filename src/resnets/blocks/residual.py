"""The residual blocks: y = activation(shortcut(x) + F(x)) (arXiv:1512.03385, equation 2 and figure 5).

| block | F(x) |
|---|---|
| basic | 3x3, 3x3 |
| bottleneck | 1x1 to fewer channels, 3x3, 1x1 back to four times as many |

A normalisation follows each convolution, an activation each normalisation but the last. In `preactivation.py`
they precede the convolutions. Layers have torchvision's names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from resnets.layers.attention import squeeze_excitation
from resnets.layers.convolution import convolution
from resnets.layers.fused import fork, normalised, normalised_for_two
from resnets.layers.native import watched
from resnets.layers.normalisation import MakeActivation, MakeNorm
from resnets.layers.shortcuts import Shortcut, shortcut


@dataclass(frozen=True)
class BlockPlan:
    """What one block is made of; `resnets.networks.architecture.Architecture` explains the options.

    Attributes:
        in_channels, inner_channels, out_channels: of its input, between its convolutions, and of its output.
        stride: of the 3x3, or of the first 1x1 where `stride_first` is set.
        scale: where F(x) is multiplied by a number that is learnt, what that begins at.
        dilations: of the first 3x3 and of the second, if there is one; they differ where dilation sets in.
    """

    in_channels: int
    inner_channels: int
    out_channels: int
    norm: MakeNorm
    activation: MakeActivation
    shortcut: Shortcut = "B"
    stride: int = 1
    stride_first: bool = False
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    squeeze_excitation: bool = False
    dropout: float = 0.0
    drop_path: float = 0.0
    scale: float | None = None


class Residual(nn.Module):
    """What all blocks share: the sum of two paths, each of which can be reached, watched and switched off.

    `residual(x)` is F(x), `shortcut(x)` what it is added to. A forward hook on `drop_path` sees F(x) in any
    pass. An experiment may set `use_shortcut` or `use_residual` to False, as a plain network's is the former.
    """

    last: ClassVar[str]  # the layer whose weight scales F(x)
    downsample: nn.Module

    def finish(self, plan: BlockPlan) -> None:
        """Add to the convolutions what all blocks have."""
        self.se = squeeze_excitation(plan.out_channels) if plan.squeeze_excitation else nn.Identity()
        self.activation = plan.activation()
        self.dropout = nn.Dropout(plan.dropout)
        self.drop_path = StochasticDepth(plan.drop_path, "row")
        self.scale = None if plan.scale is None else nn.Parameter(torch.tensor(plan.scale))
        self.use_shortcut = plan.shortcut != "none"
        self.use_residual = True

    def shortcut(self, x: Tensor) -> Tensor:
        """The block's input in the shape of its output."""
        return self.downsample(x)

    def residual(self, x: Tensor) -> Tensor:
        """F(x)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """activation(shortcut(x) + F(x))."""
        return self.joined(*self.paths(x))

    def joined(self, beside: Tensor, x: Tensor) -> Tensor:
        """What `forward` gives of x, given once for the shortcut and once for F."""
        self.check_paths()
        shortcut = self.shortcut(beside) if self.use_shortcut else x.new_zeros(())
        residual = self.scaled(self.residual(x)) if self.use_residual else x.new_zeros(())
        return self.activation(shortcut + residual)

    def paths(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x for the shortcut and for F; who watches a part of the block sees x itself, with the gradient of both."""
        return (x, x) if watched(*self.modules()) else fork(x)

    def parted(self, beside: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `joined` gives, for the shortcut and F of the next block."""
        return fork(self.joined(beside, x))

    def scaled(self, residual: Tensor) -> Tensor:
        """F(x) as it enters the sum: times its scale, if there is one, and dropped for some pictures in training."""
        return self.drop_path(residual if self.scale is None else self.scale * residual)

    def convolutions(self) -> list[nn.Conv2d]:
        """Those of F(x), in order."""
        return [module for name, module in self.named_children() if name.startswith("conv")]  # type: ignore[misc]

    def check_paths(self) -> None:
        """Raise ValueError where neither path is left."""
        if not (self.use_shortcut or self.use_residual):
            raise ValueError("a block needs its shortcut or its residual; both are switched off")


class Postactivation(Residual):
    """What the blocks whose F(x) ends in a normalisation share; the activation, if there is one, follows the sum."""

    def convolve(self, x: Tensor) -> Tensor:
        """F(x) before its last normalisation."""
        raise NotImplementedError

    def residual(self, x: Tensor) -> Tensor:
        """F(x)."""
        return self.se(self.get_submodule(self.last)(self.convolve(x)))

    def joined(self, beside: Tensor, x: Tensor) -> Tensor:
        """activation(shortcut(x) + F(x)); where F(x) enters the sum as it was normalised, all in one."""
        if not self.use_residual or self.changes_residual():
            return super().joined(beside, x)
        shortcut = self.shortcut(beside) if self.use_shortcut else None
        return normalised(self.get_submodule(self.last), self.convolve(x), self.activation, shortcut)

    def parted(self, beside: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `joined` gives, for the shortcut and F of the next block."""
        if not self.use_residual or self.changes_residual():
            return super().parted(beside, x)
        shortcut = self.shortcut(beside) if self.use_shortcut else None
        return normalised_for_two(self.get_submodule(self.last), self.convolve(x), self.activation, shortcut)

    def changes_residual(self) -> bool:
        """Whether anything is done to F(x) between its last normalisation and the sum, or looks at it there."""
        drops = self.training and self.drop_path.p > 0
        attends = not isinstance(self.se, nn.Identity)
        otherwise = type(self).residual is not Postactivation.residual or type(self).scaled is not Residual.scaled
        return drops or attends or otherwise or self.scale is not None or watched(self.se, self.drop_path)


class Basic(Postactivation):
    """Two 3x3 convolutions (figure 5, left)."""

    last = "bn2"

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.conv1 = convolution(plan.in_channels, plan.inner_channels, 3, plan.stride, plan.dilations[0])
        self.bn1 = plan.norm(plan.inner_channels)
        self.conv2 = convolution(plan.inner_channels, plan.out_channels, 3, 1, plan.dilations[1])
        self.bn2 = plan.norm(plan.out_channels)
        self.finish(plan)
        self.downsample = shortcut(plan.shortcut, plan.in_channels, plan.out_channels, plan.stride, plan.norm)

    def convolve(self, x: Tensor) -> Tensor:
        """3x3, 3x3."""
        x = normalised(self.bn1, self.conv1(x), self.activation)
        return self.conv2(self.dropout(x))


class Bottleneck(Postactivation):
    """A 1x1 convolution that narrows, a 3x3, and a 1x1 that widens (figure 5, right)."""

    last = "bn3"

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        first, second = (plan.stride, 1) if plan.stride_first else (1, plan.stride)
        inner = plan.inner_channels
        self.conv1 = convolution(plan.in_channels, inner, 1, first)
        self.bn1 = plan.norm(inner)
        self.conv2 = convolution(inner, inner, 3, second, plan.dilations[0], plan.groups)
        self.bn2 = plan.norm(inner)
        self.conv3 = convolution(inner, plan.out_channels, 1)
        self.bn3 = plan.norm(plan.out_channels)
        self.finish(plan)
        self.downsample = shortcut(plan.shortcut, plan.in_channels, plan.out_channels, plan.stride, plan.norm)

    def convolve(self, x: Tensor) -> Tensor:
        """1x1, 3x3, 1x1."""
        x = normalised(self.bn1, self.conv1(x), self.activation)
        x = normalised(self.bn2, self.conv2(x), self.activation)
        return self.conv3(self.dropout(x))
