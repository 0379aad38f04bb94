"""Pre-activation residual networks (arXiv:1603.05027) and the wide ones (arXiv:1605.07146), under timm's names.

images -> stem -> layer1 -> ... -> norm, activation -> average over the map -> head.fc -> logits
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import overload

from torch import Tensor, nn

from resnets.blocks.stems import stem_convolutions, stem_pool
from resnets.layers.normalisation import ACTIVATIONS, NORMS
from resnets.networks.architecture import Architecture
from resnets.networks.resnet import ResidualNetwork, build_blocks, declared_stages, initialise
from resnets.types import Stage


class Stages(nn.Module, Sequence[Stage]):
    """The module `stages` of timm's names, which as a sequence holds what `ResidualNetwork.stages` promises."""

    def __init__(self, declared: tuple[Stage, ...], parts: list[nn.Module]) -> None:
        super().__init__()
        self.declared = declared
        for index, part in enumerate(parts):
            self.add_module(str(index), part)

    @overload
    def __getitem__(self, index: int) -> Stage: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Stage, ...]: ...
    def __getitem__(self, index: int | slice) -> Stage | tuple[Stage, ...]:
        return self.declared[index]

    def __len__(self) -> int:
        return len(self.declared)


class PreactivationResNet(ResidualNetwork):
    """The modules are `stem.conv`, `stages.0.blocks.0`..., `norm`, `head.fc`, as in timm's ResNetV2."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        a = architecture
        norm, activation = NORMS[a.norm], ACTIVATIONS[a.activation]
        self.stem = nn.Sequential(
            OrderedDict(stem_convolutions(a.stem, a.in_channels, a.stem_width, norm, activation))
        )
        self.pool = stem_pool(a.stem)
        self.stages = Stages(
            declared_stages(a),
            [nn.Sequential(OrderedDict(blocks=nn.Sequential(*blocks))) for blocks in build_blocks(a)],
        )
        self.norm = norm(a.channels[-1])
        self.activation = activation()
        self.reset_classifier(a.num_classes)
        initialise(self)

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """The stem, then the max-pool with the first stage, then one each, the last with the final activation."""
        levels = [(self.stem,), *((stage,) for stage in self.stages.children())]
        levels[1] = (self.pool, *levels[1])
        levels[-1] = (*levels[-1], self.norm, self.activation)
        return tuple(levels)

    def classify(self, x: Tensor) -> Tensor:
        """Average over the map, then the classifier."""
        return self.head(x.mean((2, 3), keepdim=True)).flatten(1)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new classifier in the old one's place; 0 for none."""
        fc = nn.Conv2d(self.architecture.channels[-1], num_classes, 1) if num_classes else nn.Identity()
        self.head = nn.Sequential(OrderedDict(fc=fc))
