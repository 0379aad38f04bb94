"""YOLO's text files: pictures under images/, and under labels/ for each a .txt of a line an object.

A line is `class x y width height`, the centre and the sides as shares of the picture's, or an outline,
`class x1 y1 x2 y2 x3 y3...`. A picture without a text file has no objects. A YAML file may name classes and splits;
where it has a kpt_shape, key points follow the box, which are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from resnets.data.decoding import open_picture, upright_size
from resnets.data.description import (
    class_names,
    described_splits,
    descriptions_in,
    numbers_of_key_points,
    read_description,
)
from resnets.data.listing import SPLITS, Listing, is_picture, listing_of_objects, split_in
from resnets.data.sources.folder import Files
from resnets.types import Objects

ACCEPTS = "YOLO's text layout: a folder with images and labels (or SPLIT/images and SPLIT/labels), or its data.yaml"
REFINES = "folder"

_PICTURES, _LABELS, _CLASSES = "images", "labels", "classes.txt"

Mark = tuple[int, list[float]]
"""An object's class, and the numbers after it."""


def recognises(source: str) -> bool:
    """Whether it is a YAML file, a folder that has one, or one with folders of pictures and labels."""
    path = Path(source)
    if path.is_file():
        return path.suffix.lower() in (".yaml", ".yml")
    return path.is_dir() and (len(descriptions_in(path)) == 1 or any(map(_is_annotated, (path, *_split_folders(path)))))


def open(source: str) -> Listing:
    """List the pictures, with the objects that their text files name.

    A picture that a list names but that is missing is listed as well: it is an unreadable picture. Text files without a
    picture are left out by name, and so is a test split that is described but not there.

    Raises:
        ValueError: a line or the YAML file cannot be understood, or names a class that there is not; several YAML files
            name classes; or no picture of a split has a text file.
    """
    path = Path(source).resolve()
    descriptions = [path] if path.is_file() else descriptions_in(path)
    if len(descriptions) > 1:
        raise ValueError(
            f"{source}: {' and '.join(file.name for file in descriptions)} name classes; give the path of the one that "
            "is meant, or call it data.yaml"
        )
    root = path.parent if path.is_file() else path
    settings = read_description(descriptions[0]) if descriptions else {}
    asked = described_splits(root, settings)
    found = sorted(_pictures(root, asked) if asked else _all_pictures(root))
    _check_texts(root, found)
    names = [name for name, _ in found]
    further = numbers_of_key_points(settings, root)
    marks = [_marks(root / _text_of(name), further) for name in names]
    classes = _classes(settings, root, marks)
    for name, lines in zip(names, marks, strict=True):
        for line, (number, _) in enumerate(lines, 1):
            if number >= len(classes):
                raise ValueError(
                    f"{root / _text_of(name)}: object {line} is of class {number}, but there are {len(classes)} "
                    f"classes, numbered from 0: {', '.join(classes)}"
                )
    objects = [_objects(_size_of(root / name), lines) for name, lines in zip(names, marks, strict=True)]
    files = [root / name for name in names]
    listing = listing_of_objects(
        root.name,
        names,
        [split for _, split in found],
        [file.stat().st_size if file.is_file() else -1 for file in files],
        Files(str(root), tuple(names)),
        classes,
        objects,
        source,
    )
    absent = [(entry, "it is described as the test split, but is not there") for _, entry, at in asked if at is None]
    orphans = [(text, "there is no picture of its name") for text in _orphans(root, names)]
    return replace(listing, left_out=(*absent, *orphans))


def _is_annotated(folder: Path) -> bool:
    return (folder / _LABELS).is_dir() and (folder / _PICTURES).is_dir()


def _split_folders(root: Path) -> list[Path]:
    return sorted(child for child in root.iterdir() if child.name.lower() in SPLITS)


def _pictures(root: Path, asked: list[tuple[str, str, Path | None]]) -> Iterable[tuple[str, str | None]]:
    """Path below the root, and split, of every picture in the places that a description names."""
    for split, _, place in asked:
        if place is None:
            continue
        if place.is_file():
            lines = place.read_text(encoding="utf-8-sig").splitlines()
            listed = [_listed(root, place, line.strip()) for line in lines if line.strip()]
        else:
            listed = list(_pictures_in(place))
        for file in listed:
            yield _below(root, file), split


def _all_pictures(root: Path) -> Iterable[tuple[str, str | None]]:
    """Path below the root of every picture under images/, and the split that a folder above it tells."""
    for folder in (*([root] if _is_annotated(root) else []), *_split_folders(root)):
        for file in _pictures_in(folder / _PICTURES):
            words = file.relative_to(root).parts[:-1]
            yield _below(root, file), next((split for word in words if (split := split_in(word))), None)


def _pictures_in(folder: Path) -> Iterable[Path]:
    return (file for file in folder.rglob("*") if is_picture(file.relative_to(folder).as_posix()))


def _listed(root: Path, file: Path, line: str) -> Path:
    """The picture that a line of a list means: from the list's folder, or below the root, from any of its folders on.

    Where there is none, the first of these.
    """
    parts = Path(line).parts
    places = [file.parent / line, *(root.joinpath(*parts[start:]) for start in range(len(parts)))]
    there = (place for place in places if place.is_file() and place.resolve().is_relative_to(root))
    return next(there, places[0])


def _below(root: Path, file: Path) -> str:
    if not file.resolve().is_relative_to(root):
        raise ValueError(f"{root}: the picture {file} is outside of this folder")
    return file.relative_to(root).as_posix()


def _text_of(picture: str) -> str:
    """The text file of a picture, both below the root: the last folder called images gives way to labels."""
    parts = list(PurePosixPath(picture).with_suffix(".txt").parts)
    position = max((i for i, part in enumerate(parts[:-1]) if part == _PICTURES), default=None)
    if position is not None:
        parts[position] = _LABELS
    return "/".join(parts)


def _check_texts(root: Path, found: list[tuple[str, str | None]]) -> None:
    """Raise ValueError if no picture of a split has a text file, which then is somewhere else."""
    for split in dict.fromkeys(split for _, split in found):
        names = [name for name, of in found if of == split]
        if not any((root / _text_of(name)).is_file() for name in names):
            raise ValueError(
                f"{root}: none of the {len(names):,} pictures{f' of {split}' if split else ''} has a text file, such "
                f"as {_text_of(names[0])}; add them (empty where there is no object), or leave the split out"
            )


def _orphans(root: Path, names: Sequence[str]) -> Iterable[str]:
    """The text files under labels/, beside those of the pictures, that no picture has the name of."""
    for folder in sorted({PurePosixPath(name).parent for name in names}):
        texts = PurePosixPath(_text_of(str(folder / "any"))).parent
        if _LABELS not in texts.parts or not (root / texts).is_dir():
            continue
        known = {f"{file.stem}.txt" for file in (root / folder).glob("*") if is_picture(file.name)} | {_CLASSES}
        for file in sorted((root / texts).iterdir()):
            if file.suffix.lower() == ".txt" and not file.name.startswith(".") and file.name not in known:
                yield str(texts / file.name)


def _marks(file: Path, further: int) -> list[Mark]:
    """The class and the numbers of each line of a text file; `further` may stand after a box, which are dropped."""
    if not file.is_file():
        return []
    marks = []
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            label, *values = map(float, words)
        except ValueError:
            label, values = -1.0, []
        if further and len(values) == 4 + further:
            values = values[:4]
        outline = not further and len(values) >= 6 and len(values) % 2 == 0
        if label < 0 or not label.is_integer() or not (len(values) == 4 or outline):
            expected = f"and perhaps {further} numbers of key points" if further else "or an outline"
            raise ValueError(f"{file}: line {number} is {line!r}; expected `class x y width height`, {expected}")
        marks.append((int(label), values))
    return marks


def _classes(settings: dict[str, Any], root: Path, marks: list[list[Mark]]) -> tuple[str, ...]:
    """The names in the description, in classes.txt, or the numbers that are used."""
    if (names := class_names(settings, root)) is not None:
        return names
    for file in (root / _CLASSES, root / _LABELS / _CLASSES):
        if file.is_file():
            return tuple(line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    largest = max((label for lines in marks for label, _ in lines), default=-1)
    return tuple(str(number) for number in range(largest + 1))


def _size_of(picture: Path) -> tuple[int, int]:
    """Height and width, from the header; (1, 1) of what is no picture, which reading it will tell."""
    try:
        return upright_size(open_picture(picture.read_bytes()))
    except Exception:  # Pillow raises many kinds for a broken file
        return (1, 1)


def _objects(size: tuple[int, int], marks: list[Mark]) -> Objects:
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
