"""VGG (arXiv:1409.1556), what came before residual networks; parameters under torchvision's names.

    images (N, 3, H, W) -> five times 3x3 convolutions, max-pool/2 -> average to 7x7 -> classifier -> logits

A network of the same interface as the residual ones, to compare them with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

from torch import Tensor, nn

from resnets.layers.normalisation import NORMS, Norm
from resnets.networks.architecture import Declaration
from resnets.networks.resnet import feature_maps
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
        dropout: the rate after each of them.
        num_classes: outputs of the classifier; 0 for none, so that the network gives the last hidden units.
        in_channels: channels of the picture.
        source: where the network was published.
    """

    family: ClassVar[str] = "vgg"

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    norm: Norm | Literal["none"] = "none"
    hidden: int = 4096
    dropout: float = 0.5
    num_classes: int = 1000
    in_channels: int = 3
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("depths", "widths"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not value or not all(_whole(part, 1) for part in value):
                raise ValueError(f"{name} must be whole numbers above 0, one a stage, not {value!r}")
        if len(self.depths) != len(self.widths):
            raise ValueError(f"depths has {len(self.depths)} stages and widths {len(self.widths)}; they must agree")
        if self.norm not in ("none", *get_args(Norm)):
            raise ValueError(f"norm must be one of none, {', '.join(get_args(Norm))}, not {self.norm!r}")
        for name, least in {"hidden": 1, "in_channels": 1, "num_classes": 0}.items():
            if not _whole(getattr(self, name), least):
                raise ValueError(f"{name} must be a whole number, at least {least}, not {getattr(self, name)!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a rate: at least 0 and below 1, not {self.dropout!r}")

    @property
    def layers(self) -> int:
        """Layers with weights, as the paper counts them: VGG-16 has 13 convolutions and 3 linear layers."""
        return sum(self.depths) + 2 + (self.num_classes > 0)


class Features(nn.Sequential):
    """The module `features` of torchvision's names, which gives its maps as every network's `features` does.

    Attributes:
        stages: name, channels and stride of each map: "stage1"..., each behind its max-pool.
    """

    def __init__(self, a: VGGArchitecture) -> None:
        super().__init__()
        self.in_channels = a.in_channels
        self.stages: tuple[Stage, ...] = ()
        self._ends = [0]
        channels = a.in_channels
        for index, (depth, width) in enumerate(zip(a.depths, a.widths, strict=True), start=1):
            for _ in range(depth):
                self.append(_convolution(channels, width))
                if a.norm != "none":
                    self.append(NORMS[a.norm](width))
                self.append(nn.ReLU(inplace=True))
                channels = width
            self.append(nn.MaxPool2d(2))
            self.stages += (Stage(f"stage{index}", width, 2**index),)
            self._ends.append(len(self))

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """For each of `stages`, the modules that lead to its map from the map before."""
        layers = tuple(self)
        return tuple(layers[i:j] for i, j in zip(self._ends, self._ends[1:], strict=False))

    def forward(self, x: Tensor, stages: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The maps (N, channels, H / stride, W / stride) of the stages named, of all unless given.

        Nothing is computed beyond the last stage asked for.

        Raises:
            ValueError: for an unknown stage, and for images of other channels or too small.
        """
        return feature_maps(x, self.stages, self.levels(), stages, self.in_channels)


class VGG(nn.Module):
    """A VGG network. The modules are `features`, `avgpool` and `classifier`, as in torchvision.

    The last map is averaged to 7x7, or spread over it, which changes nothing at 224x224 pixels and lets
    the network take any other size from 32x32.

    Attributes:
        architecture: the declaration it was built from.
        stages: name, channels and stride of each map that `features` can give.
        logits_layer: the name of the layer that gives the logits.
    """

    logits_layer: ClassVar[str] = "classifier.6"

    def __init__(self, architecture: VGGArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.features = Features(architecture)
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED)
        hidden, dropout = architecture.hidden, architecture.dropout
        self.classifier = nn.Sequential(
            _linear(architecture.widths[-1] * POOLED**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            _linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Identity(),
        )
        self.reset_classifier(architecture.num_classes)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Name, channels and stride of each map that `features` can give."""
        return self.features.stages

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """For each of `stages`, the modules that lead to its map from the map before."""
        return self.features.levels()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_channels, H, W); hidden units without a classifier."""
        last = self.stages[-1].name
        return self.classify(self.features(x, (last,))[last])

    def classify(self, x: Tensor) -> Tensor:
        """Logits from the last map."""
        return self.classifier(self.avgpool(x).flatten(1))  # (N, C, H, W) -> (N, 49 C) -> (N, num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new last linear layer in the old one's place; 0 for none."""
        self.architecture = replace(self.architecture, num_classes=num_classes)
        last = _linear(self.architecture.hidden, num_classes) if num_classes else nn.Identity()
        like = next(self.parameters())
        self.classifier[-1] = last.to(like.device, like.dtype)


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


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
