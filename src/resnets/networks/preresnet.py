"""Pre-activation residual networks (arXiv:1603.05027), wide ones included, with timm's names of parameters.

images (N, 3, H, W) -> stem -> layer1 -> ... -> norm, activation -> mean over the map -> head.fc -> logits
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import overload

from torch import Tensor, nn

from resnets.blocks.residual import Residual
from resnets.blocks.sequence import Blocks
from resnets.blocks.stems import stem_convolutions, stem_pool
from resnets.layers.fused import InTurn
from resnets.layers.normalisation import ACTIVATIONS, NORMS
from resnets.layers.pooling import global_average
from resnets.networks.architecture import Architecture
from resnets.networks.resnet import ResidualNetwork, build_blocks, initialise, plan_stages
from resnets.types import Stage


class Stages(nn.Module, Sequence[Stage]):
    """What timm calls `stages`: a module that holds `0.blocks`, `1.blocks`...

    As a sequence it is what every network's `stages` is: names, channels and strides.
    """

    def __init__(self, planned: tuple[Stage, ...], stages: Iterable[list[Residual]]) -> None:
        super().__init__()
        self.planned = planned
        for index, blocks in enumerate(stages):
            self.add_module(str(index), nn.Sequential(OrderedDict(blocks=Blocks(*blocks))))

    @overload
    def __getitem__(self, index: int) -> Stage: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Stage, ...]: ...
    def __getitem__(self, index: int | slice) -> Stage | tuple[Stage, ...]:
        return self.planned[index]

    def __len__(self) -> int:
        return len(self.planned)


class PreactivationResNet(ResidualNetwork):
    """Its modules are `stem.conv`, `pool`, `stages.0.blocks.0`..., `norm`, `activation`, `head.fc`."""

    stages: Stages
    logits_layer = "head.fc"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        a = architecture
        norm, activation = NORMS[a.norm], ACTIVATIONS[a.activation]
        self.stem = InTurn(stem_convolutions(a.stem, a.in_channels, a.stem_width, norm, activation))
        self.pool = stem_pool(a.stem)
        self.stages = Stages(plan_stages(a), build_blocks(a))
        self.norm = norm(a.channels[-1])
        self.activation = activation()
        self.head = nn.Sequential(OrderedDict(fc=self.new_classifier()))
        initialise(self)

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """The stem; the max-pool with the first stage; the others, the last with the final activation."""
        levels: list[tuple[nn.Module, ...]] = [(self.stem,), *((stage,) for stage in self.stages.children())]
        levels[1] = (self.pool, *levels[1])
        levels[-1] = (*levels[-1], self.norm, self.activation)
        return tuple(levels)

    def classify(self, x: Tensor) -> Tensor:
        """Logits from the last map."""
        return self.head(global_average(x)).flatten(1)  # (N, C, 1, 1) -> (N, num_classes)

    def new_classifier(self) -> nn.Module:
        """In timm, a 1x1 convolution."""
        a = self.architecture
        return nn.Conv2d(a.channels[-1], a.num_classes, 1) if a.num_classes else nn.Identity()
