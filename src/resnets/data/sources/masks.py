"""Pictures and masks of the same names: images/train/a.jpg and masks/train/a.png, or train/images and train/masks.

The mask of a.jpg may also be called a_mask.png or a_L.png, and the folders may be written in capitals. What the masks'
values mean is said by one file beside the folders:

| file | its lines | masks |
|---|---|---|
| classes.txt | a name, that of value 0 first | numbers |
| class_dict.csv | name,r,g,b, after a heading | colours |
| label_colors.txt | r g b name | colours |

Without one, every value found is a class, named by its number, which those of JPEG files cannot tell. Value 255, and
the names "void" and "unlabelled" with their spellings, are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from resnets.data.listing import Listing, is_picture, split_of
from resnets.data.masks import MOST_CLASSES, ColourMasks, IndexMasks, MaskReader, numbered, pixel_values
from resnets.data.sources.folder import Files, walk
from resnets.types import IGNORED

ACCEPTS = "a folder of pictures and masks paired by name: images/[train|val|test/] and masks/[train|val|test/]"
REFINES = "folder"

PICTURES, MASKS = "images", "masks"
_SUFFIXES = ("", "_mask", "_L")
_NAMES, _COLOURS = "classes.txt", ("class_dict.csv", "label_colors.txt")


def recognises(source: str) -> bool:
    """Whether it is a folder with images and masks, or with splits that have them."""
    root = Path(source)
    return root.is_dir() and any(
        {_kind(child) for child in folder.iterdir()} >= {PICTURES, MASKS}
        for folder in (root, *(child for child in root.iterdir() if split_of(child.name) and child.is_dir()))
    )


def _kind(child: Path) -> str | None:
    name = child.name.lower()
    return name if name in (PICTURES, MASKS) and child.is_dir() else None


def open(source: str) -> Listing:
    """List the pictures that have a mask; those without, and masks without a picture, are left out by name.

    Raises:
        ValueError: no picture has a mask, or the classes cannot be told.
    """
    root = Path(source).resolve()
    pictures, masks = _files(root, PICTURES), _files(root, MASKS)
    pairs: list[tuple[str, str]] = []
    alone: list[tuple[str, str]] = []
    for key, picture in pictures.items():
        name = next((key + suffix for suffix in _SUFFIXES if key + suffix in masks), None)
        if name is None:
            alone.append((picture, "there is no mask of its name"))
        else:
            pairs.append((picture, masks.pop(name)))
    alone += [(mask, "there is no picture of its name") for mask in masks.values()]
    if not pairs:
        raise ValueError(f"{source}: no picture in {PICTURES} has a mask of its name in {MASKS}")
    names = [picture for picture, _ in pairs]
    return listing_of_masks(
        root.name,
        str(root),
        names,
        [_split(name) for name in names],
        [mask for _, mask in pairs],
        lambda files: read_classes(root, files, len(pairs), source),
        tuple(alone),
    )


def listing_of_masks(
    name: str,
    root: str,
    pictures: list[str],
    splits: list[str | None],
    masks: list[str],
    classes_of: Callable[[Files], tuple[tuple[str, ...], MaskReader]],
    left_out: tuple[tuple[str, str], ...] = (),
) -> Listing:
    """The listing of pictures and masks, both by their paths below a folder.

    Args:
        name, root: of the data, and its folder.
        pictures, splits, masks: of each sample.
        classes_of: from the opener of the masks to the classes and the reader of the masks.
        left_out: files that are no samples, and why.
    """
    classes, reader = classes_of(Files(root, tuple(masks)))
    sizes = [Path(root, mask).stat().st_size for mask in masks]
    return Listing(
        name,
        pictures,
        [f"{mask} of {size} bytes" for mask, size in zip(masks, sizes, strict=True)],
        splits,
        [Path(root, picture).stat().st_size for picture in pictures],
        Files(root, tuple(pictures)),
        classes,
        [()] * len(pictures),
        masks=reader,
        left_out=left_out,
    )


def read_classes(root: Path, files: Files, count: int, source: str) -> tuple[tuple[str, ...], MaskReader]:
    """The classes, and the reader of the masks, as the file beside them says, or by the values found.

    Raises:
        ValueError: a file that cannot be understood, more classes than 255, or values that tell no classes, as those of
            JPEG, which are not kept exactly.
    """
    if (root / _NAMES).is_file():
        lines = (root / _NAMES).read_text(encoding="utf-8-sig").splitlines()
        names = [line.strip() for line in lines if line.strip()]
        _check_names(names, root / _NAMES)
        classes, numbers = numbered(names)
        return classes, IndexMasks(files, {value: number for value, number in enumerate(numbers) if value != IGNORED})
    for file in _COLOURS:
        if (root / file).is_file():
            return colour_classes(read_colours(root / file), files, root / file)
    values = sorted({value for position in range(count) for value in _values(files, position)})
    known = [value for value in values if value != IGNORED]
    if known == [0] and IGNORED in values:
        raise ValueError(
            f"{source}: its masks hold 0 and 255 only, and 255 is ignored; if it is a class, write its name and colour "
            f"into {root / _COLOURS[0]}: name,r,g,b / background,0,0,0 / object,255,255,255"
        )
    if not known:
        raise ValueError(f"{source}: every pixel of its masks is {IGNORED}, which is ignored")
    classes = tuple(map(str, known))
    return classes, IndexMasks(files, {value: number for number, value in enumerate(known)})


def colour_classes(
    colours: list[tuple[str, tuple[int, int, int]]], files: Files, file: Path
) -> tuple[tuple[str, ...], MaskReader]:
    """The classes of named colours, and the reader of masks in them."""
    names = [name for name, _ in colours]
    _check_names(names, file)
    classes, numbers = numbered(names)
    return classes, ColourMasks(files, {colour: n for (_, colour), n in zip(colours, numbers, strict=True)})


def read_colours(file: Path) -> list[tuple[str, tuple[int, int, int]]]:
    """Names and colours, from rows of name, r, g, b below a heading, or from lines of r g b name.

    Raises:
        ValueError: naming the line.
    """
    lines = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    found = []
    for number, line in enumerate(lines, 1):
        if file.suffix == ".csv":
            if number == 1:
                continue
            name, *values = next(csv.reader([line]))
        else:
            *values, name = line.split(maxsplit=3)
        try:
            red, green, blue = (int(value) for value in values)
            if not all(0 <= value <= 255 for value in (red, green, blue)) or not name.strip():
                raise ValueError
        except ValueError:
            raise ValueError(f"{file}: line {number}, {line!r}, has no name and three numbers from 0 to 255") from None
        found.append((name.strip(), (red, green, blue)))
    return found


def _check_names(names: list[str], file: Path) -> None:
    if not numbered(names)[0] or len(set(names)) < len(names) or len(names) > MOST_CLASSES:
        raise ValueError(f"{file} must name from 1 to {MOST_CLASSES} classes, each once; it names {len(names)}")


def _values(files: Files, position: int) -> list[int]:
    try:
        mask = files(position)
        mask.load()
    except Exception:  # of many kinds; a broken file is named where all are read
        return []
    if mask.format == "JPEG":
        raise ValueError(
            f"{files.paths[position]}: JPEG changes the values of pixels, so that they tell no classes; make masks as "
            "PNG of those, with the number of its class as every pixel's value"
        )
    try:
        if mask.mode in ("L", "P"):
            return [value for value, count in enumerate(mask.histogram()) if count]
        return sorted(set(pixel_values(mask).flatten().tolist()))
    except ValueError as error:
        raise ValueError(f"{files.paths[position]}: {error}") from None


def _files(root: Path, kind: str) -> dict[str, str]:
    """Paths below the root of pictures in folders of a kind, by the path without that folder and without ending."""
    found: dict[str, str] = {}
    for path in sorted(path for path, _ in walk(root, "", frozenset()) if is_picture(path)):
        parts = path.split("/")
        if kind in (folders := [part.lower() for part in parts[:-1]]):
            del parts[folders.index(kind)]
            key = "/".join(parts).rpartition(".")[0]
            if key in found:
                raise ValueError(f"{root}: {found[key]} and {path} are two of one name; expected one")
            found[key] = path
    return found


def _split(name: str) -> str | None:
    return next((split for part in Path(name).parts[:-1] if (split := split_of(part))), None)
