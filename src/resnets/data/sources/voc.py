"""Pascal VOC: a folder with JPEGImages, and Annotations (an XML file a picture), SegmentationClass (a mask), or both.

ImageSets/Main and ImageSets/Segmentation may say which pictures are for what; trainval.txt is for training where there
is no train.txt. Pictures may lie in folders below JPEGImages, and their annotations and masks in the same ones.

Masks hold the numbers of VOC's 21 classes; where there is a labelmap.txt, as annotation tools write it, its colours.

Boxes there are counted in pixels from 1, both ends included (host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import torch

from resnets.data.listing import SPLITS, Listing, is_picture, listing_of_objects
from resnets.data.masks import IndexMasks, MaskReader
from resnets.data.sources.folder import Files
from resnets.data.sources.masks import colour_classes, listing_of_masks
from resnets.types import Objects

ACCEPTS = (
    "a folder in Pascal VOC's layout: JPEGImages, Annotations/*.xml or SegmentationClass/*.png, perhaps "
    "ImageSets/{Main,Segmentation}/{train,val,trainval,test}.txt"
)
REFINES = "folder"

_PICTURES, _ANNOTATIONS, _SPLITS = "JPEGImages", "Annotations", Path("ImageSets", "Main")
_TRAINVAL = "trainval.txt"
_MASKS, _MASK_SPLITS, _LABELMAP = "SegmentationClass", Path("ImageSets", "Segmentation"), "labelmap.txt"

CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""Of Pascal VOC's masks, by their numbers."""


def recognises(source: str) -> bool:
    """Whether it is a folder with pictures and annotations or masks under VOC's names."""
    others = (_ANNOTATIONS, _MASKS)
    return Path(source, _PICTURES).is_dir() and any(Path(source, other).is_dir() for other in others)


def open(source: str) -> Listing:
    """List the pictures that the split files name, or all that have an annotation where there are no such files.

    The classes are the names in the annotations, sorted. Objects marked as difficult are ignored. Without annotations,
    and where masks are asked for, it is the listing of the masks. Pictures without an annotation are left out by name;
    of those with one that no list names, how many.

    Raises:
        ValueError: a picture, an annotation or a mask is missing, an annotation cannot be understood, or two pictures
            differ by their endings alone.
    """
    root = Path(source).resolve()
    if not (root / _ANNOTATIONS).is_dir():
        return _masks(root, source)
    files = _by_name(root / _PICTURES)
    annotated = _annotated(root)
    members = _members(root, _SPLITS, files)
    names = list(members) or annotated
    if missing := [name for name in names if name not in files]:
        raise ValueError(
            f"{source} has no picture {_PICTURES}/{missing[0]}.*, which its split files or annotations name"
        )
    parsed = [_parse(root / _ANNOTATIONS / f"{name}.xml") for name in names]
    classes = tuple(sorted({label for _, marks in parsed for label, _, _ in marks}))
    paths = [files[name] for name in names]
    listing = listing_of_objects(
        root.name,
        paths,
        [members.get(name) for name in names],
        [(root / _PICTURES / path).stat().st_size for path in paths],
        Files(str(root / _PICTURES), tuple(paths)),
        classes,
        [_objects(size, marks, classes) for size, marks in parsed],
        source,
    )
    bare = sorted(files.keys() - {*names, *annotated})
    left_out = [(f"{_PICTURES}/{files[name]}", "there is no annotation of its name") for name in bare]
    listed = {*names, *_listed(root, files)}
    if unlisted := [name for name in annotated if name in files and name not in listed]:
        reason = f"no list of a split names {len(unlisted):,} of the annotated pictures, such as {unlisted[0]}"
        left_out.append((_SPLITS.as_posix(), reason))
    listing = replace(listing, left_out=tuple(left_out))
    return replace(listing, as_masks=partial(_masks, root, source)) if (root / _MASKS).is_dir() else listing


def _masks(root: Path, source: str) -> Listing:
    """List the pictures that the split files of the masks name, or all that have a mask."""
    pictures, masks = _by_name(root / _PICTURES), _by_name(root / _MASKS)
    members = _members(root, _MASK_SPLITS, pictures)
    names = list(members) or [name for name in masks if name in pictures]
    for folder, files in ((_PICTURES, pictures), (_MASKS, masks)):
        if missing := [name for name in names if name not in files]:
            raise ValueError(f"{source} has no {folder}/{missing[0]}.*, which its split files name")
    if not names:
        raise ValueError(f"{source}: no picture in {_PICTURES} has a mask of its name in {_MASKS}")

    def classes_of(files: Files) -> tuple[tuple[str, ...], MaskReader]:
        if (root / _LABELMAP).is_file():
            return colour_classes(_labelmap(root / _LABELMAP), files, root / _LABELMAP)
        return CLASSES, IndexMasks(files, {number: number for number in range(len(CLASSES))})

    return listing_of_masks(
        root.name,
        str(root),
        [f"{_PICTURES}/{pictures[name]}" for name in names],
        [members.get(name) for name in names],
        [f"{_MASKS}/{masks[name]}" for name in names],
        classes_of,
    )


def _labelmap(file: Path) -> list[tuple[str, tuple[int, int, int]]]:
    """Names and colours from lines of name:r,g,b:parts:actions.

    Raises:
        ValueError: naming the line.
    """
    found = []
    for line in file.read_text(encoding="utf-8-sig").splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, rest = line.partition(":")
            try:
                red, green, blue = (int(value) for value in rest.partition(":")[0].split(","))
            except ValueError:
                raise ValueError(f"{file}: {line!r} is not of the form name:r,g,b:parts:actions") from None
            found.append((name.strip(), (red, green, blue)))
    return found


Mark = tuple[str, tuple[float, ...], bool]
"""An object's class, its box as the file has it, and whether it is difficult."""


def _by_name(folder: Path) -> dict[str, str]:
    """The pictures below a folder, sorted: their paths by these without their endings.

    Raises:
        ValueError: if two differ by their endings alone.
    """
    found: dict[str, str] = {}
    for path in sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file()):
        name, key = path.as_posix(), path.with_suffix("").as_posix()
        if is_picture(name) and found.setdefault(key, name) != name:
            raise ValueError(f"{folder} has {found[key]} and {name}; expected one picture of a name")
    return found


def _annotated(root: Path) -> list[str]:
    """The names of the annotations, sorted."""
    folder = root / _ANNOTATIONS
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.xml"))


def _members(root: Path, folder: Path, pictures: Container[str]) -> dict[str, str]:
    """The split of each picture that a split file in a folder names.

    Raises:
        ValueError: if files of two splits name the same picture.
    """
    lists = [(path, SPLITS.get(path.stem.lower())) for path in sorted((root / folder).glob("*.txt"))]
    members: dict[str, str] = {}
    for path, split in lists:
        if split is not None:
            for name in _names_in(path, pictures):
                if members.setdefault(name, split) != split:
                    raise ValueError(f"{root}: {name} is in the splits {members[name]} and {split}")
    both = root / folder / _TRAINVAL
    if both.is_file() and "train" not in {split for _, split in lists}:
        for name in _names_in(both, pictures):
            if members.setdefault(name, "train") == "test":
                raise ValueError(f"{root}: {name} is in {_TRAINVAL} and in the split test")
    return members


def _listed(root: Path, pictures: Container[str]) -> set[str]:
    """The pictures that are listed for another purpose, as those of actions in VOC 2012."""
    others = [path for path in (root / _SPLITS.parent).glob("*/*.txt") if path.parent.name != _SPLITS.name]
    return {name for path in others for name in _names_in(path, pictures)}


def _names_in(file: Path, pictures: Container[str]) -> list[str]:
    """The pictures that a file's lines name: all of a line, or what stands before whether it has a class."""
    lines = map(str.strip, file.read_text(encoding="utf-8-sig").splitlines())
    return [line if line in pictures else line.split()[0] for line in lines if line]


def _parse(path: Path) -> tuple[tuple[int, int], list[Mark]]:
    """The size of a picture, (height, width), and its marks.

    Raises:
        ValueError: naming the file.
    """
    try:
        tree = ElementTree.parse(path).getroot()
        size = (int(_text(tree, "size/height")), int(_text(tree, "size/width")))
        marks = [
            (
                _text(node, "name"),
                tuple(float(_text(node, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")),
                node.findtext("difficult", "0").strip() == "1",
            )
            for node in tree.iter("object")
        ]
    except FileNotFoundError:
        raise ValueError(f"there is no annotation {path}, which a split file names") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{path} is no annotation of Pascal VOC: {error}") from None
    return size, marks


def _text(node: ElementTree.Element, path: str) -> str:
    if not (text := (node.findtext(path) or "").strip()):
        raise ValueError(f"a {node.tag} lacks its {path}")
    return text


def _objects(size: tuple[int, int], marks: list[Mark], classes: tuple[str, ...]) -> Objects:
    number: Mapping[str, int] = {name: position for position, name in enumerate(classes)}
    boxes = torch.tensor([box for _, box, _ in marks], dtype=torch.float32).view(-1, 4)
    boxes[:, :2] -= 1  # the pixel numbered 1 begins at 0
    boxes[:, :2].clamp_(min=0)  # many programs count from 0 all the same
    return Objects(
        size,
        boxes,
        torch.tensor([number[label] for label, _, _ in marks], dtype=torch.int64),
        torch.tensor([difficult for _, _, difficult in marks], dtype=torch.bool),
    )
