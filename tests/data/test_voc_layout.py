"""Data sets in Pascal VOC's layout: which lists count, and what is named or refused where pictures are in none."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnets.data.audit import audit
from resnets.data.opening import Data, open_dataset

XML = (
    "<annotation><size><width>10</width><height>12</height></size><object><name>cat</name><bndbox>"
    "<xmin>2</xmin><ymin>2</ymin><xmax>8</xmax><ymax>9</ymax></bndbox></object></annotation>"
)


@pytest.fixture
def voc(paint):
    """Write annotated pictures, and the lists of ImageSets by their paths below it."""

    def write(pictures: str, **lists: str) -> Path:
        root = paint(*(f"JPEGImages/{name}.png" for name in pictures.split()), root="VOC2007")
        for name in pictures.split():
            annotate(root, name)
        for path, names in lists.items():
            add_list(root, f"Main/{path}", names)
        return root

    return write


def annotate(root: Path, name: str) -> None:
    file = root / "Annotations" / f"{name}.xml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(XML)


def add_list(root: Path, path: str, names: str) -> None:
    file = root / "ImageSets" / f"{path}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(names.split()))


def stems(data: Data) -> dict[str, str]:
    return {split: " ".join(Path(name).stem for name in pictures.names) for split, pictures in data.splits.items()}


def test_trainval_is_for_training_where_nothing_else_is(voc):
    root = voc("a b c d e", trainval="a b c", test="d e")
    assert stems(open_dataset(root)) == {"train": "a b c", "test": "d e"}
    add_list(root, "Main/val", "c")
    assert stems(open_dataset(root)) == {"train": "a b", "val": "c", "test": "d e"}
    add_list(root, "Main/train", "a b")
    assert stems(open_dataset(root)) == {"train": "a b", "val": "c", "test": "d e"}
    (root / "ImageSets/Main/train.txt").unlink()
    add_list(root, "Main/test", "b d e")
    with pytest.raises(ValueError, match=r"b is in trainval\.txt and in the split test"):
        open_dataset(root)


def test_trainval_is_read_for_masks_too(voc, paint):
    root = voc("a b c d")
    for name in "abcd":
        paint(f"SegmentationClass/{name}.png", root="VOC2007")
    add_list(root, "Segmentation/trainval", "a b c")
    add_list(root, "Segmentation/test", "d")
    assert stems(open_dataset(root, task="segmentation")) == {"train": "a b c", "test": "d"}


def test_annotated_pictures_that_no_list_names_are_counted(voc):
    root = voc("a b c d e", train="a b", val="c")
    reason = "no list of a split names 2 of the annotated pictures, such as d"
    assert [(bad.name, bad.reason) for bad in audit(open_dataset(root)).unreadable] == [("ImageSets/Main", reason)]
    add_list(root, "Main/default", "a b c d e")  # means nothing
    assert open_dataset(root).unreadable[0].reason == reason
    add_list(root, "Action/jumping_train", "d e")  # not meant to be found
    assert open_dataset(root).unreadable == ()


def test_pictures_without_an_annotation_are_named(voc, paint):
    root = voc("a b c")
    paint("JPEGImages/new.png", "JPEGImages/more/new.png", root="VOC2007")
    found = [(bad.name, bad.reason) for bad in open_dataset(root).unreadable]
    reason = "there is no annotation of its name"
    assert found == [("JPEGImages/more/new.png", reason), ("JPEGImages/new.png", reason)]


def test_pictures_may_lie_in_folders(voc):
    root = voc("a one/a two/b", train="a one/a", val="two/b")
    data = open_dataset(root)
    assert {split: pictures.names for split, pictures in data.splits.items()} == {
        "train": ["a.png", "one/a.png"],
        "val": ["two/b.png"],
    }
    assert audit(data).unreadable == ()


def test_two_pictures_of_one_name_are_refused(voc, paint):
    root = voc("a b")
    paint("JPEGImages/a.jpg", root="VOC2007")
    with pytest.raises(ValueError, match=r"JPEGImages has a\.jpg and a\.png; expected one picture of a name"):
        open_dataset(root)


def test_a_byte_order_mark_is_no_part_of_a_name(voc):
    root = voc("a b c", train="\ufeffa b", val="c")
    assert stems(open_dataset(root)) == {"train": "a b", "val": "c"}
