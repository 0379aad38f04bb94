"""Pascal VOC: a folder with JPEGImages, and Annotations (an XML file a picture), SegmentationClass (a mask), or both.

ImageSets/Main and ImageSets/Segmentation may say which pictures are for what. Masks hold the numbers of VOC's 21
classes; where there is a labelmap.txt, as annotation tools write it, they hold its colours.

Boxes there are counted in pixels from 1, both ends included (host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from glob import escape
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
    "ImageSets/{Main,Segmentation}/{train,val,test}.txt"
)
REFINES = "folder"

_PICTURES, _ANNOTATIONS, _SPLITS = "JPEGImages", "Annotations", Path("ImageSets", "Main")
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
    and where masks are asked for, it is the listing of the masks.

    Raises:
        ValueError: a picture, an annotation or a mask is missing, or an annotation cannot be understood.
    """
    root = Path(source).resolve()
    if not (root / _ANNOTATIONS).is_dir():
        return _masks(root, source)
    files = {path.stem: path for path in sorted((root / _PICTURES).iterdir()) if is_picture(path.name)}
    members = _members(root, _SPLITS)
    names = list(members) or sorted(path.stem for path in (root / _ANNOTATIONS).glob("*.xml"))
    if missing := [name for name in names if name not in files]:
        raise ValueError(
            f"{source} has no picture {_PICTURES}/{missing[0]}.*, which its split files or annotations name"
        )
    parsed = [_parse(root / _ANNOTATIONS / f"{name}.xml") for name in names]
    classes = tuple(sorted({label for _, marks in parsed for label, _, _ in marks}))
    paths = [files[name] for name in names]
    listing = listing_of_objects(
        root.name,
        [path.name for path in paths],
        [members.get(name) for name in names],
        [path.stat().st_size for path in paths],
        Files(str(root / _PICTURES), tuple(path.name for path in paths)),
        classes,
        [_objects(size, marks, classes) for size, marks in parsed],
        source,
    )
    return replace(listing, as_masks=partial(_masks, root, source)) if (root / _MASKS).is_dir() else listing


def _masks(root: Path, source: str) -> Listing:
    """List the pictures that the split files of the masks name, or all that have a mask."""
    pictures = {path.stem: path.name for path in sorted((root / _PICTURES).iterdir()) if is_picture(path.name)}
    masks = {path.stem: path.name for path in sorted((root / _MASKS).iterdir()) if is_picture(path.name)}
    members = _members(root, _MASK_SPLITS)
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


def _members(root: Path, folder: Path) -> dict[str, str]:
    """The split of each picture that a split file in a folder names."""
    members: dict[str, str] = {}
    for path in sorted((root / folder).glob("*.txt")):
        if (split := SPLITS.get(path.stem.lower())) is not None:
            lines = map(str.strip, path.read_text(encoding="utf-8").splitlines())
            for name in (_name(line, root) for line in lines if line):
                if members.setdefault(name, split) != split:
                    raise ValueError(f"{root}: {name} is in the splits {members[name]} and {split}")
    return members


def _name(line: str, root: Path) -> str:
    """The picture that a line of a split file names: all of it, or what stands before whether it has a class."""
    return line if " " in line and any((root / "JPEGImages").glob(f"{escape(line)}.*")) else line.split()[0]


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
