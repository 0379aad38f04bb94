"""What is answered for one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Attributes:
        name: its path, or its number where it has none.
        classes: from the most probable down.
        probabilities: of those classes, 0 to 1.
        values: where the network gives numbers, those by name.
        boxes: where it finds objects, left, top, right and bottom of each, in the picture's pixels; `classes` and
            `probabilities` are theirs, and a class may come any number of times.
        masks: of each object, where the network tells them, how likely each of 28 x 28 cells of its box is its own; see
            `tasks.detection.pasted`.
        mask: where every pixel gets a class, (h, w) uint8 numbers of the card's classes; `values` are then the shares
            of the pixels that each class has, the largest first.
        size: height and width of the picture, where all of it was looked at for objects or masks.
        embedding: where it recognises, numbers of length 1, whose products with another's say how alike they are.
        error: why the picture could not be read; there is no answer then.
    """

    name: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    values: Mapping[str, float] | None = None
    boxes: tuple[tuple[float, ...], ...] = ()
    masks: Tensor | None = None
    mask: Tensor | None = None
    size: tuple[int, int] | None = None
    embedding: tuple[float, ...] = ()
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """What there is of it, in JSON's types; without masks."""
        return {
            name: value
            for name, value in vars(self).items()
            if name not in ("mask", "masks") and value is not None and value != ()
        }
