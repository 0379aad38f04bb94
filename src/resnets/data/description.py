"""The YAML file that describes a data set in YOLO's layout: classes, where each split is, and key points."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from resnets.data.listing import SPLITS

_NOTHING = ("", "~", "null")  # as YAML writes it


def descriptions_in(folder: Path) -> list[Path]:
    """The YAML files of a folder that name classes; data.yaml alone where it is among them."""
    files = [file for file in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))) if _names_classes(file)]
    return [file for file in files if file.name == "data.yaml"] or files


def _names_classes(file: Path) -> bool:
    try:
        return "names" in read_description(file)
    except ValueError:  # no YAML, and none of ours
        return False


def read_description(file: Path) -> dict[str, Any]:
    """The settings of a YAML file, all of them text, so that a class called no or 2.50 keeps its name.

    Raises:
        ValueError: if it is no YAML.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8-sig"), yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {error}") from None
    return content if isinstance(content, dict) else {}


def class_names(settings: dict[str, Any], root: Path) -> tuple[str, ...] | None:
    """The names of the classes by their numbers, or None where it has none.

    Raises:
        ValueError: if they have keys of which one is no number, or one is left out.
    """
    names = settings.get("names")
    if isinstance(names, list):
        return tuple(map(str, names))
    return _in_order(names, root) if isinstance(names, dict) else None


def _in_order(names: dict[Any, Any], root: Path) -> tuple[str, ...]:
    try:
        numbered = {int(key): str(name) for key, name in names.items()}
    except ValueError:
        numbered = {}
    if sorted(numbered) != list(range(len(names))):
        raise ValueError(
            f"{root}: the keys of names are {', '.join(map(str, names))}; expected the class numbers 0 to "
            f"{len(names) - 1}, each once"
        )
    return tuple(numbered[number] for number in range(len(numbered)))


def described_splits(root: Path, settings: dict[str, Any]) -> list[tuple[str, str, Path | None]]:
    """Split, entry and place (folder, list or picture) of all that the description names; a test split may lack.

    Raises:
        ValueError: if another split is not there.
    """
    asked = []
    for key, value in settings.items():
        if (split := SPLITS.get(key.lower())) is None:
            continue
        for entry in value if isinstance(value, list) else [value]:
            if entry in _NOTHING:
                continue
            place = _place(root, settings.get("path"), str(entry))
            if place is None and split != "test":  # which many exports name but do not have
                raise ValueError(f"{root}: its description names {entry}, which is not in this folder")
            asked.append((split, str(entry), place))
    return asked


def _place(root: Path, base: object, entry: str) -> Path | None:
    """The folder or list that an entry of the description means; many are written to be read from elsewhere."""
    inside = entry
    while inside.startswith("../"):
        inside = inside.removeprefix("../")
    for place in (root / entry, root / str(base or "") / entry, root / inside):
        if place.exists() and place.resolve().is_relative_to(root):
            return place.resolve()
    return None


def numbers_of_key_points(settings: dict[str, Any], root: Path) -> int:
    """How many numbers may stand after a box for its key points.

    Raises:
        ValueError: if the description does not say it in whole numbers.
    """
    if "kpt_shape" not in settings:
        return 0
    try:
        return math.prod(map(int, settings["kpt_shape"]))
    except (TypeError, ValueError):
        raise ValueError(
            f"{root}: its kpt_shape is {settings['kpt_shape']}; expected two numbers, as [17, 3]"
        ) from None
