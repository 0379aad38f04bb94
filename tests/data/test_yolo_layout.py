"""Data sets in YOLO's layout as programs write them, and what is refused or named where they are not whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from resnets.data.dataset import UnreadablePictureError
from resnets.data.opening import Data, open_dataset

NAMED = "train: train/images\nval: valid/images\nnames: [cat, dog]\n"
BOX = "1 0.5 0.5 0.2 0.4"


@pytest.fixture
def export(paint):
    """Write train/ and valid/ of three pictures each, of one object, with a data.yaml, as Roboflow does."""

    def write(description: str = NAMED, line: str = BOX, root: str = "set") -> Path:
        folder = paint(*(f"{s}/images/{i}.png" for s in ("train", "valid") for i in "abc"), root=root, size=(20, 40))
        for picture in folder.glob("*/images/*.png"):
            text = picture.parents[1] / "labels" / f"{picture.stem}.txt"
            text.parent.mkdir(exist_ok=True)
            text.write_text(line)
        (folder / "data.yaml").write_text(description)
        return folder

    return write


def sizes(data: Data) -> dict[str, int]:
    return {split: len(pictures) for split, pictures in data.splits.items()}


def left_out(data: Data) -> list[tuple[str, str]]:
    return [(each.name, each.reason) for each in data.unreadable]


@pytest.mark.parametrize(("shape", "points"), [("[4, 3]", " 0.1 0.2 2" * 4), ("[17, 2]", " 0.1 0.2" * 17)])
def test_key_points_are_no_outline(shape, points, export):
    root = export(f"{NAMED}kpt_shape: {shape}\n", BOX + points)
    objects = open_dataset(root).splits["val"].objects[0]
    torch.testing.assert_close(objects.boxes, torch.tensor([[16.0, 6.0, 24.0, 14.0]]))
    assert objects.outlines == ()
    (root / "train/labels/a.txt").write_text(f"{BOX}{points} 0.5")
    with pytest.raises(ValueError, match=r"line 1 .*and perhaps \d+ numbers of key points"):
        open_dataset(root)
    (root / "data.yaml").write_text(f"{NAMED}kpt_shape: many\n")
    with pytest.raises(ValueError, match=r"kpt_shape is many; expected two numbers, as \[17, 3\]"):
        open_dataset(root)


def test_folders_of_pictures_may_have_more_in_their_names_than_the_split(export):
    root = export()
    (root / "data.yaml").unlink()
    for split, name in (("train", "train2017"), ("valid", "val_2017")):
        for folder in ("images", "labels"):
            (root / folder).mkdir(exist_ok=True)
            (root / split / folder).rename(root / folder / name)
        (root / split).rmdir()
    data = open_dataset(root)
    assert (sizes(data), data.splits_made) == ({"train": 3, "val": 3}, ())


def test_text_files_without_a_picture_are_named(export):
    root = export()
    labels = root / "train/labels"
    (labels / "a.txt").rename(labels / "a.TXT")
    for name in ("z.txt", "classes.txt", "._b.txt"):
        (labels / name).write_text(BOX)
    assert left_out(open_dataset(root)) == [
        ("train/labels/a.TXT", "there is no picture of its name"),
        ("train/labels/z.txt", "there is no picture of its name"),
    ]


@pytest.mark.parametrize("described", [True, False])
def test_a_split_without_any_text_file_is_refused(described, export):
    root = export()
    shutil.rmtree(root / "valid/labels")
    if not described:
        (root / "data.yaml").unlink()
    with pytest.raises(ValueError, match=r"none of the 3 pictures of val has a text file, such as valid/labels/a\.txt"):
        open_dataset(root)


def test_of_several_descriptions_data_yaml_is_meant(export):
    root = export()
    (root / "other.yaml").write_text("names: [x, y]\n")
    assert open_dataset(root).classes == ("cat", "dog")
    (root / "data.yaml").rename(root / "mine.yml")
    with pytest.raises(ValueError, match=r"mine\.yml and other\.yaml name classes; give the path of the one"):
        open_dataset(root)
    assert open_dataset(root / "mine.yml").classes == ("cat", "dog")


def test_byte_order_marks_are_no_part_of_a_name_or_number(export):
    mark = "\ufeff"
    root = export(f"{mark}train: train.txt\nval: valid/images\n", f"{mark}{BOX}")
    (root / "train.txt").write_text(f"{mark}train/images/a.png\n")
    (root / "classes.txt").write_text(f"{mark}cat\r\ndog\r\n")
    data = open_dataset(root / "data.yaml")
    assert (data.classes, sizes(data)) == (("cat", "dog"), {"train": 1, "val": 3})


def test_a_test_split_that_was_not_exported_is_named(export):
    root = export("train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [cat, dog]\n")
    data = open_dataset(root)
    assert sizes(data) == {"train": 3, "val": 3}
    assert left_out(data) == [("../test/images", "it is described as the test split, but is not there")]
    shutil.rmtree(root / "valid")
    with pytest.raises(ValueError, match=r"its description names \.\./valid/images, which is not in this folder"):
        open_dataset(root)


@pytest.mark.parametrize("line", ["./train/images/{}.png", "data/set/train/images/{}.png", "/far/train/images/{}.png"])
def test_the_pictures_of_a_list_are_found_from_wherever_it_was_written(line, export):
    root = export("train: train.txt\nval: valid/images\nnames: [cat, dog]\n")
    (root / "train.txt").write_text("".join(line.format(name) + "\n" for name in "ac"))
    assert open_dataset(root).splits["train"].names == ["train/images/a.png", "train/images/c.png"]


def test_a_listed_picture_that_is_missing_is_unreadable(export):
    root = export("train: train.txt\nval: valid/images\nnames: [cat, dog]\n")
    (root / "train.txt").write_text("train/images/a.png\ntrain/images/gone.png\n")
    train = open_dataset(root).splits["train"]
    assert train.names == ["train/images/a.png", "train/images/gone.png"]
    with pytest.raises(UnreadablePictureError, match=r"train/images/gone\.png cannot be read"):
        train.open(1)


def test_folders_above_the_data_have_no_meaning(export):
    root = export("train: train\nval: valid\nnames: [cat, dog]\n", root="images/set")
    for file in root.glob("*/*/*.*"):
        file.rename(file.parents[1] / file.name)  # the text files beside the pictures
    assert [len(each) for each in open_dataset(root).splits["train"].objects] == [1, 1, 1]


def test_keys_and_names_that_yaml_takes_for_something_else(export):
    root = export("1: 3\ntrain: train/images\nval: valid/images\ntest:\nnames: [no, yes]\n", "1.0 0.5 0.5 0.2 0.4")
    data = open_dataset(root)
    assert data.classes == ("no", "yes")
    assert data.splits["train"].objects[0].labels.tolist() == [1]
    (root / "train/labels/a.txt").write_text("0.5 0.5 0.5 0.2 0.4")
    with pytest.raises(ValueError, match=r"line 1 is '0\.5 0\.5"):
        open_dataset(root)
