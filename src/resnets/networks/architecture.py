"""The declaration of a residual network, and every check on it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal, get_args

from resnets.blocks.stems import Stem
from resnets.layers.normalisation import Activation, Norm
from resnets.layers.shortcuts import Shortcut
from resnets.networks.declaration import CIFAR_SIZE, IMAGENET_SIZE, Declaration
from resnets.networks.initialisation import SCALES, Init

Block = Literal["basic", "bottleneck"]
StrideAt = Literal["3x3", "1x1"]


@dataclass(frozen=True, kw_only=True)
class Architecture(Declaration):
    """A residual network, described in full.

    Attributes:
        depths: blocks in each stage; (3, 4, 6, 3) is ResNet-50's.
        widths: channels of the blocks' convolutions in each stage; a bottleneck gives out four times as many.
        block: "basic" (3x3, 3x3) or "bottleneck" (1x1, 3x3, 1x1); arXiv:1512.03385, figure 5.
        preactivation: normalise and activate before each convolution, not after (arXiv:1603.05027).
        stem: "imagenet" (7x7/2 and max-pool), "deep" (three 3x3 and max-pool) or "cifar" (one 3x3).
        stem_width: channels that the stem gives to the first stage.
        shortcut: "A" zero-padded, "B" projected where the shape changes, "C" projected everywhere,
            "D" averaged, then projected; "identity" for a network whose blocks never change the shape;
            "none" for a plain network.
        stride_at: which convolution of a bottleneck halves the map: the "3x3" (torchvision's, "v1.5") or the
            first "1x1" (the paper's, "v1").
        groups, width_per_group: a bottleneck's 3x3 has width * width_per_group / 64 channels in each of so
            many groups (arXiv:1611.05431); 128 in one group is twice as wide (arXiv:1605.07146).
        squeeze_excitation: weigh the channels of F(x) by what the whole map holds (arXiv:1709.01507).
        norm: "batch", "group", "frozen" (batch norm whose statistics, weights and biases stay), or "none" (a bias for
            each channel, and nothing normalised).
        activation: "relu", "leaky_relu", "elu", "gelu" or "silu".
        output_stride: 8 or 16 to have dilation in place of later strides (arXiv:1606.00915), or None.
        drop_path: the rate at which a picture skips the last block's F(x); it rises linearly from the first
            block (stochastic depth, arXiv:1603.09382, equation 4).
        dropout: the rate before the last convolution of each block (arXiv:1605.07146, section 2.4).
        zero_init_last: let each block begin as F(x) = 0, by its last scale (arXiv:1706.02677, section 5.1).
        init: of the convolutions, "he" or "glorot"; without normalisation also "fixup" (arXiv:1901.09321) or "skipinit"
            (arXiv:2002.10444), which keep the sum of many blocks in bounds.

    Raises:
        ValueError: for a value out of range, and for options that contradict each other or would do nothing.
    """

    family: ClassVar[str] = "resnet"

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    block: Block = "bottleneck"
    preactivation: bool = False
    stem: Stem = "imagenet"
    stem_width: int = 64
    shortcut: Shortcut = "B"
    stride_at: StrideAt = "3x3"
    groups: int = 1
    width_per_group: int = 64
    squeeze_excitation: bool = False
    norm: Norm = "batch"
    activation: Activation = "relu"
    output_stride: int | None = None
    drop_path: float = 0.0
    dropout: float = 0.0
    zero_init_last: bool = False
    init: Init = "he"

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of each stage."""
        return tuple(width * (4 if self.block == "bottleneck" else 1) for width in self.widths)

    @property
    def inner_channels(self) -> tuple[int, ...]:
        """Channels between the convolutions of each stage's blocks."""
        return tuple(width * self.width_per_group // 64 * self.groups for width in self.widths)

    @property
    def begins_with_zeros(self) -> bool:
        """Whether some convolutions begin as zeros."""
        return self.init == "fixup" or (self.zero_init_last and self.preactivation)

    @property
    def stem_stride(self) -> int:
        """Pixels of the picture for one that enters the first stage."""
        return 1 if self.stem == "cifar" else 4

    @property
    def strides(self) -> tuple[tuple[int, int], ...]:
        """The stride and the dilation of each stage; `output_stride` turns the one into the other."""
        total, dilation, strides = self.stem_stride, 1, []
        for index in range(len(self.depths)):
            stride = 1 if index == 0 else 2
            if self.output_stride is not None and total * stride > self.output_stride:
                stride, dilation = 1, dilation * stride
            total *= stride
            strides.append((stride, dilation))
        return tuple(strides)

    @property
    def layers(self) -> int:
        """Layers with weights, projections not counted: 1 + 16 * 2 + 1 of ResNet-34."""
        stem = 3 if self.stem == "deep" else 1
        block = 3 if self.block == "bottleneck" else 2
        return stem + sum(self.depths) * block + (self.num_classes > 0)

    @property
    def repeated(self) -> tuple[int, ...]:
        """Blocks in each stage; those of a stage are alike from the second on."""
        return self.depths

    @property
    def published_size(self) -> tuple[int, int]:
        """CIFAR's 32x32 for its stem, otherwise ImageNet's 224x224."""
        return CIFAR_SIZE if self.stem == "cifar" else IMAGENET_SIZE

    @property
    def loads_into_timm(self) -> bool:
        """timm has neither plain networks nor CIFAR's."""
        return self.shortcut != "none" and self.stem != "cifar"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_choices(
            block=get_args(Block),
            stem=get_args(Stem),
            shortcut=get_args(Shortcut),
            stride_at=get_args(StrideAt),
            norm=get_args(Norm),
            activation=get_args(Activation),
            output_stride=(None, 8, 16),
            preactivation=(False, True),
            squeeze_excitation=(False, True),
            zero_init_last=(False, True),
            init=get_args(Init),
        )
        self.check_stages("depths", "widths")
        self.check_whole("stem_width", "groups", "width_per_group")
        self.check_rates("drop_path", "dropout")
        self._check_options_of_blocks()
        self._check_shapes()

    def _check_options_of_blocks(self) -> None:
        if self.block == "basic":
            for name, value in {"groups": 1, "width_per_group": 64, "stride_at": "3x3"}.items():
                if getattr(self, name) != value:
                    raise ValueError(f"{name}={getattr(self, name)!r} needs block='bottleneck'")
        if self.preactivation and self.stride_at == "1x1":
            raise ValueError("stride_at='1x1' is the paper's first version; pre-activation networks have '3x3'")
        if self.norm == "frozen" and self.zero_init_last and not self.preactivation:
            raise ValueError("zero_init_last with norm='frozen' would keep F(x) at 0 for ever; choose one of them")
        if self.norm == "none" and self.zero_init_last and not self.preactivation:
            raise ValueError("zero_init_last needs the scale of a normalisation; with norm='none' use init='skipinit'")
        if self.shortcut == "none" and (self.zero_init_last or self.drop_path):
            raise ValueError("zero_init_last and drop_path leave F(x) out, and a plain network has nothing else")
        if self.init in SCALES and self.zero_init_last:
            raise ValueError(f"init={self.init!r} says itself what F(x) begins as; leave zero_init_last out")
        if self.init in SCALES and self.norm != "none":
            raise ValueError(f"init={self.init!r} takes the place of a normalisation; it needs norm='none'")
        if self.init in SCALES and self.shortcut == "none":
            raise ValueError(f"init={self.init!r} lets F(x) begin at 0, which a plain network would pass on for ever")
        for width in self.widths:
            if width * self.width_per_group % 64:
                raise ValueError(f"width {width} times width_per_group {self.width_per_group} is no multiple of 64")
        if self.stem == "deep" and self.stem_width % 2:
            raise ValueError(f"a deep stem needs an even stem_width, not {self.stem_width}")

    def _check_shapes(self) -> None:
        channels = (self.stem_width, *self.channels)
        if self.shortcut in ("A", "none") and any(before > after for before, after in pairwise(channels)):
            raise ValueError(f"shortcut={self.shortcut!r} can only add channels, but they run {channels}; use 'B'")
        if self.shortcut == "identity" and (len(self.depths) > 1 or len(set(channels)) > 1):
            raise ValueError(
                "shortcut='identity' needs a single stage with the stem's channels, "
                f"but the channels run {channels}; use 'A', 'B', 'C' or 'D'"
            )
        stride = self.stem_stride * 2 ** (len(self.depths) - 1)
        if self.output_stride is not None and self.output_stride >= stride:
            raise ValueError(f"output_stride={self.output_stride} does nothing: the network's stride is {stride}")
