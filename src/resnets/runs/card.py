"""The card: all there is to know about a trained network besides its weights, as one JSON file.

Whoever has the card and the weights can predict, evaluate, explain, export and serve, with no code and no flag from
the training side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from resnets.types import Preprocessing
from resnets.weights.descriptions import FORMAT, card_fields, read_text


@dataclass(frozen=True)
class Card:
    """One trained network.

    Attributes:
        model: the catalogue's name of the architecture.
        task: the module of `resnets.tasks` that knows loss, answers and metrics.
        architecture: the declaration of the network, as its `to_dict()` writes it.
        classes: names in the order of the network's outputs.
        settings: what the task needs to turn outputs into answers: of the training targets, such as mean and std of
            numbers, or `fitted_on` the validation split, such as the temperature of probabilities.
        preprocessing: from a picture to the network's input, exactly.
        metrics: measured on `data["evaluated_on"]`, accuracies as shares from 0 to 1.
        recipe: every field of the training recipe.
        data: source, format, fingerprint, number of pictures by split, how splits were made, pictures left out.
        provenance: versions, seed, device, precision, processes, command, date, time taken.
        export: of a network exported for an engine: format, precision, what its graph takes and gives, what it was
            made from, and how far it is from it; empty otherwise.
    """

    model: str
    task: str
    architecture: Mapping[str, Any]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    metrics: Mapping[str, float] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    export: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        """The card as indented JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str = "card") -> Card:
        """Read what `to_json` wrote.

        Raises:
            ValueError: if the text is no card, one of a newer version, or of a network that cannot be built; `origin`
                names it in the message.
        """
        try:
            return cls(**card_fields(text, origin))
        except TypeError as error:
            raise ValueError(f"{origin} is not a complete card: {error}") from None

    @classmethod
    def read(cls, path: Path) -> Card:
        """The card in a file.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if the file is no card.
        """
        return cls.from_json(read_text(path), origin=str(path))
