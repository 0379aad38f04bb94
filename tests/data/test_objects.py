"""Pictures with boxes in three layouts, what is wrong with some, and how they are loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from resnets.cli.main import main
from resnets.data.audit import audit, readable
from resnets.data.loading import Loader
from resnets.data.opening import open_dataset
from resnets.data.statistics import preprocessing_for
from resnets.data.transforms import Augmentation, prepare
from resnets.types import Preprocessing

BOXES = {
    "a": [("cat", (2, 3, 12, 18)), ("dog", (20, 5, 39, 29))],
    "b": [("dog", (0, 0, 40, 30))],
    "c": [("cat", (5, 5, 9, 11)), ("cat", (10, 10, 30, 20)), ("dog", (1, 1, 4, 4))],
    "d": [],
}
SPLITS = {"a": "train", "b": "train", "c": "val", "d": "train"}
OUTLINE = [1.0, 1.0, 4.0, 1.0, 4.0, 4.0]
"""Of the last object of "c"."""


def draw(path: Path, size: tuple[int, int] = (30, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.stem)).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def voc_xml(boxes, size=(30, 40), extra: str = "") -> str:
    objects = "".join(
        f"<object><name>{label}</name>{extra}<bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, (x1, y1, x2, y2) in boxes
    )
    return f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{objects}</annotation>"


def write_voc(root: Path) -> Path:
    for name, boxes in BOXES.items():
        draw(root / "JPEGImages" / f"{name}.png")
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{name}.xml").write_text(voc_xml(boxes))
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split in ("train", "val"):
        names = [name for name, of in SPLITS.items() if of == split]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")
    (root / "ImageSets" / "Main" / "cat_train.txt").write_text("a 1\nb -1\n")
    return root


def write_coco(root: Path) -> Path:
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 17, "name": "cat"}, {"id": 90, "name": "dog"}],
        }
        for number, (name, boxes) in enumerate(BOXES.items()):
            if SPLITS[name] != split:
                continue
            draw(root / f"{split}2017" / f"{name}.png")
            content["images"].append({"id": number, "file_name": f"{name}.png", "height": 30, "width": 40})
            for label, (x1, y1, x2, y2) in boxes:
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]) + 1,
                        "image_id": number,
                        "category_id": {"cat": 17, "dog": 90}[label],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": int((x1, y1) == (20, 5)),
                        "segmentation": [OUTLINE] if (x1, y1) == (1, 1) else {"size": [30, 40], "counts": [1200]},
                    }
                )
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return root


def write_yolo(root: Path, description: bool = True) -> Path:
    for name, boxes in BOXES.items():
        split = SPLITS[name]
        draw(root / "images" / split / f"{name}.png")
        lines = []
        for label, (x1, y1, x2, y2) in boxes:
            number = ["cat", "dog"].index(label)
            if (x1, y1) == (1, 1):
                lines.append(f"{number} " + " ".join(str(v / (30 if i % 2 else 40)) for i, v in enumerate(OUTLINE)))
            else:
                lines.append(f"{number} {(x1 + x2) / 80} {(y1 + y2) / 60} {(x2 - x1) / 40} {(y2 - y1) / 30}")
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        if lines:
            (root / "labels" / split / f"{name}.txt").write_text("\n".join(lines))
    if description:
        text = "path: /somewhere/else\ntrain: ../images/train\nval: images/val\nnames: {0: cat, 1: dog}\n"
        (root / "data.yaml").write_text(text)
    return root


WRITERS = {"voc": write_voc, "coco": write_coco, "yolo": write_yolo}


@pytest.mark.parametrize("layout", WRITERS)
def test_each_layout_is_found_by_itself_and_says_the_same(layout, tmp_path):
    data = open_dataset(WRITERS[layout](tmp_path / "set"))
    assert (data.format, data.task, data.classes) == (layout, "detection", ("cat", "dog"))
    assert {split: len(pictures) for split, pictures in data.splits.items()} == {"train": 3, "val": 1}
    for split, pictures in data.splits.items():
        for index, name in enumerate(pictures.names):
            expected = BOXES[Path(name).stem]
            objects = pictures.objects[index]
            assert SPLITS[Path(name).stem] == split
            assert objects.size == (30, 40)
            assert [data.classes[label] for label in objects.labels] == [label for label, _ in expected]
            boxes = torch.tensor([box for _, box in expected], dtype=torch.float32).view(-1, 4)
            torch.testing.assert_close(objects.boxes, boxes, atol=1e-4, rtol=0)
            assert pictures.picture(index, 3).shape == (3, 30, 40)
    assert data.splits["train"].targets.sum(0).tolist() == [1, 2]
    if layout != "voc":
        last = data.splits["val"].objects[0].outlines[-1]
        torch.testing.assert_close(last[0], torch.tensor(OUTLINE).view(-1, 2), atol=1e-4, rtol=0)
    assert data.fingerprint == open_dataset(tmp_path / "set").fingerprint


def test_crowds_and_difficult_objects_are_ignored(tmp_path):
    coco = open_dataset(write_coco(tmp_path / "coco"))
    ignored = [each.ignored.tolist() for each in coco.splits["train"].objects]
    assert ignored == [[False, True], [False], []]
    root = write_voc(tmp_path / "voc")
    (root / "Annotations" / "a.xml").write_text(voc_xml(BOXES["a"], extra="<difficult>1</difficult>"))
    assert open_dataset(root).splits["train"].objects[0].ignored.all()


def test_a_single_coco_file_and_one_of_pycocotools_reading(tmp_path, capsys):
    root = write_coco(tmp_path)
    file = root / "annotations" / "instances_train2017.json"
    data = open_dataset(file)
    assert data.splits_made == ("test",)
    truth = COCO(file)
    capsys.readouterr()
    for pictures in data.splits.values():
        for name, objects in zip(pictures.names, pictures.objects, strict=True):
            [number] = [i for i, image in truth.imgs.items() if name.endswith(image["file_name"])]
            boxes = [mark["bbox"] for mark in truth.imgToAnns[number]]
            found = torch.cat((objects.boxes[:, :2], objects.boxes[:, 2:] - objects.boxes[:, :2]), 1)
            assert found.tolist() == boxes


def test_yolo_without_a_description_numbers_its_classes(tmp_path):
    data = open_dataset(write_yolo(tmp_path / "set", description=False))
    assert data.classes == ("0", "1")
    assert {split: len(pictures) for split, pictures in data.splits.items()} == {"train": 3, "val": 1}
    (tmp_path / "set" / "classes.txt").write_text("cat\ndog\n")
    assert open_dataset(tmp_path / "set").classes == ("cat", "dog")
    description = write_yolo(tmp_path / "other") / "data.yaml"
    assert open_dataset(description).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("{1: dog, 0: cat}", ("cat", "dog")),
        ("{" + ", ".join(f"'{number}': c{number}" for number in range(12)) + "}", tuple(f"c{n}" for n in range(12))),
        ("{1: cat, 2: dog}", None),
        ("{a: cat, b: dog}", None),
    ],
)
def test_the_names_of_yolos_classes_are_by_number(names, classes, tmp_path):
    description = write_yolo(tmp_path) / "data.yaml"
    lines = [line for line in description.read_text().splitlines() if not line.startswith("names")]
    description.write_text("\n".join([*lines, f"names: {names}"]))
    if classes is None:
        with pytest.raises(ValueError, match=r"keys of names are .*expected the class numbers 0 to 1, each once"):
            open_dataset(description)
    else:
        assert open_dataset(description).classes == classes


def test_a_name_in_a_split_file_may_have_spaces(tmp_path):
    root = write_voc(tmp_path)
    for folder, suffix in (("JPEGImages", "png"), ("Annotations", "xml")):
        (root / folder / f"a.{suffix}").rename(root / folder / f"my picture [1].{suffix}")
    split = root / "ImageSets" / "Main" / "train.txt"
    split.write_text(split.read_text().replace("a\n", "my picture [1]\n").replace("b\n", "b  1\n"))
    assert any("my picture [1]" in name for name in open_dataset(root).splits["train"].names)


def test_what_cannot_be_understood_is_named(tmp_path):
    voc, coco, yolo = (writer(tmp_path / name) for name, writer in WRITERS.items())
    (voc / "Annotations" / "a.xml").write_text("<annotation><size>")
    with pytest.raises(ValueError, match=r"a\.xml is no annotation of Pascal VOC"):
        open_dataset(voc)
    (voc / "Annotations" / "a.xml").unlink()
    with pytest.raises(ValueError, match=r"there is no annotation .*a\.xml"):
        open_dataset(voc)
    label = yolo / "labels" / "train" / "a.txt"
    label.write_text("2 0.5 0.5 0.1 0.1")
    with pytest.raises(
        ValueError, match=r"a\.txt: object 1 is of class 2, but there are 2 classes, numbered from 0: cat"
    ):
        open_dataset(yolo)
    label.write_text("0 0.5 0.5 0.1")
    with pytest.raises(ValueError, match=r"a\.txt: line 1 is '0 0.5 0.5 0.1'; expected `class x y width height`"):
        open_dataset(yolo)
    file = coco / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    for change, message in (
        (lambda c: c["annotations"][0].update(category_id=5), "is of the unknown category 5"),
        (lambda c: c["annotations"][0].update(image_id=77), "name the image 77"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2]), r"has the box \[1, 2\]"),
        (lambda c: c["annotations"][0].update(segmentation=[1, 2, 21, 2, 21, 32]), "an outline that is no list of"),
        (
            lambda c: c["annotations"][0].update(segmentation=[[1, 2, 21, 2, 21, 32, 5]]),
            "an outline that is no list of",
        ),
        (lambda c: c["images"][0].update(file_name="../../../etc/passwd"), "outside of|is in none of"),
        (lambda c: c["images"][0].pop("width"), r"images\[0\] needs"),
        (lambda c: c.pop("categories"), "no list of categories"),
    ):
        broken = json.loads(json.dumps(content))
        change(broken)
        file.write_text(json.dumps(broken))
        with pytest.raises(ValueError, match=message):
            open_dataset(coco)
    for mark in content["annotations"]:
        content["annotations"] = []
        del mark
    file.write_text(json.dumps(content))
    (coco / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(ValueError, match="marks no object in 3 pictures"):
        open_dataset(coco)


@pytest.fixture
def misplaced(tmp_path):
    root = write_voc(tmp_path / "set")
    boxes = [("cat", (10, 10, 10, 20)), ("cat", (50, 5, 60, 9)), ("dog", (-8, 5, 12, 25)), ("dog", (30, 20, 46, 30))]
    (root / "Annotations" / "a.xml").write_text(voc_xml(boxes))
    (root / "Annotations" / "b.xml").write_text(voc_xml(BOXES["b"], size=(31, 40)))
    return root


def test_boxes_without_an_area_or_outside_are_found(misplaced, capsys):
    found = audit(open_dataset(misplaced))
    assert [bad.name for bad in found.misplaced] == ["a.png, object 1", "a.png, object 2", "a.png, object 4"]
    assert found.misplaced[0].reason == "no area inside 40 x 30 pixels: 10, 10, 10, 20"
    assert found.misplaced[2].reason == "6 pixels beyond 40 x 30: 30, 20, 46, 30"
    assert [bad.reason for bad in found.unreadable] == ["its annotation is of 40 x 31 pixels, but it has 40 x 30"]
    assert not found.sound
    assert main(["check", str(misplaced)]) == 1
    assert "objects outside of their picture" in capsys.readouterr().out


def test_training_leaves_out_what_has_no_area_and_cuts_the_rest(misplaced):
    with pytest.raises(ValueError, match="its annotation is of 40 x 31"):
        readable(open_dataset(misplaced))
    data = readable(open_dataset(misplaced), max_share=0.5)
    assert {bad.name for bad in data.unreadable} == {"b.png", "a.png, object 1", "a.png, object 2"}
    train = data.splits["train"]
    assert train.names == ["a.png", "d.png"]
    assert train.objects[0].boxes.tolist() == [[0, 5, 12, 25], [30, 20, 40, 30]]
    assert train.targets.tolist() == [[0, 2], [0, 0]]


def test_memory_and_workers_give_the_same_pictures_and_boxes(tmp_path):
    data = open_dataset(write_coco(tmp_path)).splits["train"]
    seen = Preprocessing((32, 64), 3, (0.5,) * 3, (0.2,) * 3, fit="contain")
    chosen = Augmentation(zoom=(0.5, 2.0), mosaic=0.5, flip=True)
    options = {"shuffle": True, "augmentation": chosen, "seed": 4}
    memory, workers = Loader(data, seen, 3, **options), Loader(data, seen, 3, memory_limit=0, workers=1, **options)
    for one, other in zip(memory.epoch(5), workers.epoch(5), strict=True):
        assert torch.equal(one.images, other.images)
        for first, second in zip(one.objects, other.objects, strict=True):
            assert torch.equal(first.boxes, second.boxes)
    fixed = next(iter(Loader(data, seen, 3, shuffle=False).epoch(0)))
    torch.testing.assert_close(fixed.objects[1].boxes, torch.tensor([[0.0, 0.0, 43.0, 32.0]]))
    prepared = prepare(fixed, seen, Augmentation(flip=True), epoch=1)
    assert torch.equal(prepared.images, prepare(fixed, seen).images)  # the loader has mirrored what is to be


def test_pictures_with_objects_are_contained_in_multiples_of_32(tmp_path):
    data = open_dataset(write_yolo(tmp_path / "set"))
    assert preprocessing_for(data).size == (32, 64)
    assert preprocessing_for(data, 90).size == (96, 128)
    assert preprocessing_for(data, (100, 100)).size == (128, 128)
    draw(tmp_path / "set" / "images" / "train" / "tall.png", (60, 20))
    chosen = preprocessing_for(open_dataset(tmp_path / "set"))
    assert (chosen.size, chosen.fit, chosen.crop) == ((640, 640), "contain", 1.0)


def test_blood_cells(shared_data):
    data = open_dataset(shared_data / "bccd")
    assert data.classes == ("Platelets", "RBC", "WBC")
    assert {split: len(pictures) for split, pictures in data.splits.items()} == {"train": 205, "val": 87}
    assert preprocessing_for(data, 240).size == (256, 320)
