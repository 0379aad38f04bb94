"""ArcFace's residual networks for recognition (arXiv:1801.07698, section 2.2); parameters under insightface's names.

    images (N, 3, 112, 112) -> 3x3 -> layer1 -> ... -> layer4 (N, 512, 7, 7) -> norm, dropout, fc, norm -> (N, 512)

A block is norm, 3x3, norm, PReLU, 3x3 with the stride, norm; nothing follows its sum. Every stage halves the map.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from resnets.blocks.residual import BlockPlan, Postactivation, Residual
from resnets.blocks.sequence import Blocks
from resnets.layers.convolution import convolution
from resnets.layers.fused import normalised
from resnets.layers.margins import EMBEDDING
from resnets.layers.shortcuts import shortcut
from resnets.networks.declaration import Declaration
from resnets.networks.initialisation import draw_weights
from resnets.networks.network import Network, feature_maps
from resnets.types import Stage

MAP = 7
"""The side of the map that the linear layer reads: 112 / 16."""


@dataclass(frozen=True, kw_only=True)
class IResNetArchitecture(Declaration):
    """One of ArcFace's networks, described in full.

    Attributes:
        depths: blocks in each stage; (3, 4, 14, 3) is iresnet50's.
        widths: channels of each stage; the stem has those of the first.
        dropout: the rate before the linear layer.
        num_classes: numbers of the embedding; 0 for none, so that the network gives its last map, flattened.

    Raises:
        ValueError: for a value out of range.
    """

    family: ClassVar[str] = "iresnet"

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    dropout: float = 0.0
    num_classes: int = EMBEDDING

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_stages("depths", "widths")
        self.check_rates("dropout")

    @property
    def repeated(self) -> tuple[int, ...]:
        """Blocks in each stage; those of a stage are alike from the second on."""
        return self.depths

    @property
    def published_size(self) -> tuple[int, int]:
        """Faces' 112x112."""
        return (112, 112)

    @property
    def loads_into_timm(self) -> bool:
        """timm does not have it."""
        return False

    @property
    def hidden(self) -> int:
        """Numbers that the linear layer reads."""
        return self.widths[-1] * MAP**2

    @property
    def layers(self) -> int:
        """Layers with weights, projections not counted: 1 + 24 * 2 + 1 of iresnet50."""
        return 1 + 2 * sum(self.depths) + (self.num_classes > 0)


class Improved(Postactivation):
    """Two 3x3 convolutions between three normalisations, with one PReLU; the second has the stride."""

    last = "bn3"

    def __init__(self, plan: BlockPlan) -> None:
        super().__init__()
        self.bn1 = plan.norm(plan.in_channels)
        self.conv1 = convolution(plan.in_channels, plan.out_channels, 3)
        self.bn2 = plan.norm(plan.out_channels)
        self.prelu = nn.PReLU(plan.out_channels)
        self.conv2 = convolution(plan.out_channels, plan.out_channels, 3, plan.stride)
        self.bn3 = plan.norm(plan.out_channels)
        self.finish(plan)
        self.downsample = shortcut("B", plan.in_channels, plan.out_channels, plan.stride, plan.norm)

    def convolve(self, x: Tensor) -> Tensor:
        """Norm, 3x3, norm, PReLU, 3x3."""
        x = normalised(self.bn2, self.conv1(normalised(self.bn1, x)))
        return self.conv2(self.prelu(x))


class Features(nn.BatchNorm1d):
    """The module `features` of insightface's names, the embedding's normalisation, whose scale is always 1.

    Called, it gives the network's maps, as every network's `features` does.

    Args:
        embedding: numbers that it normalises, 0 for none.
        network: asked for its maps.
    """

    def __init__(self, embedding: int, network: IResNet) -> None:
        super().__init__(embedding, affine=embedding > 0, track_running_stats=embedding > 0)
        if embedding:
            del self.weight
            self.register_buffer("weight", torch.ones(embedding))
        self._network = (network,)  # in a tuple, lest it become a part of this part of it

    def forward(self, x: Tensor, stages: Iterable[str] | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        """The maps (N, channels, H / stride, W / stride) of the stages named, of all unless given.

        Nothing is computed beyond the last stage asked for.

        Raises:
            ValueError: for an unknown stage, and for images of other channels or too small.
        """
        (network,) = self._network
        a = network.architecture
        return feature_maps(x, network.stages, network.levels(), stages, a.in_channels)

    def normalised(self, x: Tensor) -> Tensor:
        """The embedding (N, D), normalised."""
        return super().forward(x)


class IResNet(Network):
    """A network for recognition: `conv1`, `bn1`, `prelu`, `layer1`..., `bn2`, `dropout`, `fc`, `features`.

    The last map is averaged to 7x7, or spread over it, which changes nothing at 112x112 pixels and lets the network
    take any other size.

    Attributes:
        architecture: the declaration it was built from.
        stages: name, channels and stride of each map that `features` can give: "stem", "layer1"...
        logits_layer: the name of the layer that gives the embedding, before its normalisation.
    """

    features: Features
    logits_layer: ClassVar[str] = "fc"

    def __init__(self, architecture: IResNetArchitecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        channels = a.widths[0]
        self.conv1 = convolution(a.in_channels, channels, 3)
        self.bn1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        self.stages: tuple[Stage, ...] = (Stage("stem", channels, 1),)
        for index, (depth, width) in enumerate(zip(a.depths, a.widths, strict=True), start=1):
            blocks = [_block(channels if i == 0 else width, width, 2 if i == 0 else 1) for i in range(depth)]
            self.add_module(f"layer{index}", Blocks(*blocks))
            self.stages += (Stage(f"layer{index}", width, 2**index),)
            channels = width
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(a.dropout)
        self.pool = nn.AdaptiveAvgPool2d(MAP)
        self.reset_classifier(a.num_classes)
        draw_weights(self, "he", [block.convolutions() for block in self.blocks().values()], self.fc)

    @property
    def class_layers(self) -> tuple[str, ...]:
        """The layer that gives the embedding, and the embedding's normalisation."""
        return (self.logits_layer, "features")

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """The stem; each stage."""
        stages = (self.get_submodule(stage.name) for stage in self.stages[1:])
        return (self.conv1, self.bn1, self.prelu), *((stage,) for stage in stages)

    def classify(self, x: Tensor) -> Tensor:
        """The embedding from the last map."""
        x = self.dropout(self.pool(normalised(self.bn2, x)).flatten(1))  # (N, C, H, W) -> (N, 49 C)
        return self.features.normalised(self.fc(x)) if self.architecture.num_classes else x

    def blocks(self) -> dict[str, Residual]:
        """The residual blocks in order, by the names of their modules."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Residual)}

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new linear layer, and a normalisation behind it, in the place of the old ones; 0 for none."""
        self.architecture = replace(self.architecture, num_classes=num_classes)
        like = self.conv1.weight
        layer = nn.Linear(self.architecture.hidden, num_classes) if num_classes else nn.Identity()
        self.fc = layer.to(like.device, like.dtype)
        self.features = Features(num_classes, self).to(like.device, like.dtype).train(self.training)


def _block(in_channels: int, out_channels: int, stride: int) -> Improved:
    plan = BlockPlan(in_channels, out_channels, out_channels, nn.BatchNorm2d, nn.Identity, stride=stride)
    return Improved(plan)
