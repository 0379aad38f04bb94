"""Pascal VOC: a folder with JPEGImages, Annotations (an XML file a picture) and perhaps ImageSets/Main.

Boxes there are counted in pixels from 1, both ends included (host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import torch

from resnets.data.listing import SPLITS, Listing, is_picture, listing_of_objects
from resnets.data.sources.folder import Files
from resnets.types import Objects

ACCEPTS = "a folder in Pascal VOC's layout: JPEGImages, Annotations/*.xml, perhaps ImageSets/Main/{train,val,test}.txt"
REFINES = "folder"

_PICTURES, _ANNOTATIONS, _SPLITS = "JPEGImages", "Annotations", Path("ImageSets", "Main")


def recognises(source: str) -> bool:
    """Whether it is a folder with pictures and annotations under VOC's names."""
    return Path(source, _PICTURES).is_dir() and Path(source, _ANNOTATIONS).is_dir()


def open(source: str) -> Listing:
    """List the pictures that the split files name, or all that have an annotation where there are no such files.

    The classes are the names in the annotations, sorted. Objects marked as difficult are ignored.

    Raises:
        ValueError: a picture or an annotation is missing, or an annotation cannot be understood.
    """
    root = Path(source).resolve()
    files = {path.stem: path for path in sorted((root / _PICTURES).iterdir()) if is_picture(path.name)}
    members = _members(root)
    names = list(members) or sorted(path.stem for path in (root / _ANNOTATIONS).glob("*.xml"))
    if missing := [name for name in names if name not in files]:
        raise ValueError(
            f"{source} has no picture {_PICTURES}/{missing[0]}.*, which its split files or annotations name"
        )
    parsed = [_parse(root / _ANNOTATIONS / f"{name}.xml") for name in names]
    classes = tuple(sorted({label for _, marks in parsed for label, _, _ in marks}))
    paths = [files[name] for name in names]
    return listing_of_objects(
        root.name,
        [path.name for path in paths],
        [members.get(name) for name in names],
        [path.stat().st_size for path in paths],
        Files(str(root / _PICTURES), tuple(path.name for path in paths)),
        classes,
        [_objects(size, marks, classes) for size, marks in parsed],
        source,
    )


Mark = tuple[str, tuple[float, ...], bool]
"""An object's class, its box as the file has it, and whether it is difficult."""


def _members(root: Path) -> dict[str, str]:
    """The split of each picture that a split file names."""
    members: dict[str, str] = {}
    for path in sorted((root / _SPLITS).glob("*.txt")):
        if (split := SPLITS.get(path.stem.lower())) is not None:
            lines = path.read_text(encoding="utf-8").splitlines()
            for name in (line.split()[0] for line in lines if line.strip()):
                if members.setdefault(name, split) != split:
                    raise ValueError(f"{root}: {name} is in the splits {members[name]} and {split}")
    return members


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
