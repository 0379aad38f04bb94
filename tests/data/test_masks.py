"""Masks beside pictures: where they come from, what they mean, and what is wrong with them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.data.audit import audit, readable
from resnets.data.dataset import UnreadablePictureError
from resnets.data.loading import Loader
from resnets.data.opening import open_dataset, reopen
from resnets.types import IGNORED, Preprocessing

WriteScenes = Callable[..., Path]
HALVES = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0).astype(np.uint8)  # (4, 6)


@pytest.fixture
def scenes(tmp_path: Path) -> WriteScenes:
    """Write pictures and masks of names, and a file of classes beside them."""

    def write(
        names: tuple[str, ...] = ("train/a", "train/b", "val/c"),
        mask: np.ndarray = HALVES,
        files: dict[str, str] | None = None,
        suffix: str = "",
    ) -> Path:
        for number, name in enumerate(names):
            pixels = np.random.default_rng(number).integers(0, 256, (*mask.shape[:2], 3), dtype=np.uint8)
            for kind, content, ending in (("images", pixels, ".jpg"), ("masks", mask, f"{suffix}.png")):
                path = tmp_path / "data" / kind / f"{name}{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(path)
        for name, text in (files or {}).items():
            (tmp_path / "data" / name).write_text(text)
        return tmp_path / "data"

    return write


@pytest.mark.parametrize("suffix", ["", "_mask", "_L"])
def test_pairs_pictures_and_masks_by_name(scenes: WriteScenes, suffix: str) -> None:
    data = open_dataset(scenes(suffix=suffix))
    assert data.task == "segmentation"
    assert data.classes == ("0", "1")
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 2, "val": 1}
    mask = data.splits["val"].mask(0)
    assert mask.dtype == torch.uint8
    assert np.array_equal(mask.numpy(), HALVES)
    pickle.loads(pickle.dumps(data.splits["val"])).mask(0)  # worker processes get it so


def test_splits_may_stand_above_the_kinds(scenes: WriteScenes, tmp_path: Path) -> None:
    root = scenes()
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / "other" / split).mkdir(parents=True, exist_ok=True)
            (root / kind / split).rename(tmp_path / "other" / split / kind)
    data = open_dataset(tmp_path / "other")
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 2, "val": 1}


def test_the_folders_may_be_written_in_capitals(scenes: WriteScenes) -> None:
    root = scenes()
    for kind in ("images", "masks"):
        (root / kind).rename(root / kind.capitalize())
    data = open_dataset(root)
    assert (data.format, data.classes) == ("masks", ("0", "1"))
    assert {split: list(dataset.names) for split, dataset in data.splits.items()} == {
        "train": ["Images/train/a.jpg", "Images/train/b.jpg"],
        "val": ["Images/val/c.jpg"],
    }


def test_the_folders_of_splits_may_be_named_more_fully(scenes: WriteScenes) -> None:
    data = open_dataset(scenes(("train2017/a", "train2017/b", "val2017/c")))
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 2, "val": 1}


def test_the_values_of_a_jpeg_tell_no_classes(scenes: WriteScenes) -> None:
    root = scenes()
    for path in sorted((root / "masks").rglob("*.png")):
        Image.fromarray(HALVES * 255).save(path.with_suffix(".jpg"))
        path.unlink()
    with pytest.raises(ValueError, match=r"masks/train/a\.jpg: JPEG changes the values of pixels"):
        open_dataset(root)


def test_classes_have_names_and_void_is_ignored(scenes: WriteScenes) -> None:
    data = open_dataset(scenes(files={"classes.txt": "Void\nroad\n"}))
    assert data.classes == ("road",)
    assert np.array_equal(data.splits["val"].mask(0).numpy(), np.where(HALVES == 0, IGNORED, 0))


def test_a_class_can_be_ignored_by_name_and_stays_so(scenes: WriteScenes) -> None:
    mask = np.tile(np.array([0, 1, 2, 7, 255, 0], dtype=np.uint8), (4, 1))
    data = open_dataset(scenes(mask=mask), ignore="1")
    assert data.classes == ("0", "2", "7")
    assert data.splits["val"].mask(0)[0].tolist() == [0, IGNORED, 1, 2, IGNORED, 0]
    known = {"source": data.source, "val_share": None, "split_seed": 0, "ignore": data.ignore}
    assert reopen(known).classes == data.classes
    with pytest.raises(ValueError, match="no class 'sky' to ignore; there is 0, 1, 2, 7"):
        open_dataset(data.source, ignore="sky")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nroad,128,64,128\ntree,0,128,0\nvoid,0,0,0\n"),
        ("label_colors.txt", "128 64 128\troad\n0 128 0\ttree\n0 0 0\tvoid\n"),
    ],
)
def test_colours_are_looked_up(scenes: WriteScenes, name: str, text: str) -> None:
    colours = np.array([[[128, 64, 128], [0, 128, 0], [0, 0, 0], [0, 128, 0]]], dtype=np.uint8)
    data = open_dataset(scenes(mask=colours, files={name: text}))
    assert data.classes == ("road", "tree")
    assert data.splits["val"].mask(0).tolist() == [[0, 1, IGNORED, 1]]


def test_what_does_not_tell_classes_is_refused(scenes: WriteScenes) -> None:
    root = scenes(mask=np.where(HALVES == 1, 255, 0).astype(np.uint8))
    with pytest.raises(ValueError, match=r"0 and 255 only, and 255 is ignored.*class_dict.csv: name,r,g,b"):
        open_dataset(root)
    (root / "classes.txt").write_text("a\na\n")
    with pytest.raises(ValueError, match="each once"):
        open_dataset(root)
    (root / "classes.txt").unlink()
    (root / "class_dict.csv").write_text("name,r,g,b\nroad,1,2\n")
    with pytest.raises(ValueError, match=r"line 2.*three numbers"):
        open_dataset(root)


def test_findings_name_files_that_lack_the_other_wrong_sizes_and_strange_values(scenes: WriteScenes) -> None:
    root = scenes((*(f"train/{letter}" for letter in "abcdefgh"), "val/i"), files={"classes.txt": "sky\nroad\n"})
    (root / "masks/train/a.png").unlink()
    (root / "images/train/b.jpg").unlink()
    Image.fromarray(HALVES[:3]).save(root / "masks/train/c.png")
    Image.fromarray(HALVES * 9).save(root / "masks/train/d.png")
    data = open_dataset(root)
    found = audit(data)
    reasons = {bad.name: bad.reason for bad in found.unreadable}
    assert reasons == {
        "images/train/a.jpg": "there is no mask of its name",
        "masks/train/b.png": "there is no picture of its name",
        "images/train/c.jpg": "its mask is of 6 x 3 pixels, but it has 6 x 4",
        "images/train/d.jpg": "its mask: 9 is the number of no class",
    }
    assert not found.sound
    assert found.counts["train"] == {"sky": 4, "road": 4}
    kept = readable(data, max_share=0.5)
    assert len(kept.splits["train"]) == 4
    assert len(kept.unreadable) == 4
    with pytest.raises(UnreadablePictureError, match="no class"):
        data.splits["train"].mask(data.splits["train"].names.index("images/train/d.jpg"))


@pytest.mark.parametrize("annotated", [True, False])
def test_vocs_masks_are_read_where_asked_for_or_alone(tmp_path: Path, annotated: bool) -> None:
    root = tmp_path / "VOC"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    mask = np.array([[0, 15, 255]], dtype=np.uint8)
    for name in ("a", "b", "c"):
        Image.fromarray(np.zeros((1, 3, 3), dtype=np.uint8)).save(root / f"JPEGImages/{name}.jpg")
        image = Image.fromarray(mask)
        image.putpalette(list(range(256)) * 3)
        image.save(root / f"SegmentationClass/{name}.png")
    for split, names in (("train", "a\nb\n"), ("val", "c\n")):
        (root / f"ImageSets/Segmentation/{split}.txt").write_text(names)
    if annotated:
        (root / "Annotations").mkdir()
        for name in ("a", "b", "c"):
            box = "<xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>1</ymax>"
            (root / f"Annotations/{name}.xml").write_text(
                "<annotation><size><width>3</width><height>1</height></size>"
                f"<object><name>person</name><bndbox>{box}</bndbox></object></annotation>"
            )
        assert open_dataset(root).task == "detection"
    data = open_dataset(root, task="segmentation" if annotated else "auto")
    assert data.classes[15] == "person"
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 2, "val": 1}
    assert data.splits["val"].mask(0).tolist() == [[0, 15, IGNORED]]
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nperson:9,9,9::\n")
    Image.fromarray(np.array([[[0, 0, 0], [9, 9, 9], [9, 9, 9]]], dtype=np.uint8)).save(
        root / "SegmentationClass/c.png"
    )
    named = open_dataset(root, task="segmentation")
    assert named.classes == ("background", "person")
    assert named.splits["val"].mask(0).tolist() == [[0, 1, 1]]


def test_cocos_outlines_are_drawn_small_over_large_and_crowds_ignored(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    Image.fromarray(np.zeros((8, 10, 3), dtype=np.uint8)).save(tmp_path / "images/a.png")

    def mark(number: int, box: list[int], crowd: bool = False) -> dict[str, object]:
        left, top, width, height = box
        right, bottom = left + width, top + height
        outline = [left, top, right, top, right, bottom, left, bottom]
        shape = {"counts": [1], "size": [8, 10]} if crowd else [outline]
        return {
            "id": number + len(box) * left,
            "image_id": 1,
            "category_id": number,
            "bbox": box,
            "segmentation": shape,
            "iscrowd": int(crowd),
        }

    marks = [mark(5, [2, 2, 2, 2]), mark(3, [0, 0, 6, 6]), mark(3, [7, 0, 3, 8], crowd=True)]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 10, "height": 8}],
        "annotations": marks,
        "categories": [{"id": 3, "name": "table"}, {"id": 5, "name": "cup"}],
    }
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(content))
    assert open_dataset(tmp_path).task == "detection"
    data = open_dataset(tmp_path, task="segmentation")
    assert data.classes == ("background", "table", "cup")
    mask = data.splits["train"].mask(0)
    assert mask[3, 3] == 2
    assert mask[1, 1] == 1
    assert mask[7, 0] == 0
    assert (mask[:, 7:] == IGNORED).all()

    edge = mark(5, [0, 1, 5, 4])
    edge["bbox"] = [-0.4, 1, 5.4, 4]  # as some boxes of COCO are
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(content | {"annotations": [edge]}))
    mask = open_dataset(tmp_path, task="segmentation").splits["train"].mask(0)
    assert (mask == 2).sum() == 20

    before = data.fingerprint
    marks[0]["segmentation"][0][0] += 0.5
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(content))
    assert open_dataset(tmp_path, task="segmentation").fingerprint != before  # the boxes are the same
    content["images"][0] |= {"width": 10**6, "height": 10**6}
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(content))
    with pytest.raises(UnreadablePictureError, match="1000000 x 1000000 pixels, more than of any picture"):
        open_dataset(tmp_path, task="segmentation").splits["train"].mask(0)


def test_what_masks_are_read_as_decides_what_a_cache_keeps(scenes: WriteScenes, tmp_path: Path) -> None:
    def first_mask(root: Path, **options: str) -> list[int]:
        data = open_dataset(root, **options)
        shape = Preprocessing((4, 6), 3, (0.5,) * 3, (0.5,) * 3, fit="contain")
        loader = Loader(
            data.splits["val"], shape, 1, shuffle=False, cache=tmp_path / "cache", fingerprint=data.fingerprint
        )
        return next(loader.epoch(0)).targets[0, 0].tolist()

    root = scenes(files={"classes.txt": "sky\nroad\n"})
    assert first_mask(root) == [0, 0, 0, 1, 1, 1]
    assert first_mask(root, ignore="sky") == [*3 * [IGNORED], 0, 0, 0]
    scenes(files={"classes.txt": "void\nroad\n"})
    assert first_mask(root) == [*3 * [IGNORED], 0, 0, 0]
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3


def test_a_corrected_mask_is_not_taken_from_the_cache(scenes: WriteScenes, tmp_path: Path) -> None:
    seen = []
    for mask in (HALVES, 1 - HALVES):
        data = open_dataset(scenes(mask=mask), ignore="0")
        shape = Preprocessing((4, 6), 3, (0.5,) * 3, (0.5,) * 3, fit="contain")
        loader = Loader(
            data.splits["val"], shape, 1, shuffle=False, cache=tmp_path / "cache", fingerprint="of names and sizes"
        )
        seen.append(next(loader.epoch(0)).targets[0, 0].tolist())
    assert seen == [[*3 * [IGNORED], 0, 0, 0], [0, 0, 0, *3 * [IGNORED]]]


def test_an_empty_mask_is_named_and_does_not_stop_the_others(scenes: WriteScenes) -> None:
    root = scenes()
    (root / "masks/train/b.png").write_bytes(b"")
    data = open_dataset(root)
    assert data.classes == ("0", "1")
    assert [bad.name for bad in readable(data, max_share=0.5).unreadable] == ["images/train/b.jpg"]


def test_masks_answer_no_other_task(scenes: WriteScenes) -> None:
    with pytest.raises(ValueError, match="has masks, so it cannot be used for classification"):
        open_dataset(scenes(), task="classification")


def test_camvid_is_read(shared_data: Path) -> None:
    data = open_dataset(shared_data / "camvid", ignore="11")
    assert data.classes == tuple(map(str, range(11)))
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 367, "val": 101}
    mask = data.splits["train"].mask(0)
    assert mask.shape == (360, 480)
    assert set(mask.unique().tolist()) <= {*range(11), IGNORED}
