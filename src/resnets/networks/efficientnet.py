"""EfficientNet (arXiv:1905.11946): inverted residual blocks, with torchvision's names of parameters.

    images (N, 3, H, W) -> 3x3/2 -> seven stages of blocks -> 1x1 -> mean over the map -> classifier -> logits

F(x) of a block widens its map, where a bottleneck narrows it, and convolves each channel by itself. All variants are
one network, made wider and deeper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, get_args

from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation, StochasticDepth

from resnets.layers.convolution import convolution
from resnets.layers.normalisation import ACTIVATIONS, NORMS, Norm
from resnets.layers.pooling import global_average
from resnets.networks.declaration import CIFAR_SIZE, IMAGENET_SIZE, Declaration, Pictures
from resnets.networks.network import Features, SequentialNetwork
from resnets.types import Stage


class Row(NamedTuple):
    """Blocks of one kind: what F(x) widens by, its kernel, the first one's stride, channels, and how many there are."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    blocks: int


TABLE_1 = (
    Row(1, 3, 1, 16, 1),
    Row(6, 3, 2, 24, 2),
    Row(6, 5, 2, 40, 2),
    Row(6, 3, 2, 80, 3),
    Row(6, 5, 1, 112, 3),
    Row(6, 5, 2, 192, 4),
    Row(6, 3, 1, 320, 1),
)
"""Table 1 of the paper, EfficientNet-B0, from its second row to the eighth."""

STEM_WIDTH = 32
LAST_EXPANSION = 4  # 320 to 1280 channels, before the classifier
SQUEEZE = 4  # squeeze-and-excitation has a quarter as many hidden units as the block has channels

SIZES = {(1.0, 1.0): 224, (1.0, 1.1): 240, (1.1, 1.2): 260, (1.2, 1.4): 300, (1.4, 1.8): 380}
"""Sides of the pictures that B0 to B4 were published for, by width and depth: `efficientnet_builder.py` of
github.com/tensorflow/tpu/tree/master/models/official/efficientnet."""


@dataclass(frozen=True, kw_only=True)
class EfficientNetArchitecture(Declaration):
    """An EfficientNet, described in full. Anything contradictory raises ValueError.

    Attributes:
        width: channels are so many times those of EfficientNet-B0, rounded to multiples of 8.
        depth: blocks in a stage are so many times those of EfficientNet-B0, rounded up.
        stem: "imagenet" (3x3/2) or "cifar" (3x3 of stride 1).
        norm: "batch", "group", "frozen" or "none", after each convolution.
        drop_path: the rate at which a picture skips F(x) of a block behind the last; it rises linearly from 0 at the
            first block (stochastic depth, arXiv:1603.09382).
        dropout: the rate before the classifier.
    """

    family: ClassVar[str] = "efficientnet"

    width: float = 1.0
    depth: float = 1.0
    stem: Pictures = "imagenet"
    norm: Norm = "batch"
    drop_path: float = 0.2
    dropout: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "depth"):
            factor = getattr(self, name)
            if not (isinstance(factor, int | float) and 0 < factor < math.inf):
                raise ValueError(f"{name} must be a factor above 0, not {factor!r}")
        self.check_choices(stem=get_args(Pictures), norm=get_args(Norm))
        self.check_rates("drop_path", "dropout")

    @property
    def rows(self) -> tuple[Row, ...]:
        """Table 1 as this network has it."""
        return tuple(
            row._replace(channels=self.scaled(row.channels), blocks=math.ceil(row.blocks * self.depth))
            for row in TABLE_1
        )

    @property
    def stem_width(self) -> int:
        """Channels that the stem gives to the first block."""
        return self.scaled(STEM_WIDTH)

    @property
    def last_width(self) -> int:
        """Channels that the classifier reads."""
        return LAST_EXPANSION * self.rows[-1].channels

    @property
    def layers(self) -> int:
        """Layers with weights, squeeze-and-excitation not counted: 1 + 2 + 15 * 3 + 1 + 1 of B0."""
        blocks = sum((3 if row.expansion > 1 else 2) * row.blocks for row in self.rows)
        return 2 + blocks + (self.num_classes > 0)

    @property
    def published_size(self) -> tuple[int, int]:
        """CIFAR's 32x32 for its stem; otherwise the variant's own, 224x224 where it is none of B0 to B4."""
        if self.stem == "cifar":
            return CIFAR_SIZE
        side = SIZES.get((self.width, self.depth))
        return IMAGENET_SIZE if side is None else (side, side)

    @property
    def loads_into_timm(self) -> bool:
        """timm has other names of the tensors, and does not translate torchvision's."""
        return False

    def scaled(self, channels: int) -> int:
        """Channels times `width`: the nearest multiple of 8, or the next where that loses more than a tenth."""
        wanted = channels * self.width
        nearest = max(8, int(wanted + 4) // 8 * 8)
        return nearest + 8 if nearest < 0.9 * wanted else nearest


class InvertedResidual(nn.Module):
    """x + F(x), or F(x) where the shape changes (arXiv:1801.04381, section 3.3, with squeeze-and-excitation).

    F(x): a 1x1 convolution that widens, one of each channel by itself, squeeze-and-excitation, a 1x1 that narrows.
    """

    def __init__(self, in_channels: int, stride: int, row: Row, norm: Norm, drop_path: float) -> None:
        super().__init__()
        inner = in_channels * row.expansion
        parts: list[nn.Module] = [_convolution(in_channels, inner, 1, norm)] if row.expansion > 1 else []
        parts += [
            _convolution(inner, inner, row.kernel, norm, stride, groups=inner),
            SqueezeExcitation(inner, max(1, in_channels // SQUEEZE), activation=nn.SiLU),
            _convolution(inner, row.channels, 1, norm)[:2],  # narrow maps keep all of their values: no activation
        ]
        self.block = nn.Sequential(*parts)
        self.stochastic_depth = StochasticDepth(drop_path, "row")
        self.use_shortcut = stride == 1 and in_channels == row.channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, row.channels, ceil(H / stride), ceil(W / stride))."""
        return x + self.stochastic_depth(self.block(x)) if self.use_shortcut else self.block(x)


class EfficientNet(SequentialNetwork):
    """An EfficientNet. Its modules are `features` and `classifier`, as in torchvision.

    Its stages are "stage1" to "stage5", the last map of each size: behind rows 2, 3, 4, 6 and 9 of table 1. The fifth's
    has gone through the last 1x1 convolution.
    """

    logits_layer = "classifier.1"

    def __init__(self, architecture: EfficientNetArchitecture) -> None:
        super().__init__(architecture, Features(_stages(architecture), architecture.in_channels))
        self.classifier = nn.Sequential(nn.Dropout(architecture.dropout), self.new_classifier())
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def classify(self, x: Tensor) -> Tensor:
        """Logits from the last map."""
        return self.classifier(global_average(x).flatten(1))  # (N, C, H, W) -> (N, C) -> (N, num_classes)

    def new_classifier(self) -> nn.Module:
        """A linear layer that begins as torchvision's."""
        a = self.architecture
        if not a.num_classes:
            return nn.Identity()
        layer = nn.Linear(a.last_width, a.num_classes)
        bound = a.num_classes**-0.5
        nn.init.uniform_(layer.weight, -bound, bound)
        nn.init.zeros_(layer.bias)
        return layer


def _stages(a: EfficientNetArchitecture) -> Iterator[tuple[Stage, list[nn.Module]]]:
    """The rows of the table up to the next that halves the map; the stem before the first, a 1x1 behind the last."""
    channels, stride = a.stem_width, 1 if a.stem == "cifar" else 2
    modules: list[nn.Module] = [_convolution(a.in_channels, channels, 3, a.norm, stride)]
    total, number, block = sum(row.blocks for row in a.rows), 1, 0
    for row in a.rows:
        if row.stride > 1:
            yield Stage(f"stage{number}", channels, stride), modules
            stride, number, modules = stride * row.stride, number + 1, []
        blocks = []
        for index in range(row.blocks):
            drop_path = a.drop_path * block / total
            blocks.append(InvertedResidual(channels, row.stride if index == 0 else 1, row, a.norm, drop_path))
            channels, block = row.channels, block + 1
        modules.append(nn.Sequential(*blocks))
    yield Stage(f"stage{number}", a.last_width, stride), [*modules, _convolution(channels, a.last_width, 1, a.norm)]


def _convolution(
    in_channels: int, out_channels: int, kernel: int, norm: Norm, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution with norm and activation."""
    return nn.Sequential(
        convolution(in_channels, out_channels, kernel, stride, groups=groups),
        NORMS[norm](out_channels),
        ACTIVATIONS["silu"](),
    )
