"""A residual network for small pictures that is quickly trained, of few wide layers.

    images (N, 3, 32, 32) -> whitening 2x2 -> layer1 -> layer2 -> layer3 (N, 256, 4, 4) -> maximum of the map
        -> fc, times 1/9 -> logits (N, K)

A stage is a 3x3 convolution, a max-pool that halves the map, a normalisation and an activation, and then a residual
block y = x + activation(norm(3x3(x))). Stem, widths and the scale of the logits are those of airbench94
(arXiv:2404.00498, section 3), which has the same layers without shortcuts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from resnets.blocks.residual import BlockPlan, Residual
from resnets.blocks.sequence import Blocks
from resnets.layers.fused import InTurn, normalised
from resnets.layers.normalisation import ACTIVATIONS, Activation
from resnets.layers.pooling import MaxPool
from resnets.layers.small_maps import SmallMapConvolution
from resnets.layers.whitening import Whitening
from resnets.networks.declaration import CIFAR_SIZE, Declaration
from resnets.networks.initialisation import draw_weights
from resnets.networks.network import Network, feature_maps
from resnets.types import Stage


@dataclass(frozen=True, kw_only=True)
class FastResNetArchitecture(Declaration):
    """A network that is quickly trained, described in full.

    Attributes:
        depths: residual blocks of each stage.
        widths: channels of each stage.
        activation: after each normalisation, and after the stem.
        output_scale: by which the classifier's outputs are multiplied.

    Raises:
        ValueError: for a value out of range.
    """

    family: ClassVar[str] = "fastresnet"

    depths: tuple[int, ...] = (1, 1, 1)
    widths: tuple[int, ...] = (64, 256, 256)
    activation: Activation = "gelu"
    output_scale: float = 1 / 9

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_stages("depths", "widths")
        self.check_choices(activation=get_args(Activation))
        if not self.output_scale > 0:
            raise ValueError(f"output_scale must be above 0, not {self.output_scale!r}")

    @property
    def layers(self) -> int:
        """Layers with weights, that of the stem included."""
        return 1 + sum(1 + depth for depth in self.depths) + (self.num_classes > 0)

    @property
    def repeated(self) -> tuple[int, ...]:
        """Blocks in each stage, which are all alike."""
        return self.depths

    @property
    def published_size(self) -> tuple[int, int]:
        """CIFAR's 32x32."""
        return CIFAR_SIZE

    @property
    def loads_into_timm(self) -> bool:
        """timm does not have it."""
        return False


class Narrow(InTurn):
    """The beginning of a stage: a convolution to other channels, a max-pool that halves the map, norm, activation."""

    def __init__(self, in_channels: int, out_channels: int, activation: Activation) -> None:
        super().__init__()
        self.conv = SmallMapConvolution(in_channels, out_channels)
        self.pool = MaxPool(2)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = ACTIVATIONS[activation]()

    def begin_as_identity(self) -> None:
        """Let the first filters give the channels as they come (arXiv:2404.00498, section 3.3)."""
        with torch.no_grad():
            nn.init.dirac_(self.conv.weight[: self.conv.in_channels])


class Straight(Residual):
    """One 3x3 convolution with its normalisation and activation; nothing follows the sum."""

    last = "bn1"

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.conv1 = SmallMapConvolution(channels, channels)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = ACTIVATIONS[activation]()
        self.finish(BlockPlan(channels, channels, channels, nn.BatchNorm2d, nn.Identity))
        self.downsample = nn.Identity()

    def residual(self, x: Tensor) -> Tensor:
        """F(x): 3x3, norm, activation."""
        return self.act1(normalised(self.bn1, self.conv1(x)))


class FastResNet(Network):
    """A network that is quickly trained: `whiten`, `act`, `layer1`..., `fc`.

    Attributes:
        architecture: the declaration it was built from.
        stages: name, channels and stride of each map that `features` can give: "stem", "layer1"...
        logits_layer: the name of the layer that gives the logits, before their scale.
    """

    logits_layer: ClassVar[str] = "fc"

    def __init__(self, architecture: FastResNetArchitecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.whiten = Whitening(a.in_channels)
        self.act = ACTIVATIONS[a.activation]()
        channels = self.whiten.out_channels
        self.stages: tuple[Stage, ...] = (Stage("stem", channels, 1),)
        for index, (depth, width) in enumerate(zip(a.depths, a.widths, strict=True), start=1):
            blocks = (Straight(width, a.activation) for _ in range(depth))
            self.add_module(f"layer{index}", Blocks(Narrow(channels, width, a.activation), *blocks))
            self.stages += (Stage(f"layer{index}", width, 2**index),)
            channels = width
        self.fc = self.new_classifier()
        draw_weights(self, "he", [block.convolutions() for block in self.blocks().values()], self.fc)
        for module in self.modules():
            if isinstance(module, Narrow):
                module.begin_as_identity()

    def features(self, x: Tensor, stages: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The maps (N, channels, H / stride, W / stride) of the stages named, of all unless given.

        Nothing is computed beyond the last stage asked for.

        Raises:
            ValueError: for an unknown stage, and for images of other channels or too small.
        """
        return feature_maps(x, self.stages, self.levels(), stages, self.architecture.in_channels)

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """The stem; each stage."""
        stages = (self.get_submodule(stage.name) for stage in self.stages[1:])
        return (self.whiten, self.act), *((stage,) for stage in stages)

    def classify(self, x: Tensor) -> Tensor:
        """Logits from the last map."""
        x = x.amax((2, 3))  # (N, C, H, W) -> (N, C)
        return self.fc(x) * self.architecture.output_scale if self.architecture.num_classes else x

    def new_classifier(self) -> nn.Module:
        """A linear layer."""
        a = self.architecture
        return nn.Linear(a.widths[-1], a.num_classes, bias=False) if a.num_classes else nn.Identity()

    def blocks(self) -> dict[str, Residual]:
        """The residual blocks in order, by the names of their modules."""
        return {name: module for name, module in self.named_modules() if isinstance(module, Residual)}
