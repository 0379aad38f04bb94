"""From a declaration to a residual network (arXiv:1512.03385), parameters under torchvision's names.

    images (N, 3, H, W) -> stem -> layer1 -> ... -> layer4 -> average over the map -> fc -> logits (N, num_classes)

`preresnet.py` has the pre-activation networks, whose parts bear timm's names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from resnets.blocks.preactivation import PreactivationBasic, PreactivationBottleneck
from resnets.blocks.residual import Basic, Bottleneck, Residual
from resnets.blocks.stems import stem_convolutions, stem_pool
from resnets.layers.attention import squeeze_excitation
from resnets.layers.normalisation import ACTIVATIONS, NORMS
from resnets.layers.shortcuts import shortcut
from resnets.networks.architecture import Architecture
from resnets.types import Stage

BLOCKS: dict[tuple[str, bool], type[Residual]] = {
    ("basic", False): Basic,
    ("bottleneck", False): Bottleneck,
    ("basic", True): PreactivationBasic,
    ("bottleneck", True): PreactivationBottleneck,
}


class ResidualNetwork(nn.Module):
    """What post- and pre-activation networks share: everything but the names of their parts.

    Attributes:
        architecture: the declaration it was built from.
        stages: name, channels and stride of each map that `features` can give: "stem" (before its max-pool),
            "layer1", "layer2"...
    """

    stages: Sequence[Stage]

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """For each of `stages`, the modules that lead to its map from the map before."""
        raise NotImplementedError

    def classify(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) from the last map, or its average (N, C) where there is no classifier."""
        raise NotImplementedError

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new classifier in the old one's place; 0 for none."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, in_channels, H, W)."""
        last = self.stages[-1].name
        return self.classify(self.features(x, (last,))[last])

    def features(self, x: Tensor, stages: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The maps (N, C, H / stride, W / stride) of the stages asked for by name, all unless given.

        Layers beyond the last stage asked for are not computed. The last map of a pre-activation network has gone
        through the network's final normalisation and activation.
        """
        names = [stage.name for stage in self.stages]
        wanted = names if stages is None else list(stages)
        if unknown := [name for name in wanted if name not in names]:
            raise ValueError(
                f"this network has no stage {', '.join(unknown)}; its stages are {', '.join(names)}"
            )
        if not torch.compiler.is_compiling():
            check_images(x, self.architecture.in_channels, self.stages[-1].stride)
        maps = {}
        for name, modules in zip(names, self.levels(), strict=True):
            if len(maps) == len(set(wanted)):
                break
            for module in modules:
                x = module(x)
            if name in wanted:
                maps[name] = x
        return maps

    def blocks(self) -> Iterator[tuple[str, Residual]]:
        """The residual blocks in order, each with the name of its module."""
        return ((name, module) for name, module in self.named_modules() if isinstance(module, Residual))


class ResNet(ResidualNetwork):
    """A residual network, or a plain one where the declaration says shortcut "none".

    The modules are `conv1`, `bn1`, `activation`, `maxpool`, `layer1`..., `fc`, as in torchvision.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        a = architecture
        norm, activation = NORMS[a.norm], ACTIVATIONS[a.activation]
        convolutions = list(stem_convolutions(a.stem, a.in_channels, a.stem_width, norm, activation).values())
        self.conv1 = convolutions[0] if len(convolutions) == 1 else nn.Sequential(*convolutions)
        self.bn1 = norm(a.stem_width)
        self.activation = activation()
        self.maxpool = stem_pool(a.stem)
        for index, blocks in enumerate(build_blocks(a), start=1):
            self.add_module(f"layer{index}", nn.Sequential(*blocks))
        self.reset_classifier(a.num_classes)
        self.stages = declared_stages(a)
        initialise(self)

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """The stem, then the max-pool with the first stage, then one stage each."""
        first, *others = (self.get_submodule(stage.name) for stage in self.stages[1:])
        return (self.conv1, self.bn1, self.activation), (self.maxpool, first), *((other,) for other in others)

    def classify(self, x: Tensor) -> Tensor:
        """Average over the map, then the classifier."""
        return self.fc(x.mean((2, 3)))  # (N, C, H, W) -> (N, C) -> (N, num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        """Put a new classifier in the old one's place; 0 for none."""
        channels = self.architecture.channels[-1]
        self.fc = nn.Linear(channels, num_classes) if num_classes else nn.Identity()


def build_blocks(a: Architecture) -> Iterator[list[Residual]]:
    """The blocks of each stage."""
    kind = BLOCKS[a.block, a.preactivation]
    norm = NORMS[a.norm]
    options: dict[str, object] = {}
    if a.block == "bottleneck":
        options["groups"] = a.groups
        if not a.preactivation:
            options["stride_first"] = a.stride_at == "1x1"
    make: Callable[..., Residual] = partial(
        kind,
        norm=norm,
        activation=ACTIVATIONS[a.activation],
        attention=squeeze_excitation if a.squeeze_excitation else None,
        dropout=a.dropout,
        **options,
    )
    channels, block, dilation_before = a.stem_width, 0, 1
    for depth, width, (stage_stride, dilation) in zip(a.depths, a.widths, a.strides, strict=True):
        blocks = []
        for index in range(depth):
            block += 1
            stride = stage_stride if index == 0 else 1
            out = width * a.expansion
            inner = (
                {"inner_width": width * a.width_per_group // 64 * a.groups} if a.block == "bottleneck" else {}
            )
            blocks.append(
                make(
                    channels,
                    width,
                    shortcut(a.shortcut, channels, out, stride, None if a.preactivation else norm),
                    stride=stride,
                    dilations=(dilation_before, dilation),
                    drop_path=a.drop_path * block / sum(a.depths),
                    **inner,
                )
            )
            blocks[-1].use_shortcut = a.shortcut != "none"
            channels, dilation_before = out, dilation
        yield blocks


def declared_stages(a: Architecture) -> tuple[Stage, ...]:
    """Name, channels and stride of each map of a network yet to be built."""
    stride = 1 if a.stem == "cifar" else 2
    stages = [Stage("stem", a.stem_width, stride)]
    stride = 1 if a.stem == "cifar" else 4
    for index, (channels, (stage_stride, _)) in enumerate(zip(a.channels, a.strides, strict=True), start=1):
        stride *= stage_stride
        stages.append(Stage(f"layer{index}", channels, stride))
    return tuple(stages)


def initialise(network: ResidualNetwork) -> None:
    """He's normal initialisation by fan-out (arXiv:1502.01852, equation 14); norms begin as the identity.

    With `zero_init_last`, the last scale of each block begins at zero. The classifier keeps PyTorch's default.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if network.architecture.zero_init_last:
        for _, block in network.blocks():
            nn.init.zeros_(block.last.weight)


def check_images(x: Tensor, in_channels: int, smallest: int) -> None:
    """Raise ValueError for what is no batch of images, or has other channels or fewer pixels than the network needs."""
    if x.dim() != 4:
        raise ValueError(
            f"the network takes a batch of images (N, C, H, W), not a tensor of shape {tuple(x.shape)}"
        )
    if x.shape[1] != in_channels:
        raise ValueError(f"the network takes images of {in_channels} channels, not {x.shape[1]}")
    if min(x.shape[2:]) < smallest:
        raise ValueError(
            f"the network takes images of at least {smallest}x{smallest} pixels (the stride of its last stage), "
            f"not {x.shape[2]}x{x.shape[3]}"
        )
