"""Densely connected networks (arXiv:1608.06993), with torchvision's names of parameters.

    images (N, 3, H, W) -> stem -> denseblock1 -> halved -> denseblock2 -> ... -> mean over the map -> classifier

Where a residual block adds F(x) to x, a dense layer appends it: each layer reads all that came before it in its block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn

from resnets.layers.convolution import convolution
from resnets.layers.fused import InTurn
from resnets.layers.normalisation import ACTIVATIONS, NORMS, Norm
from resnets.layers.pooling import MaxPool, global_average
from resnets.networks.declaration import CIFAR_SIZE, IMAGENET_SIZE, Declaration, Pictures
from resnets.networks.network import Features, SequentialNetwork
from resnets.types import Stage


@dataclass(frozen=True, kw_only=True)
class DenseNetArchitecture(Declaration):
    """A densely connected network, described in full. Anything contradictory raises ValueError.

    Attributes:
        depths: dense layers in each block; (6, 12, 24, 16) is DenseNet-121's (table 1).
        growth: channels that each layer appends, the paper's k.
        stem: "imagenet" (7x7/2 and max-pool) or "cifar" (one 3x3).
        stem_width: channels that the stem gives to the first block.
        bottleneck: a 1x1 convolution to so many times `growth` channels precedes each 3x3 (section 3, "Bottleneck
            layers"); 0 for none.
        compression: the share of the channels that stay between two blocks (section 3, "Compression").
        norm: "batch", "group", "frozen" or "none", before each convolution.
        dropout: the rate after the last convolution of each layer.
    """

    family: ClassVar[str] = "densenet"

    depths: tuple[int, ...]
    growth: int = 32
    stem: Pictures = "imagenet"
    stem_width: int = 64
    bottleneck: int = 4
    compression: float = 0.5
    norm: Norm = "batch"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_stages("depths")
        self.check_whole("growth", "stem_width")
        self.check_whole("bottleneck", least=0)
        self.check_choices(stem=get_args(Pictures), norm=get_args(Norm))
        self.check_rates("dropout")
        if not (isinstance(self.compression, int | float) and 0 < self.compression <= 1):
            raise ValueError(f"compression must be a share, above 0 and at most 1, not {self.compression!r}")
        if min(before for before, _ in self.channels) < 1:
            raise ValueError(f"compression={self.compression} leaves a block without channels")

    @property
    def channels(self) -> tuple[tuple[int, int], ...]:
        """Of each block, the channels that enter and those that leave it."""
        before, channels = self.stem_width, []
        for depth in self.depths:
            channels.append((before, before + depth * self.growth))
            before = int(channels[-1][1] * self.compression)
        return tuple(channels)

    @property
    def layers(self) -> int:
        """Layers with weights: 1 + 58 * 2 + 3 between the blocks + 1 of DenseNet-121."""
        return sum(self.depths) * (2 if self.bottleneck else 1) + len(self.depths) + (self.num_classes > 0)

    @property
    def published_size(self) -> tuple[int, int]:
        """CIFAR's 32x32 for its stem, otherwise ImageNet's 224x224."""
        return CIFAR_SIZE if self.stem == "cifar" else IMAGENET_SIZE

    @property
    def loads_into_timm(self) -> bool:
        """timm has none of CIFAR's."""
        return self.stem != "cifar"


class DenseLayer(InTurn):
    """(N, C, H, W) to (N, growth, H, W): a 3x3 convolution, behind a 1x1 unless there is no bottleneck."""

    def __init__(self, channels: int, a: DenseNetArchitecture) -> None:
        super().__init__()
        inner = a.bottleneck * a.growth
        shapes = [(channels, inner, 1), (inner, a.growth, 3)] if inner else [(channels, a.growth, 3)]
        for index, (before, after, kernel) in enumerate(shapes, start=1):
            self.add_module(f"norm{index}", NORMS[a.norm](before))
            self.add_module(f"relu{index}", ACTIVATIONS["relu"]())
            self.add_module(f"conv{index}", convolution(before, after, kernel))
        self.dropout = nn.Dropout(a.dropout)


class DenseBlock(nn.Sequential):
    """Dense layers, each of which reads what entered the block and what all layers before it gave."""

    def __init__(self, depth: int, channels: int, a: DenseNetArchitecture) -> None:
        super().__init__()
        for index in range(depth):
            self.add_module(f"denselayer{index + 1}", DenseLayer(channels + index * a.growth, a))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + depth * growth, H, W)."""
        for layer in self:
            x = torch.cat((x, layer(x)), 1)
        return x


class Transition(InTurn):
    """Between two blocks: a 1x1 convolution, and half the height and width by averaging."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__()
        self.norm = NORMS[norm](in_channels)
        self.relu = ACTIVATIONS["relu"]()
        self.conv = convolution(in_channels, out_channels, 1)
        self.pool = nn.AvgPool2d(2)


class DenseNet(SequentialNetwork):
    """A densely connected network. Its modules are `features` and `classifier`, as in torchvision.

    Its stages are "stem" (before its max-pool), "denseblock1", "denseblock2" and so on. The last block's map has gone
    through the network's final normalisation and activation.
    """

    logits_layer = "classifier"

    def __init__(self, architecture: DenseNetArchitecture) -> None:
        super().__init__(architecture, Features(_stages(architecture), architecture.in_channels))
        self.classifier = self.new_classifier()
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # arXiv:1502.01852, equation 10

    def classify(self, x: Tensor) -> Tensor:
        """Logits from the last map."""
        return self.classifier(global_average(x).flatten(1))  # (N, C, H, W) -> (N, C) -> (N, num_classes)

    def new_classifier(self) -> nn.Module:
        """A linear layer that begins without bias."""
        a = self.architecture
        if not a.num_classes:
            return nn.Identity()
        layer = nn.Linear(a.channels[-1][1], a.num_classes)
        nn.init.zeros_(layer.bias)
        return layer


def _stages(a: DenseNetArchitecture) -> Iterator[tuple[Stage, dict[str, nn.Module]]]:
    """The stem, and the blocks with what leads to each."""
    norm, relu = NORMS[a.norm], ACTIVATIONS["relu"]
    between: dict[str, nn.Module]
    if a.stem == "cifar":  # the first layer normalises what a 3x3 convolution gives
        stride, between = 1, {}
        yield Stage("stem", a.stem_width, 1), {"conv0": convolution(a.in_channels, a.stem_width, 3)}
    else:
        stride, between = 4, {"pool0": MaxPool(3, 2, 1)}
        stem = {"conv0": convolution(a.in_channels, a.stem_width, 7, 2), "norm0": norm(a.stem_width), "relu0": relu()}
        yield Stage("stem", a.stem_width, 2), stem
    last = len(a.depths)
    for index, (depth, (before, after)) in enumerate(zip(a.depths, a.channels, strict=True), start=1):
        if index > 1:
            stride *= 2
            between = {f"transition{index - 1}": Transition(a.channels[index - 2][1], before, a.norm)}
        # torchvision's name, however many blocks there are
        ending = {"norm5": norm(after), "relu5": relu()} if index == last else {}
        block = {f"denseblock{index}": DenseBlock(depth, before, a)}
        yield Stage(f"denseblock{index}", after, stride), between | block | ending
