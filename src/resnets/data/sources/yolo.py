"""YOLO's text files: pictures under images/, and under labels/ for each a .txt of a line an object.

A line is `class x y width height`, the centre and the sides as shares of the picture's, or an outline,
`class x1 y1 x2 y2 x3 y3...`. A picture without a text file has no objects. A YAML file may name classes and splits.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from resnets.data.decoding import open_picture, upright_size
from resnets.data.listing import SPLITS, Listing, is_picture, listing_of_objects
from resnets.data.sources.folder import Files
from resnets.types import Objects

ACCEPTS = "YOLO's text layout: a folder with images and labels (or SPLIT/images and SPLIT/labels), or its data.yaml"
REFINES = "folder"

_PICTURES, _LABELS = "images", "labels"


def recognises(source: str) -> bool:
    """Whether it is a YAML file, a folder that has one, or one with folders of pictures and labels."""
    path = Path(source)
    if path.is_file():
        return path.suffix.lower() in (".yaml", ".yml")
    return path.is_dir() and (_description_in(path) is not None or any(_label_folders(path)))


def open(source: str) -> Listing:
    """List the pictures, with the objects that their text files name.

    Raises:
        ValueError: a line or the YAML file cannot be understood, or names a class that there is not.
    """
    path = Path(source).resolve()
    description = path if path.is_file() else _description_in(path)
    root = path.parent if path.is_file() else path
    settings = {} if description is None else _read(description)
    found = sorted(_pictures(root, settings))
    marks = [_marks(root / name) for name, _ in found]
    classes = _classes(settings, root, marks)
    objects = []
    for (name, _), lines in zip(found, marks, strict=True):
        for line, (number, _) in enumerate(lines, 1):
            if number >= len(classes):
                raise ValueError(
                    f"{_text_of(root / name)}: object {line} is of class {number}, but there are {len(classes)} "
                    f"classes, numbered from 0: {', '.join(classes)}"
                )
        objects.append(_objects(_size_of(root / name), lines))
    names = [name for name, _ in found]
    sizes = [(root / name).stat().st_size for name in names]
    splits = [split for _, split in found]
    return listing_of_objects(root.name, names, splits, sizes, Files(str(root), tuple(names)), classes, objects, source)


def _description_in(folder: Path) -> Path | None:
    """The only YAML file of a folder that names classes."""
    files = [file for file in (*folder.glob("*.yaml"), *folder.glob("*.yml")) if _names_classes(file)]
    return files[0] if len(files) == 1 else None


def _names_classes(file: Path) -> bool:
    try:
        return "names" in _read(file)
    except ValueError:  # no YAML, and none of ours
        return False


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not YAML: {error}") from None
    return content if isinstance(content, dict) else {}


def _label_folders(root: Path) -> Iterable[Path]:
    """Folders of labels that have one of pictures beside them: below the root or below a split's folder."""
    for folder in (root, *(child for child in root.iterdir() if child.name.lower() in SPLITS)):
        if (folder / _LABELS).is_dir() and (folder / _PICTURES).is_dir():
            yield folder / _LABELS


def _pictures(root: Path, settings: dict[str, Any]) -> Iterable[tuple[str, str | None]]:
    """Path below the root, and split, of every picture: where the description says, or of all under images/."""
    asked = [(key, SPLITS[key.lower()]) for key in settings if key.lower() in SPLITS and settings[key]]
    for key, split in asked:
        entries = settings[key] if isinstance(settings[key], list) else [settings[key]]
        for entry in entries:
            place = _place(root, settings.get("path"), str(entry))
            if place.is_file():
                listed = [
                    place.parent / line.strip()
                    for line in place.read_text(encoding="utf-8").splitlines()
                    if line.strip()
                ]
            else:
                listed = [file for file in place.rglob("*") if is_picture(file.relative_to(place).as_posix())]
            for file in listed:
                yield _below(root, file), split
    if not asked:
        for folder in _label_folders(root):
            place = folder.parent / _PICTURES
            for file in place.rglob("*"):
                if is_picture(file.relative_to(place).as_posix()):
                    words = file.relative_to(root).parts[:-1]
                    yield (
                        _below(root, file),
                        next((SPLITS[word.lower()] for word in words if word.lower() in SPLITS), None),
                    )


def _place(root: Path, base: object, entry: str) -> Path:
    """The folder or list that an entry of the description means; many are written to be read from elsewhere."""
    inside = entry
    while inside.startswith("../"):
        inside = inside.removeprefix("../")
    for place in (root / entry, root / str(base or "") / entry, root / inside):
        if place.exists() and place.resolve().is_relative_to(root):
            return place.resolve()
    raise ValueError(f"{root}: its description names {entry}, which is not in this folder")


def _below(root: Path, file: Path) -> str:
    if not file.resolve().is_relative_to(root):
        raise ValueError(f"{root}: the picture {file} is outside of this folder")
    return file.relative_to(root).as_posix()


def _text_of(picture: Path) -> Path:
    """The text file of a picture: the last folder called images gives way to labels."""
    parts = list(picture.with_suffix(".txt").parts)
    position = max((i for i, part in enumerate(parts[:-1]) if part == _PICTURES), default=None)
    if position is not None:
        parts[position] = _LABELS
    return Path(*parts)


def _marks(picture: Path) -> list[tuple[int, list[float]]]:
    """The class and the numbers of each line."""
    file = _text_of(picture)
    if not file.is_file():
        return []
    marks = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            label, values = int(words[0]), [float(word) for word in words[1:]]
        except ValueError:
            label, values = -1, []
        if label < 0 or not (len(values) == 4 or (len(values) >= 6 and len(values) % 2 == 0)):
            raise ValueError(f"{file}: line {number} is {line!r}; expected `class x y width height`, or an outline")
        marks.append((label, values))
    return marks


def _classes(settings: dict[str, Any], root: Path, marks: list[list[tuple[int, list[float]]]]) -> tuple[str, ...]:
    """The names in the description, in classes.txt, or the numbers that are used."""
    names = settings.get("names")
    if isinstance(names, dict):
        return _in_order(names, root)
    if isinstance(names, list):
        return tuple(map(str, names))
    for file in (root / "classes.txt", root / _LABELS / "classes.txt"):
        if file.is_file():
            return tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    largest = max((label for lines in marks for label, _ in lines), default=-1)
    return tuple(str(number) for number in range(largest + 1))


def _in_order(names: dict[Any, Any], root: Path) -> tuple[str, ...]:
    """The names by their numbers.

    Raises:
        ValueError: if a key is no number, or one is left out.
    """
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


def _size_of(picture: Path) -> tuple[int, int]:
    """Height and width, from the header; (1, 1) of what is no picture, which reading it will tell."""
    try:
        return upright_size(open_picture(picture.read_bytes()))
    except Exception:  # Pillow raises many kinds for a broken file
        return (1, 1)


def _objects(size: tuple[int, int], marks: list[tuple[int, list[float]]]) -> Objects:
    sides = torch.tensor([float(size[1]), float(size[0])])
    boxes: list[Tensor] = []
    outlines: list[tuple[Tensor, ...]] = []
    for _, values in marks:
        points = torch.tensor(values).view(-1, 2)
        if len(points) == 2:
            centre, extent = points * sides
            boxes.append(torch.cat((centre - extent / 2, centre + extent / 2)))
            outlines.append(())
        else:
            outline: Tensor = points * sides
            boxes.append(torch.cat((outline.amin(0), outline.amax(0))))
            outlines.append((outline,))
    return Objects(
        size,
        torch.stack(boxes) if boxes else torch.zeros(0, 4),
        torch.tensor([label for label, _ in marks], dtype=torch.int64),
        torch.zeros(len(marks), dtype=torch.bool),
        tuple(outlines) if any(outlines) else (),
    )
