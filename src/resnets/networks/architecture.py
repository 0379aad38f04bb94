"""The declaration of a residual network, and every check on it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self, get_args

from resnets.blocks.stems import Stem
from resnets.layers.normalisation import Activation, Norm
from resnets.layers.shortcuts import Shortcut

Block = Literal["basic", "bottleneck"]
StrideAt = Literal["3x3", "1x1"]


class Declaration:
    """What the declarations of all families share: a frozen dataclass that goes into a JSON card and comes back."""

    family: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """`family` and every field, in types that JSON has."""
        values = asdict(self)  # type: ignore[call-overload]
        return {"family": self.family} | {
            key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; ValueError for a key that is unknown or a family that is another."""
        values = dict(values)
        family = values.pop("family", None)
        if family != cls.family:
            raise ValueError(f"the declaration's family is {family!r}, not {cls.family!r}")
        known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(
                f"{cls.__name__} has no field {', '.join(unknown)}; its fields are {', '.join(known)}"
            )
        return cls(
            **{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        )


@dataclass(frozen=True, kw_only=True)
class Architecture(Declaration):
    """A residual network, described in full. Anything contradictory raises ValueError.

    Attributes:
        depths: blocks in each stage; (3, 4, 6, 3) is ResNet-50's.
        widths: channels of the 3x3 convolutions in each stage; a bottleneck's output has four times as many.
        block: "basic" (3x3, 3x3) or "bottleneck" (1x1, 3x3, 1x1); arXiv:1512.03385, figure 5.
        preactivation: normalisation and activation before each convolution instead of after (arXiv:1603.05027).
        stem: "imagenet" (7x7/2 and max-pool), "deep" (three 3x3 and max-pool) or "cifar" (one 3x3).
        stem_width: channels that the stem gives to the first stage.
        shortcut: "A" zero-padded, "B" projected where the shape changes, "C" projected everywhere, "D" averaged,
            then projected; "identity" for networks whose blocks never change the shape; "none" for plain networks.
        stride_at: which convolution of a bottleneck halves the picture: the "3x3" (torchvision's, "v1.5") or the
            first "1x1" (the paper's, "v1").
        groups, width_per_group: a bottleneck's 3x3 has width * width_per_group / 64 * groups channels, in groups
            (arXiv:1611.05431; 128 in one group makes the "wide" networks of arXiv:1605.07146).
        squeeze_excitation: weigh the channels of F(x) by what the whole map holds (arXiv:1709.01507).
        norm: "batch", "group", or "frozen" (batch norm with fixed statistics, weights and biases).
        activation: "relu", "leaky_relu", "elu", "gelu" or "silu".
        output_stride: 8 or 16 to replace later strides by dilation (arXiv:1606.00915); None for neither.
        drop_path: the rate at which the last block's F(x) is dropped; it rises linearly from the first
            (stochastic depth, arXiv:1603.09382, equation 4).
        dropout: the rate before the last convolution of each block (arXiv:1605.07146, section 2.4).
        zero_init_last: begin with F(x) = 0 in every block, by its last scale (arXiv:1706.02677, section 5.1).
        num_classes: outputs of the classifier; 0 for none, so that the network gives pooled features.
        in_channels: channels of the picture.
        source: where the network was published.
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
    num_classes: int = 1000
    in_channels: int = 3
    source: str = ""

    def __post_init__(self) -> None:
        self._check_types()
        self._check_sizes()
        self._check_combinations()

    @property
    def expansion(self) -> int:
        """A block's output channels for one of its width."""
        return 4 if self.block == "bottleneck" else 1

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of each stage."""
        return tuple(width * self.expansion for width in self.widths)

    @property
    def strides(self) -> tuple[tuple[int, int], ...]:
        """Of each stage, the stride and the dilation, as `output_stride` has them."""
        total, dilation, out = 1 if self.stem == "cifar" else 4, 1, []
        for index in range(len(self.depths)):
            stride = 1 if index == 0 else 2
            if self.output_stride is not None and total * stride > self.output_stride:
                dilation, stride = dilation * stride, 1
            total *= stride
            out.append((stride, dilation))
        return tuple(out)

    @property
    def layers(self) -> int:
        """Layers with weights as the papers count them, projections left out: ResNet-34 has 1 + 16 * 2 + 1."""
        in_stem = 3 if self.stem == "deep" else 1
        in_block = 3 if self.block == "bottleneck" else 2
        return in_stem + in_block * sum(self.depths) + (self.num_classes > 0)

    def _check_types(self) -> None:
        for name, kind in {
            "block": Block,
            "stem": Stem,
            "shortcut": Shortcut,
            "stride_at": StrideAt,
            "norm": Norm,
            "activation": Activation,
        }.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(kind))}, not {getattr(self, name)!r}"
                )
        for name in ("preactivation", "squeeze_excitation", "zero_init_last"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, not {getattr(self, name)!r}")
        for name in ("depths", "widths"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not value or not all(_positive(part) for part in value):
                raise ValueError(f"{name} must be whole numbers above 0, one a stage, not {value!r}")

    def _check_sizes(self) -> None:
        if len(self.depths) != len(self.widths):
            raise ValueError(
                f"depths has {len(self.depths)} stages and widths {len(self.widths)}; they must agree"
            )
        for name in ("stem_width", "groups", "width_per_group", "in_channels"):
            if not _positive(getattr(self, name)):
                raise ValueError(f"{name} must be a whole number above 0, not {getattr(self, name)!r}")
        if self.num_classes != 0 and not _positive(self.num_classes):
            raise ValueError(
                f"num_classes must be a whole number, 0 for no classifier, not {self.num_classes!r}"
            )
        for name in ("drop_path", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a rate: at least 0 and below 1, not {getattr(self, name)!r}")
        if self.output_stride not in (None, 8, 16):
            raise ValueError(f"output_stride must be 8, 16 or None, not {self.output_stride!r}")

    def _check_combinations(self) -> None:
        if self.block == "basic":
            for name, default in {"groups": 1, "width_per_group": 64, "stride_at": "3x3"}.items():
                if getattr(self, name) != default:
                    raise ValueError(f"{name} needs block='bottleneck'; a basic block has only {default!r}")
        if self.preactivation and self.stride_at == "1x1":
            raise ValueError("stride_at='1x1' is not defined for pre-activation networks; use '3x3'")
        for width in self.widths:
            if width * self.width_per_group % 64:
                raise ValueError(
                    f"width {width} * width_per_group {self.width_per_group} is no multiple of 64"
                )
        if self.stem == "deep" and self.stem_width % 2:
            raise ValueError(f"a deep stem needs an even stem_width, not {self.stem_width}")
        chain = (self.stem_width, *self.channels)
        if self.shortcut in ("A", "none") and any(a > b for a, b in zip(chain, chain[1:], strict=False)):
            raise ValueError(
                f"shortcut {self.shortcut!r} can add channels, not remove them, but they run {chain}"
            )
        if self.shortcut == "identity" and (
            len(set(chain)) > 1 or any(stride > 1 for stride, _ in self.strides)
        ):
            raise ValueError(
                "shortcut='identity' needs one stage whose channels are the stem's; "
                f"here the channels run {chain}; use 'A', 'B', 'C' or 'D'"
            )
        if self.output_stride is not None:
            natural = (1 if self.stem == "cifar" else 4) * 2 ** (len(self.depths) - 1)
            if natural <= self.output_stride:
                raise ValueError(
                    f"output_stride={self.output_stride} has no effect: the network's stride is {natural}"
                )


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
