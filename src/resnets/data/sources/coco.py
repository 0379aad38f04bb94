"""COCO: a JSON file of images, annotations and categories, or a folder of one for each split (cocodataset.org)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnets.data.listing import Listing, listing_of_objects, split_in
from resnets.data.masks import DrawnMasks
from resnets.data.run_lengths import outline_of_runs
from resnets.data.sources.folder import Files
from resnets.types import Objects

ACCEPTS = (
    "a COCO .json file, or a folder with annotations/*.json, instances_*.json, SPLIT/_annotations.coco.json or "
    "_annotations.coco.json and the pictures"
)
REFINES = "folder"

BACKGROUND = "background"
"""The class of pixels that are in no object's outline, where a class of every pixel is asked for."""


def recognises(source: str) -> bool:
    """Whether it is a JSON file, or a folder that has some where COCO and its imitators keep them."""
    path = Path(source)
    return bool(_files(path)) if path.is_dir() else path.suffix.lower() == ".json" and path.is_file()


def open(source: str) -> Listing:
    """List the pictures of the JSON files; the split is in a file's or its folder's name.

    The classes are the categories in the order of their numbers, without those that only group others. Crowds are
    ignored. Where objects have polygons or run-length codes, they can be read as masks, too.

    Raises:
        ValueError: a file is not of COCO's form, or names a picture, category or image that is not there; two pictures
            have one number, or two categories one name; or one of several files is of no split by its name.
    """
    path = Path(source).resolve()
    files = _files(path) if path.is_dir() else [path]
    root = path if path.is_dir() else _shared_root(path)
    if len(files) > 1 and (silent := [file for file in files if _split(file) is None]):
        raise ValueError(
            f"{source} has {len(files)} files, and the name of {silent[0].relative_to(root)} tells no split; name each "
            "by one of train, val and test, as in annotations_train.json, or give the path of a single file"
        )
    contents = {file: _read(file) for file in files}
    known = _categories(contents, source)
    numbers = {number: position for position, number in enumerate(sorted(known))}
    names: list[str] = []
    splits: list[str | None] = []
    objects: list[Objects] = []
    for file, content in contents.items():
        folder = _pictures_of(file, content["images"], root)
        marks = defaultdict(list)
        for mark in content["annotations"]:
            marks[mark["image_id"]].append(mark)
        if strangers := set(marks) - {image["id"] for image in content["images"]}:
            raise ValueError(f"{file}: annotations name the image {min(strangers)}, which is not among its images")
        for image in content["images"]:
            names.append((folder / image["file_name"]).relative_to(root).as_posix())
            splits.append(_split(file))
            objects.append(_objects(image, marks[image["id"]], numbers, file))
    classes = tuple(known[number] for number in sorted(known))
    sizes = [_size(root / name) for name in names]
    listing = listing_of_objects(
        path.stem, names, splits, sizes, Files(str(root), tuple(names)), classes, objects, source
    )
    if not any(each.outlines for each in objects):
        return listing
    drawn = replace(
        listing,
        classes=(BACKGROUND, *classes),
        values=[()] * len(names),
        objects=None,
        masks=DrawnMasks(objects),
    )
    return replace(listing, as_masks=lambda: drawn)


def _categories(contents: Mapping[Path, Mapping[str, Any]], source: str) -> dict[int, str]:
    """The names of the categories by their numbers.

    One that has no objects and is the supercategory of another is left out: Roboflow writes one for the whole set.

    Raises:
        ValueError: the files have different categories, or two have one number or name.
    """
    found = [{int(c["id"]): str(c["name"]) for c in content["categories"]} for content in contents.values()]
    if any(other != found[0] for other in found):
        raise ValueError(f"{source}: its files have different categories; expected the same in all")
    rows = next(iter(contents.values()))["categories"]
    used = {mark["category_id"] for content in contents.values() for mark in content["annotations"]}
    parents = {(c.get("supercategory"), int(c["id"])) for c in rows}
    known = {
        number: name
        for number, name in found[0].items()
        if number in used or not any(parent == name and child != number for parent, child in parents)
    }
    if len(found[0]) < len(rows):
        raise ValueError(f"{source}: two of its categories have one id; expected each id once")
    if twice := [name for name, count in Counter(known.values()).items() if count > 1]:
        raise ValueError(
            f"{source}: {twice[0]} is the name of more than one category; give each its own, or merge them"
        )
    return known


def _files(folder: Path) -> list[Path]:
    """The JSON files of a folder, all of the first kind that it has."""
    kinds = (
        "annotations/instances_*.json",
        "annotations/*.json",
        "*/_annotations.coco.json",
        "instances_*.json",
        "_annotations.coco.json",
    )
    return next((found for kind in kinds if (found := sorted(folder.glob(kind)))), [])


def _shared_root(file: Path) -> Path:
    """The folder above the pictures of a single JSON file."""
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    needed = {
        "images": {"id", "file_name", "width", "height"},
        "annotations": {"image_id", "category_id", "bbox"},
        "categories": {"id", "name"},
    }
    for key, fields in needed.items():
        rows = content.get(key) if isinstance(content, dict) else None
        if not isinstance(rows, list):
            raise ValueError(f"{file} is not in COCO's form: it has no list of {key}")
        for number, row in enumerate(rows):
            if not isinstance(row, dict) or not fields <= row.keys():
                raise ValueError(f"{file} is not in COCO's form: {key}[{number}] needs {', '.join(sorted(fields))}")
    if twice := [number for number, count in Counter(row["id"] for row in content["images"]).items() if count > 1]:
        raise ValueError(f"{file}: {twice[0]} is the id of more than one image; expected each id once")
    return dict(content)


def _split(file: Path) -> str | None:
    """The split that "instances_val2017.json", "train_annotations.json" or "valid/_annotations.coco.json" is of."""
    return split_in(file.parent.name if file.name.startswith("_") else file.stem)


def _pictures_of(file: Path, images: Sequence[Mapping[str, Any]], root: Path) -> Path:
    """The folder that a file's pictures are relative to.

    Raises:
        ValueError: none of the usual ones has the first picture, nor one folder alone that the split is in the name of;
            or a name leads out of the data's folder.
    """
    word = file.stem.removeprefix("instances_")
    usual = [file.parent, root, root / "images", root / word, root / "images" / word]
    first = images[0]["file_name"] if images else ""
    found = [folder for folder in usual if (folder / first).is_file()][:1]
    if not found:
        named = [*_folders_of(_split(file), root), *_folders_of(_split(file), root / "images")]
        found = [folder for folder in named if (folder / first).is_file()]
        usual += named
    if len(found) != 1:
        places = ", ".join(str(folder) for folder in found or dict.fromkeys(usual))
        raise ValueError(f"{file} names the picture {first}, which is in {'each' if found else 'none'} of {places}")
    (folder,) = found
    for image in images:
        if not (folder / image["file_name"]).resolve().is_relative_to(root):
            raise ValueError(f"{file} names the picture {image['file_name']}, which is outside of {root}")
    return folder


def _folders_of(split: str | None, folder: Path) -> list[Path]:
    """The folders in a folder that a split is in the name of."""
    if split is None or not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if split_in(child.name) == split and child.is_dir())


def _objects(
    image: Mapping[str, Any], marks: Sequence[Mapping[str, Any]], numbers: Mapping[int, int], file: Path
) -> Objects:
    size = (int(image["height"]), int(image["width"]))
    boxes, labels = [], []
    for mark in marks:
        if mark["category_id"] not in numbers:
            raise ValueError(
                f"{file}: an object of {image['file_name']} is of the unknown category {mark['category_id']}"
            )
        try:
            left, top, width, height = map(float, mark["bbox"])
        except (TypeError, ValueError):
            raise ValueError(f"{file}: an object of {image['file_name']} has the box {mark['bbox']}") from None
        boxes.append((left, top, left + width, top + height))
        labels.append(numbers[mark["category_id"]])
    try:
        outlines = tuple(_polygons(mark, size) for mark in marks)
    except (TypeError, ValueError):
        raise ValueError(
            f"{file}: an object of {image['file_name']} has an outline that is no list of polygons, each "
            "[x1, y1, x2, y2, ...] of three points or more, and no run-length code of the picture's size"
        ) from None
    return Objects(
        size,
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor([bool(mark.get("iscrowd")) for mark in marks], dtype=torch.bool),
        outlines if any(outlines) else (),
    )


def _polygons(mark: Mapping[str, Any], size: tuple[int, int]) -> tuple[Tensor, ...]:
    """An object's polygons, also of a run-length code; none of a crowd's code, as crowds are ignored by their boxes."""
    segmentation = mark.get("segmentation")
    if isinstance(segmentation, dict) and not mark.get("iscrowd"):
        outline = outline_of_runs(segmentation, size)
        return () if outline is None else (outline,)
    if not isinstance(segmentation, list):
        return ()
    if odd := [flat for flat in segmentation if len(flat) % 2]:
        raise ValueError(f"{odd[0]} are no points")
    return tuple(torch.tensor(flat, dtype=torch.float32).view(-1, 2) for flat in segmentation if len(flat) >= 6)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
