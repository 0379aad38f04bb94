"""The residual U-Net: from a noisy picture, a time and a class to a picture of the same shape.

    x (N, C, H, W) -> stem -> down1 -> 1/2 -> down2 -> 1/2 -> ... -> downL
                                |               |                      |
    velocity <- conv <- norm <- up1 <- 2x <-   up2   <- 2x <- ... <----+

The paths are those of arXiv:1505.04597 with residual blocks in the place of convolutions; the blocks are told time and
class, and attention stands at low resolutions (arXiv:2006.11239, appendix B).

Legend: N pictures, C channels, L levels, E numbers of the embedding, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnets.blocks.conditioned import Conditioned
from resnets.layers.attention import SelfAttention
from resnets.layers.normalisation import group_norm
from resnets.networks.declaration import CIFAR_SIZE, Declaration
from resnets.types import Exact, Stage, exact

LONGEST_PERIOD = 10_000.0
"""The lowest frequency of the time's embedding is so many times below the highest (arXiv:1706.03762, sec. 3.5)."""

TIME_SCALE = 1_000.0
"""Times run from 0 to 1 here, and to 1,000 where that embedding comes from (arXiv:2006.11239)."""


@dataclass(frozen=True, kw_only=True)
class UNetArchitecture(Declaration):
    """A residual U-Net, described in full.

    Attributes:
        depths: residual blocks of each level on the way down; on the way up there are as many again, but for the last.
        num_classes: of pictures.
        in_channels: of pictures; as many come out.
        widths: channels of each level, the first at the picture's own resolution, each other at half of the last one's.
        attention: the levels, counted from 1, whose blocks are each followed by self-attention.
        head_channels: channels of an attention's head.
        dropout: the rate before the last convolution of each block.

    Raises:
        ValueError: for a value out of range, and for options that contradict each other.
    """

    family: ClassVar[str] = "unet"

    depths: tuple[int, ...] = (2, 2, 2)
    num_classes: int = 10
    widths: tuple[int, ...] = (32, 64, 128)
    attention: tuple[int, ...] = (3,)
    head_channels: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_stages("depths", "widths")
        self.check_whole("num_classes", "head_channels")
        self.check_rates("dropout")
        if any(width % 4 for width in self.widths):
            raise ValueError(
                f"widths must be multiples of 4, because groups of channels are normalised, not {self.widths}"
            )
        for level in self.attention:
            if not 1 <= level <= len(self.widths):
                raise ValueError(f"attention names levels from 1 to {len(self.widths)}, not {level}")
            if self.widths[level - 1] % self.head_channels:
                raise ValueError(
                    f"level {level} has {self.widths[level - 1]} channels, no multiple of head_channels "
                    f"{self.head_channels}"
                )

    @property
    def published_size(self) -> tuple[int, int]:
        """CIFAR's 32x32."""
        return CIFAR_SIZE

    @property
    def loads_into_timm(self) -> bool:
        """timm has no networks that make pictures."""
        return False

    @property
    def layers(self) -> int:
        """Convolutions on the longest way: two of each block, the first and the last."""
        return 2 + 2 * (sum(self.depths) + sum(self.depths[:-1]))

    @property
    def embedding(self) -> int:
        """E, what the blocks are told of each picture: four times the first width, as in arXiv:2006.11239."""
        return 4 * self.widths[0]

    @property
    def stride(self) -> int:
        """Pixels of the picture for one of the last level; sides must be multiples of it."""
        return 2 ** (len(self.widths) - 1)


class Level(nn.Module):
    """Residual blocks at one resolution, each followed by attention where the level has it."""

    def __init__(self, a: UNetArchitecture, number: int, in_channels: int) -> None:
        super().__init__()
        width, depth = a.widths[number - 1], a.depths[number - 1]
        attends = number in a.attention
        self.blocks = nn.ModuleList(
            Conditioned(width if index else in_channels, width, a.embedding, a.dropout) for index in range(depth)
        )
        self.attention = nn.ModuleList(
            SelfAttention(width, a.head_channels) if attends else nn.Identity() for _ in range(depth)
        )

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(N, in_channels, H, W) and (N, E) to (N, width, H, W)."""
        for block, attention in zip(self.blocks, self.attention, strict=True):
            x = attention(block(x, embedding))
        return x


class UNet(nn.Module):
    """A residual U-Net that is told the time and the class of each picture.

    Its modules are `time`, `classes`, `stem`, `down1`..., `up1`..., `norm` and `out`. It begins as the function that is
    0 everywhere.

    Attributes:
        architecture: the declaration it was built from.
        stages: name, channels and stride of the maps on the way down and up.
        logits_layer, class_layers: the name of the layer whose size depends on the number of classes.
        no_class: (E,) what stands for a class that is not told.
    """

    logits_layer: ClassVar[str] = "classes"
    class_layers: ClassVar[tuple[str, ...]] = (logits_layer,)

    def __init__(self, architecture: UNetArchitecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.time = nn.Sequential(nn.Linear(a.widths[0], a.embedding), nn.SiLU(), nn.Linear(a.embedding, a.embedding))
        self.no_class = nn.Parameter(torch.zeros(a.embedding))
        self.reset_classifier(a.num_classes)
        self.stem = nn.Conv2d(a.in_channels, a.widths[0], 3, padding=1)
        last = len(a.widths)
        for number in range(1, last + 1):
            self.add_module(f"down{number}", Level(a, number, a.widths[max(number - 2, 0)]))
        for number in range(last - 1, 0, -1):
            self.add_module(f"up{number}", Level(a, number, a.widths[number] + a.widths[number - 1]))
        self.norm = group_norm(a.widths[0])
        self.out = nn.Conv2d(a.widths[0], a.in_channels, 3, padding=1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)
        down = [Stage(f"down{number}", width, 2 ** (number - 1)) for number, width in enumerate(a.widths, start=1)]
        up = [replace(stage, name=stage.name.replace("down", "up")) for stage in down[-2::-1]]
        self.stages: Sequence[Stage] = (Stage("stem", a.widths[0], 1), *down, *up)

    def forward(self, x: Tensor, times: Tensor | Exact[Tensor], labels: Tensor) -> Tensor:
        """The velocity (N, C, H, W) at x (N, C, H, W).

        Args:
            x: between noise and pictures, normalised.
            times: (N,) from 0, noise, to 1, pictures.
            labels: (N,) int64 from 0 to K - 1; K where the class is not told.

        Raises:
            ValueError: for pictures whose sides are no multiples of the network's stride.
        """
        if any(side % self.architecture.stride for side in x.shape[2:]):
            height, width = x.shape[2:]
            raise ValueError(
                f"the network halves pictures {len(self.architecture.widths) - 1} times, so their sides must be "
                f"multiples of {self.architecture.stride}, not {height} x {width}; choose another --size"
            )
        embedding = self.embed(times, labels)
        x = self.stem(x)
        maps = []
        for number in range(1, len(self.architecture.widths) + 1):
            x = F.avg_pool2d(x, 2) if number > 1 else x
            x = self.get_submodule(f"down{number}")(x, embedding)
            maps.append(x)
        for number in range(len(self.architecture.widths) - 1, 0, -1):
            x = torch.cat((F.interpolate(x, scale_factor=2, mode="nearest"), maps[number - 1]), 1)
            x = self.get_submodule(f"up{number}")(x, embedding)
        return self.out(F.silu(self.norm(x)))

    def embed(self, times: Tensor | Exact[Tensor], labels: Tensor) -> Tensor:
        """What all blocks are told of the pictures, (N, E)."""
        known = torch.cat((self.classes.weight, self.no_class[None]))  # (K + 1, E)
        told = sinusoids(exact(times), self.architecture.widths[0]).to(known.dtype)
        return F.silu(self.time(told) + F.embedding(labels, known))

    def levels(self) -> tuple[tuple[nn.Module, ...], ...]:
        """For each of `stages`, the modules that lead from the map before to its own."""
        first, *others = self.stages
        return (self.time, self.get_submodule(first.name)), *((self.get_submodule(stage.name),) for stage in others)

    def reset_classifier(self, num_classes: int) -> None:
        """Know other classes, all of them new."""
        self.architecture = replace(self.architecture, num_classes=num_classes)
        self.classes = nn.Embedding(num_classes, self.architecture.embedding).to(self.no_class.device)


def sinusoids(times: Tensor, count: int) -> Tensor:
    """(N, count) cosines and sines of times (N,), at frequencies from 1,000 down to a tenth (arXiv:1706.03762)."""
    half = count // 2
    exponents = torch.arange(half, dtype=torch.float32, device=times.device) / half
    phases = times[:, None] * TIME_SCALE * torch.exp(-math.log(LONGEST_PERIOD) * exponents)  # (N, half)
    return torch.cat((phases.cos(), phases.sin()), 1)
