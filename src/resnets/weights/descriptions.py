"""What stands in JSON beside weights, checked as far as all who read it need it; of a run, the fields of its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from resnets.networks.catalogue import declaration_from_dict
from resnets.types import Preprocessing

FORMAT = 1
"""Of the cards that this version writes and reads."""


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text, so not JSON: {error}") from None


def parsed(text: str, origin: str) -> Any:
    """What a text of JSON holds.

    Raises:
        ValueError: if the text is none; `origin` names it in the message.
    """
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{origin} is not JSON: {error}") from None


def card_fields(text: str, origin: str) -> dict[str, Any]:
    """The fields of a run's card: `preprocessing` and `classes` in our types, `architecture` one that can be built.

    Raises:
        ValueError: if the text is no card, or one of a newer version; `origin` names it in the message.
    """
    fields = parsed(text, origin)
    if not isinstance(fields, dict) or "format" not in fields:
        raise ValueError(f"{origin} is not the card of a run: it has no 'format'")
    if fields["format"] != FORMAT:
        raise ValueError(
            f"{origin} has format {fields['format']}, this version reads {FORMAT}; install a version of resnets "
            "that is as new as the one that wrote it"
        )
    kinds = {"model": str, "task": str, "architecture": dict, "classes": list, "preprocessing": dict}
    if wrong := [name for name, kind in kinds.items() if not isinstance(fields.get(name), kind)]:
        raise ValueError(f"{origin} is not a complete card: {', '.join(wrong)} missing or of another kind")
    try:
        preprocessing = Preprocessing.from_dict(fields["preprocessing"])
        declaration_from_dict(fields["architecture"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{origin} is not a complete card: {error}") from None
    return fields | {"preprocessing": preprocessing, "classes": tuple(fields["classes"])}
