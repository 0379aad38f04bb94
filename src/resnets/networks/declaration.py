"""What the declarations of all families of networks share: common fields, their checks, the way to JSON and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self

Pictures = Literal["imagenet", "cifar"]
"""What a stem is made for."""

IMAGENET_SIZE = (224, 224)
CIFAR_SIZE = (32, 32)


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """A network, described in full: a frozen dataclass for each family, which refuses what contradicts itself.

    Attributes:
        num_classes: outputs of the classifier; 0 for none, so that the network gives the features before it.
        in_channels: channels of the pictures.
        source: where the network was published.
    """

    family: ClassVar[str]
    """The name of the family in a JSON card."""

    num_classes: int = 1000
    in_channels: int = 3
    source: str = ""

    def __post_init__(self) -> None:
        self.check_whole("in_channels")
        self.check_whole("num_classes", least=0)

    @property
    def layers(self) -> int:
        """Layers with weights, as the papers count them."""
        raise NotImplementedError

    @property
    def repeated(self) -> tuple[int, ...]:
        """`depths`, if all blocks of a stage cost the same from the second on; otherwise ()."""
        return ()

    @property
    def published_size(self) -> tuple[int, int]:
        """Height and width of the pictures that the network was published for."""
        return IMAGENET_SIZE

    @property
    def begins_with_zeros(self) -> bool:
        """Whether some convolutions begin as zeros."""
        return False

    @property
    def loads_into_timm(self) -> bool:
        """Whether timm has a network of these layers whose tensors have our names, or that translates them."""
        return True

    def to_dict(self) -> dict[str, Any]:
        """`family` and every field, in JSON's types."""
        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"family": self.family, **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError: for another family, an unknown or missing field, or values that the declaration refuses.
        """
        if values.get("family") != cls.family:
            raise ValueError(f"the declaration is of family {values.get('family')!r}, not {cls.family!r}")
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - {"family", *known}):
            raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}; its fields are {', '.join(known)}")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        try:
            return cls(**{key: value for key, value in values.items() if key != "family"})
        except TypeError as error:  # a field is missing, or of a type that its check cannot compare
            raise ValueError(f"{cls.__name__} cannot be made of what is given: {error}") from None

    def check_choices(self, **choices: Iterable[object]) -> None:
        """Raise ValueError unless each field named has one of its values."""
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")

    def check_whole(self, *names: str, least: int = 1) -> None:
        """Raise ValueError unless each field named is a whole number of at least so much."""
        for name in names:
            if not _is_whole(getattr(self, name), least):
                raise ValueError(f"{name} must be a whole number of at least {least}, not {getattr(self, name)!r}")

    def check_stages(self, *names: str) -> None:
        """Raise ValueError unless each field named holds whole numbers above 0, and all as many."""
        for name in names:
            value = getattr(self, name)
            if not (isinstance(value, tuple) and value and all(map(_is_whole, value))):
                raise ValueError(f"{name} must be a tuple of whole numbers above 0, one a stage, not {value!r}")
        if len({len(getattr(self, name)) for name in names}) > 1:
            stated = " and ".join(f"{name} {getattr(self, name)}" for name in names)
            raise ValueError(f"{stated} must have one number for each stage alike")

    def check_rates(self, *names: str) -> None:
        """Raise ValueError unless each field named is at least 0 and below 1."""
        for name in names:
            rate = getattr(self, name)
            if not (isinstance(rate, int | float) and 0 <= rate < 1):
                raise ValueError(f"{name} must be a rate, at least 0 and below 1, not {rate!r}")


def _is_whole(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
