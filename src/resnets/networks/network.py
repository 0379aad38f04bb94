"""What every network offers, whichever its family: logits, the maps of its stages, and a classifier to replace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from resnets.layers.fused import in_turn
from resnets.types import Stage


class Network(nn.Module):
    """What the networks of all families share.

    Attributes:
        architecture: the declaration it was built from.
        stages: name, channels and stride of each map that `features` can give.
        features: a function or a module that gives the maps (N, channels, H / stride, W / stride) of the stages named,
            of all unless given, by their names; it computes nothing beyond the last one asked for.
        logits_layer: the name of the layer that gives the logits.
        timm_logits_layer: timm's name of that layer, where it has another.
    """

    architecture: Any
    stages: Sequence[Stage]
    features: Callable[..., dict[str, Tensor]]
    logits_layer: ClassVar[str]
    timm_logits_layer: ClassVar[str] = ""

    @property
    def class_layers(self) -> tuple[str, ...]:
        """Names of the layers whose size depends on the number of classes, that of the logits first."""
        return (self.logits_layer,)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_channels, H, W); without a classifier, what it would read."""
        last = self.stages[-1].name
        return self.classify(self.features(x, (last,))[last])

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """For each of `stages`, the modules that lead to its map from the map before."""
        raise NotImplementedError

    def classify(self, x: Tensor) -> Tensor:
        """Logits from the last map."""
        raise NotImplementedError

    def new_classifier(self) -> nn.Module:
        """A layer that gives `architecture.num_classes` logits; the identity for none."""
        raise NotImplementedError

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new classifier in the place of the old one; 0 for none."""
        self.architecture = replace(self.architecture, num_classes=num_classes)
        like = next(self.parameters())
        self.set_submodule(self.logits_layer, self.new_classifier().to(like.device, like.dtype).train(self.training))


class Features(nn.Sequential):
    """The module `features` of torchvision's names, which gives its maps as every network's `features` does.

    Args:
        levels: each stage, and the modules that lead to its map from the map before: by name, or to be numbered.
        in_channels: of the pictures.
    """

    def __init__(
        self, levels: Iterable[tuple[Stage, Mapping[str, nn.Module] | Sequence[nn.Module]]], in_channels: int
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stages: tuple[Stage, ...] = ()
        self._ends = [0]
        for stage, modules in levels:
            named = modules.items() if isinstance(modules, Mapping) else enumerate(modules, start=len(self))
            for name, module in named:
                self.add_module(str(name), module)
            self.stages += (stage,)
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


class SequentialNetwork(Network):
    """A network whose stages follow each other in a module `features`, as torchvision has VGG and its successors."""

    features: Features

    def __init__(self, architecture: Any, features: Features) -> None:
        super().__init__()
        self.architecture = architecture
        self.features = features
        self.stages = features.stages

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """For each of `stages`, the modules that lead to its map from the map before."""
        return self.features.levels()


def feature_maps(
    x: Tensor,
    stages: Sequence[Stage],
    levels: Iterable[Iterable[nn.Module]],
    wanted: Iterable[str] | None,
    in_channels: int,
) -> dict[str, Tensor]:
    """What every network's `features` does: apply one level after another, and keep the maps that are wanted."""
    names = [stage.name for stage in stages]
    wanted = set(names if wanted is None else wanted)
    if unknown := wanted.difference(names):
        raise ValueError(f"there is no stage {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if not torch.compiler.is_compiling():
        check_images(x, in_channels, stages[-1].stride)
    maps: dict[str, Tensor] = {}
    for name, modules in zip(names, levels, strict=True):
        if len(maps) == len(wanted):
            break
        x = in_turn(modules, x)
        if name in wanted:
            maps[name] = x
    return maps


def check_images(x: Tensor, in_channels: int, smallest: int) -> None:
    """Raise ValueError unless x is images (N, in_channels, H, W) of at least `smallest` pixels a side."""
    if x.dim() != 4:
        raise ValueError(f"the network takes images (N, C, H, W), not a tensor of shape {tuple(x.shape)}")
    _, channels, height, width = x.shape
    if channels != in_channels:
        raise ValueError(f"the network takes images of {in_channels} channels, not {channels}")
    if min(height, width) < smallest:
        raise ValueError(
            f"the network takes images of at least {smallest}x{smallest} pixels, its last stage's stride, "
            f"not {height}x{width}"
        )
