"""The declaration of a residual network, and every check on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self, get_args

from resnets.blocks.stems import Stem
from resnets.layers.normalisation import Activation, Norm
from resnets.layers.shortcuts import Shortcut
from resnets.networks.initialisation import SCALES, Init

Block = Literal["basic", "bottleneck"]
StrideAt = Literal["3x3", "1x1"]


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What the declarations of all families share; they go into a JSON card and come back.

    Attributes:
        depths: blocks, or in VGG convolutions, in each stage.
        num_classes: outputs of the classifier; 0 for none, so that the network gives the features before it.
        in_channels: channels of the pictures.
        source: where the network was published.
    """

    family: ClassVar[str]

    depths: tuple[int, ...]
    num_classes: int = 1000
    in_channels: int = 3
    source: str = ""

    @property
    def layers(self) -> int:
        """Layers with weights, as the papers count them."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """`family` and every field, in JSON's types."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"family": self.family, **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError: for another family, an unknown field, or values that the declaration refuses.
        """
        if values.get("family") != cls.family:
            raise ValueError(f"the declaration is of family {values.get('family')!r}, not {cls.family!r}")
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - {"family", *known}):
            raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}; its fields are {', '.join(known)}")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**{key: value for key, value in values.items() if key != "family"})


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

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_numbers()
        self._check_options_of_blocks()
        self._check_shapes()

    def _check_choices(self) -> None:
        choices = {
            "block": get_args(Block),
            "stem": get_args(Stem),
            "shortcut": get_args(Shortcut),
            "stride_at": get_args(StrideAt),
            "norm": get_args(Norm),
            "activation": get_args(Activation),
            "output_stride": (None, 8, 16),
            "preactivation": (False, True),
            "squeeze_excitation": (False, True),
            "zero_init_last": (False, True),
            "init": get_args(Init),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")

    def _check_numbers(self) -> None:
        for name in ("depths", "widths"):
            value = getattr(self, name)
            if not (isinstance(value, tuple) and value and all(map(_is_positive, value))):
                raise ValueError(f"{name} must be a tuple of whole numbers above 0, one a stage, not {value!r}")
        if len(self.depths) != len(self.widths):
            raise ValueError(f"depths {self.depths} and widths {self.widths} must have one number for each stage alike")
        for name in ("stem_width", "groups", "width_per_group", "in_channels"):
            if not _is_positive(getattr(self, name)):
                raise ValueError(f"{name} must be a whole number above 0, not {getattr(self, name)!r}")
        if self.num_classes != 0 and not _is_positive(self.num_classes):
            raise ValueError(f"num_classes must be a whole number, 0 for none, not {self.num_classes!r}")
        for name in ("drop_path", "dropout"):
            rate = getattr(self, name)
            if not (isinstance(rate, int | float) and 0 <= rate < 1):
                raise ValueError(f"{name} must be a rate, at least 0 and below 1, not {rate!r}")

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


def _is_positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
