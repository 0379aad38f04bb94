"""Data sets in COCO's layout as programs export them, and what is refused where it could be meant in two ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resnets.data.audit import audit
from resnets.data.opening import Data, open_dataset

CATEGORIES = ({"id": 1, "name": "cat", "supercategory": "animal"}, {"id": 2, "name": "dog", "supercategory": "animal"})


@pytest.fixture
def write(paint):
    """Write a JSON file of six pictures, each with an object of the last category, and the pictures."""

    def file(path: str, pictures: str, prefix: str = "", categories: Any = CATEGORIES, **mark: Any) -> Path:
        names = [f"{prefix}{number}.png" for number in range(6)]
        root = paint(*(f"{pictures}/{name}" for name in names), seed=len(path), size=(12, 10))
        content = {
            "images": [{"id": i, "file_name": name, "width": 10, "height": 12} for i, name in enumerate(names)],
            "annotations": [
                {"image_id": i, "category_id": categories[-1]["id"], "bbox": [1, 2, 4, 8], **mark} for i in range(6)
            ],
            "categories": list(categories),
        }
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(json.dumps(content))
        return root

    return file


def change(file: Path, **rows: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | rows))


def sizes(data: Data) -> dict[str, int]:
    return {split: len(pictures) for split, pictures in data.splits.items()}


@pytest.mark.parametrize("name", ["{}_annotations", "annotations_{}", "instances_{}2017", "{}-v2", "My {} set"])
def test_the_split_is_one_word_of_a_files_name(name, write):
    for split in ("train", "val"):
        root = write(f"annotations/{name.format(split)}.json", "images", split)
    data = open_dataset(root)
    assert (sizes(data), data.splits_made) == ({"train": 6, "val": 6}, ())


@pytest.mark.parametrize(
    ("names", "pictures", "expected"),
    [
        (["instances_train.json", "instances_val.json"], "images", {"train": 6, "val": 6}),
        (["_annotations.coco.json"], ".", {"train": 5, "test": 1}),
    ],
)
def test_files_may_lie_beside_the_pictures(names, pictures, expected, write):
    for number, name in enumerate(names):
        root = write(name, pictures, str(number))
    assert sizes(open_dataset(root)) == expected


@pytest.mark.parametrize("folder", ["{}", "{}2017", "images/{}"])
def test_a_files_pictures_may_lie_in_the_folder_of_its_split(folder, write):
    for split in ("train", "val"):
        root = write(f"annotations/annotations_{split}.json", folder.format(split))
    data = open_dataset(root)
    assert (sizes(data), data.splits_made) == ({"train": 6, "val": 6}, ())
    assert data.splits["val"].names[0] == f"{folder.format('val')}/0.png"


def test_two_folders_of_a_split_that_have_the_same_pictures_are_refused(write):
    for folder in ("val_images", "val_masks"):
        root = write("annotations/annotations_val.json", folder)
    with pytest.raises(ValueError, match=r"names the picture 0.png, which is in each of .*val_images, .*val_masks"):
        open_dataset(root)


@pytest.mark.parametrize("names", [("one", "two"), ("train", "test_of_train")])
def test_several_files_have_to_tell_their_splits(names, write):
    for name in names:
        root = write(f"annotations/{name}.json", "images", name)
    with pytest.raises(ValueError, match=r"has 2 files, and the name of annotations/.* tells no split"):
        open_dataset(root)
    assert sum(sizes(open_dataset(root / f"annotations/{names[0]}.json")).values()) == 6


def test_a_category_that_only_groups_others_is_no_class(write):
    group = {"id": 0, "name": "animal", "supercategory": "none"}
    for split in ("train", "valid"):
        root = write(f"{split}/_annotations.coco.json", split, categories=(group, *CATEGORIES))
    assert open_dataset(root).classes == ("cat", "dog")
    assert not [lack for lack in audit(open_dataset(root)).shortages if lack.label == "animal"]
    file = root / "train/_annotations.coco.json"
    change(file, annotations=[{"image_id": 0, "category_id": 0, "bbox": [1, 2, 4, 8]}])
    assert open_dataset(root).classes == ("animal", "cat", "dog")


def test_a_category_may_be_its_own_supercategory(write):
    itself = ({"id": 1, "name": "person", "supercategory": "person"}, CATEGORIES[1])
    assert open_dataset(write("annotations/instances_train.json", "images", categories=itself)).classes == (
        "person",
        "dog",
    )


def test_numbers_and_names_that_stand_twice_are_refused(write):
    root = write("a.json", ".")
    images = json.loads((root / "a.json").read_text())["images"]
    change(root / "a.json", images=[*images, images[0] | {"file_name": "1.png"}])
    with pytest.raises(ValueError, match=r"a\.json: 0 is the id of more than one image; expected each id once"):
        open_dataset(root / "a.json")
    cat, dog = CATEGORIES
    for second, message in (
        (dog | {"name": "cat"}, "cat is the name of more than one category"),
        (dog | {"id": 1}, "two of its categories have one id"),
    ):
        change(root / "a.json", images=images, categories=[cat, second], annotations=[])
        with pytest.raises(ValueError, match=message):
            open_dataset(root / "a.json")


def test_a_byte_order_mark_is_skipped(write):
    file = write("a.json", ".") / "a.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert open_dataset(file).classes == ("cat", "dog")


def test_run_length_codes_are_read_as_masks(write):
    runs = {"counts": [22, 4, 94], "size": [12, 10]}  # the last two pixels of the second column, two of the third
    file = write("a.json", ".", segmentation=runs, bbox=[1, 0, 2, 12]) / "a.json"
    mask = open_dataset(file, task="segmentation").whole().mask(0)
    assert mask.nonzero().tolist() == [[0, 2], [1, 2], [10, 1], [11, 1]]
    write("a.json", ".", segmentation=runs | {"counts": [22, 4]})
    with pytest.raises(
        ValueError, match=r"0\.png has an outline that is no .*no run-length code of the picture's size"
    ):
        open_dataset(file)
