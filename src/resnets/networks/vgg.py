"""VGG (arXiv:1409.1556), what came before residual networks; parameters under torchvision's names.

    images (N, 3, H, W) -> five times 3x3 convolutions, max-pool/2 -> average to 7x7 -> classifier -> logits

A network of the same interface as the residual ones, to compare them with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, get_args

from torch import Tensor, nn

from resnets.layers.normalisation import NORMS, Norm
from resnets.layers.pooling import MaxPool
from resnets.networks.declaration import Declaration
from resnets.networks.network import Features, SequentialNetwork
from resnets.types import Stage

POOLED = 7  # the side of the map that the first linear layer reads: 224 / 32


@dataclass(frozen=True, kw_only=True)
class VGGArchitecture(Declaration):
    """A VGG network, described in full. Anything contradictory raises ValueError.

    Attributes:
        depths: 3x3 convolutions in each stage; (2, 2, 3, 3, 3) is VGG-16's (table 1, column D).
        widths: channels of the convolutions in each stage.
        norm: the normalisation after each convolution; "none" in the paper.
        hidden: units of each of the two hidden linear layers.
        dropout: the rate after each hidden layer.
    """

    family: ClassVar[str] = "vgg"

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    norm: Norm = "none"
    hidden: int = 4096
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_stages("depths", "widths")
        self.check_choices(norm=get_args(Norm))
        self.check_whole("hidden")
        self.check_rates("dropout")

    @property
    def layers(self) -> int:
        """Layers with weights, as the paper counts them: VGG-16 has 13 convolutions and 3 linear layers."""
        return sum(self.depths) + 2 + (self.num_classes > 0)

    @property
    def repeated(self) -> tuple[int, ...]:
        """Convolutions in each stage; those of a stage are alike from the second on."""
        return self.depths


class VGG(SequentialNetwork):
    """A VGG network. The modules are `features`, `avgpool` and `classifier`, as in torchvision.

    Its stages are "stage1"..., each behind its max-pool. The last map is averaged to 7x7, or spread over it, which
    changes nothing at 224x224 pixels and lets the network take any other size from 32x32.
    """

    logits_layer = "classifier.6"
    timm_logits_layer = "head.fc"

    def __init__(self, architecture: VGGArchitecture) -> None:
        super().__init__(architecture, Features(_stages(architecture), architecture.in_channels))
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED)
        hidden, dropout = architecture.hidden, architecture.dropout
        self.classifier = nn.Sequential(
            _linear(architecture.widths[-1] * POOLED**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            _linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            self.new_classifier(),
        )

    def classify(self, x: Tensor) -> Tensor:
        """Logits from the last map."""
        return self.classifier(self.avgpool(x).flatten(1))  # (N, C, H, W) -> (N, 49 C) -> (N, num_classes)

    def new_classifier(self) -> nn.Module:
        """The last linear layer."""
        a = self.architecture
        return _linear(a.hidden, a.num_classes) if a.num_classes else nn.Identity()


def _stages(a: VGGArchitecture) -> Iterator[tuple[Stage, list[nn.Module]]]:
    """Convolutions with norm and activation, then a max-pool."""
    channels = a.in_channels
    for index, (depth, width) in enumerate(zip(a.depths, a.widths, strict=True), start=1):
        modules: list[nn.Module] = []
        for _ in range(depth):
            modules.append(_convolution(channels, width))
            if a.norm != "none":
                modules.append(NORMS[a.norm](width))
            modules.append(nn.ReLU(inplace=True))
            channels = width
        yield Stage(f"stage{index}", width, 2**index), [*modules, MaxPool(2)]


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution with He's normal initialisation (arXiv:1502.01852); deep ones need it to start."""
    layer = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer with torchvision's initialisation."""
    layer = nn.Linear(in_features, out_features)
    nn.init.normal_(layer.weight, 0, 0.01)
    nn.init.zeros_(layer.bias)
    return layer
