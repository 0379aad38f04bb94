"""Detection against COCO's own evaluation, each detector on one picture, and from a folder of boxes to the answers."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import box_iou

from resnets.cli.main import main
from resnets.data.opening import open_dataset
from resnets.inference.drawing import run_lengths
from resnets.inference.evaluation import evaluate
from resnets.inference.export import write_export
from resnets.inference.predictor import load
from resnets.networks.catalogue import architecture, build
from resnets.runs.run import Run
from resnets.tasks import create_task
from resnets.tasks.detection import Detection, fit_threshold, localised, matched, pasted
from resnets.training.plan import plan
from resnets.training.train import resume, train
from resnets.types import Batch, Objects, exact
from resnets.weights.files import read_tensors
from resnets.weights.sources import Weights

QUIET = Console(quiet=True)
STEPS = 75
SMALL = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}


def objects_of(boxes, labels, ignored=None, size=(100, 120)) -> Objects:
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return Objects(
        size,
        boxes,
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(ignored or [False] * len(boxes), dtype=torch.bool),
    )


@pytest.fixture(scope="module")
def answers() -> tuple[torch.Tensor, list[Objects]]:
    """Detections that are right, displaced, doubled, of another class or made up, and what is there."""
    generator = np.random.default_rng(0)
    detections, targets = torch.zeros(30, 20, 6), []
    for rows in detections:
        count = int(generator.integers(0, 8))
        corners = generator.uniform(0, 300, (count, 2))
        boxes = np.concatenate((corners, corners + generator.uniform(8, 130, (count, 2))), 1)
        labels = generator.integers(0, 3, count)
        ignored = (generator.random(count) < 0.15).tolist()
        targets.append(objects_of(boxes.tolist(), labels.tolist(), ignored, (480, 480)))
        found = []
        for box, label in zip(boxes, labels, strict=True):
            for _ in range(int(generator.integers(0, 3))):
                kind = int(generator.integers(0, 3)) if generator.random() < 0.2 else label
                moved = (box + generator.normal(0, 6, 4)).reshape(2, 2)
                found.append((*moved.min(0), *moved.max(0), generator.random(), kind))
        found += [(10, 10, 60, 90, generator.random(), 1)]
        found = sorted(found, key=lambda row: -row[4])[:20]
        rows[: len(found)] = torch.tensor(np.array(found))
    return detections, targets


def coco_of(detections, targets, halved: bool = False) -> tuple[COCO, list[dict]]:
    content = {"images": [], "annotations": [], "categories": [{"id": label, "name": str(label)} for label in range(3)]}
    results = []
    for number, (rows, objects) in enumerate(zip(detections, targets, strict=True)):
        content["images"].append({"id": number, "height": 480, "width": 480})
        for box, label, ignored in zip(
            objects.boxes.tolist(), objects.labels.tolist(), objects.ignored.tolist(), strict=True
        ):
            sides = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": label,
                    "bbox": sides,
                    "area": sides[2] * sides[3] / (2 if halved else 1),
                    "iscrowd": int(ignored),
                }
            )
        for left, top, right, bottom, score, label in rows[rows[:, 4] > 0].tolist():
            box = [left, top, right - left, bottom - top]
            results.append({"image_id": number, "category_id": int(label), "bbox": box, "score": score})
    truth = COCO()
    truth.dataset = content
    truth.createIndex()
    return truth, results


def upper_half(objects: Objects) -> Objects:
    """The same boxes, of each of which the triangle above the diagonal is covered."""
    corners = [(torch.tensor([[x1, y1], [x2, y1], [x1, y2]]),) for x1, y1, x2, y2 in objects.boxes.tolist()]
    return replace(objects, outlines=tuple(corners))


@pytest.mark.parametrize("outlined", [False, True])
def test_metrics_are_those_of_pycocotools(answers, outlined, capsys):
    detections, targets = answers
    truth, results = coco_of(detections, targets, halved=outlined)
    if outlined:
        targets = [upper_half(objects) for objects in targets]
    judge = COCOeval(truth, truth.loadRes(results), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    capsys.readouterr()
    task = Detection(("a", "b", "c", "never"))
    evaluation = task.evaluation("val", detections, targets, [str(i) for i in range(30)])
    names = ("map", "map50", "map75", "map_small", "map_medium", "map_large")
    for name, expected in zip(names, judge.stats[:6], strict=True):
        assert evaluation.metrics.get(name, -1) == pytest.approx(expected, abs=1e-6), name
    assert evaluation.metrics["recall"] == pytest.approx(judge.stats[8], abs=1e-6)
    assert evaluation.metrics["count"] == 30
    for label, name in enumerate(("a", "b", "c")):
        precision = judge.eval["precision"][:, :, label, 0, 2]
        assert evaluation.each[name].ap == pytest.approx(precision.mean(), abs=1e-6)
        assert evaluation.each[name].precisions == pytest.approx(precision[0].tolist(), abs=1e-6)
    assert evaluation.each["never"].ap is None
    assert sum(scores.objects for scores in evaluation.each.values()) == sum(int((~o.ignored).sum()) for o in targets)
    assert [row[0] for row in evaluation.details()[1]][-1] == "never"
    json.dumps(evaluation.to_dict())


def test_the_threshold_has_the_best_f1_of_all(answers):
    detections, targets = answers
    chosen = fit_threshold(detections, targets)

    def f1(threshold: float) -> float:
        results = [
            m for rows, o in zip(detections, targets, strict=True) for m in matched(rows[rows[:, 4] >= threshold], o)
        ]
        total = sum(int((~o.ignored).sum()) for o in targets)
        return 2 * sum(hit for _, hit in results) / (len(results) + total)

    best = max(f1(score) for score in detections[..., 4].flatten().tolist() if score > 0)
    assert f1(chosen) == pytest.approx(best, abs=0.01)
    alone = torch.tensor([[[0.0, 0, 10, 10, 0.66666, 0]]])
    assert fit_threshold(alone, [objects_of([[0, 0, 10, 10]], [0])]) <= 0.66666
    assert fit_threshold(torch.zeros(30, 5, 6), targets) == 0.5


def test_an_object_is_found_once_and_an_ignored_one_does_not_count():
    objects = objects_of([[0, 0, 10, 10], [50, 50, 70, 70]], [0, 1], [False, True])
    rows = torch.tensor(
        [[0.0, 0, 10, 9, 0.9, 0], [0, 0, 10, 10, 0.8, 0], [50, 50, 70, 70, 0.7, 1], [0, 0, 10, 10, 0.6, 1]]
    )
    assert matched(rows, objects) == [
        (pytest.approx(0.9), True),
        (pytest.approx(0.8), False),
        (pytest.approx(0.6), False),
    ]
    in_a_crowd = torch.tensor([[52.0, 52, 58, 60, 0.9, 1], [66, 66, 80, 80, 0.8, 1]])
    assert matched(in_a_crowd, objects) == [(pytest.approx(0.8), False)]


def test_localisation_asks_for_the_class_and_half_of_the_overlap():
    targets = [objects_of([[0, 0, 10, 10]], [1])] * 4
    rows = torch.tensor([[0.0, 0, 10, 6, 0.9, 1], [0, 0, 10, 4, 0.9, 1], [0, 0, 10, 10, 0.9, 0], [0, 0, 0, 0, 0, 0]])
    assert localised(rows[:, None], targets, 1) == 0.25
    second = torch.stack((rows, rows.new_tensor([0.0, 0, 10, 10, 0.5, 1]).expand(4, 6)), 1)
    assert localised(second, targets, 1) == 0.5  # where there is no first, the second is
    assert localised(second, targets, 5) == 1.0
    metrics = Detection(("a", "b")).evaluation("val", rows[:, None], targets, list("abcd")).metrics
    assert metrics["localisation"] == 0.25


def test_a_network_of_masks_that_finds_nothing():
    triangle = upper_half(objects_of([[1, 2, 30, 40]], [1]))
    metrics = Detection(("a", "b")).evaluation("val", torch.zeros(2, 5, 6 + 784), [triangle] * 2, ["x", "y"]).metrics
    assert (metrics["map"], metrics["mask_map"], metrics["mask_map50"]) == (0.0, 0.0, 0.0)


def test_nothing_there_and_nothing_found():
    task = Detection(("a",))
    evaluation = task.evaluation("val", torch.zeros(2, 5, 6), [objects_of([], [])] * 2, ["x", "y"])
    assert (evaluation.metrics["map"], evaluation.metrics["count"]) == (0.0, 2.0)
    assert task.prediction(torch.zeros(5, 6), None) == {"classes": (), "probabilities": (), "boxes": (), "masks": None}
    with pytest.raises(ValueError, match="'val' has no pictures"):
        task.evaluation("val", torch.zeros(0, 5, 6), [], [])
    with pytest.raises(ValueError, match="detection has no use for label_smoothing"):
        create_task("detection", ("a",), label_smoothing=0.1)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
def test_masks_are_judged_and_told_as_coco_does():
    _, objects = one_picture()
    rows = torch.cat((objects.boxes, torch.tensor([[0.9, 0.0], [0.8, 1.0]]), torch.ones(2, 28 * 28)), 1)
    right = Detection(("a", "b")).evaluation("val", rows[None], [objects], ["x"])
    assert right.metrics["mask_map"] > 0.9  # pasting a mask may miss its outermost pixels
    assert objects.masks().flatten(1).sum(1).tolist() == [28 * 24, 30 * 26]
    rows[:, 6:].view(-1, 28, 28)[:, :, :10] = 0  # about a third of each is missed
    less = Detection(("a", "b")).evaluation("val", rows[None], [objects], ["x"])
    assert less.metrics["map"] == pytest.approx(1.0)
    assert less.metrics["mask_map50"] == pytest.approx(1.0)
    assert less.metrics["mask_map75"] == 0
    for mask in pasted(rows, objects.size):
        lengths = run_lengths(mask)
        assert np.array_equal(coco_masks.decode(coco_masks.frPyObjects(lengths, *lengths["size"])), mask.numpy())
    assert run_lengths(torch.ones(2, 3, dtype=torch.bool))["counts"] == [0, 6]


def one_picture() -> tuple[torch.Tensor, Objects]:
    """A dark picture with two bright rectangles, one of each class."""
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(3, 64, 64, generator=generator) * 0.1 - 1
    boxes = [[6, 8, 30, 36], [34, 28, 60, 58]]
    image[0, 8:36, 6:30] += 2
    image[1, 28:58, 34:60] += 2
    outlines = tuple(
        (torch.tensor([(l, t), (r, t), (r, b), (l, b)], dtype=torch.float32),)
        for l, t, r, b in boxes  # noqa: E741
    )
    return image, replace(objects_of(boxes, [0, 1], size=(64, 64)), outlines=outlines)


@pytest.mark.parametrize(
    ("name", "options", "rate"),
    [
        ("yolo_resnet18", {"pyramid": 16}, 1e-2),
        ("fasterrcnn_resnet18_fpn", {"pyramid": 16, "proposals": 64, "anchor_size": 6.0}, 3e-3),
        ("fasterrcnn_resnet18", {"proposals": 64, "anchor_size": 4.0}, 2e-3),
        ("maskrcnn_resnet18_fpn", {"pyramid": 16, "proposals": 64, "anchor_size": 6.0}, 3e-3),
        ("retinanet_resnet18_fpn", {"pyramid": 32, "anchor_size": 6.0}, 4e-3),
        ("fcos_resnet18_fpn", {"pyramid": 64}, 4e-3),
    ],
)
def test_a_detector_learns_one_picture_by_heart(name, options, rate):
    torch.manual_seed(0)
    declaration = architecture(name)
    backbone = replace(declaration.backbone, norm="group", **SMALL)
    network = build(replace(declaration, backbone=backbone, num_classes=2, **options))
    if name.startswith("mask"):  # torchvision's has 256 channels, which takes long
        network.roi_heads.mask_head = MaskRCNNHeads(16, (16, 16), 1)
        network.roi_heads.mask_predictor = MaskRCNNPredictor(16, 16, 3)
    if name.startswith("retina"):  # torchvision's small weights are made for 256 channels
        for layer in network.head.modules():
            if isinstance(layer, torch.nn.Conv2d) and layer.in_channels == layer.out_channels:
                torch.nn.init.kaiming_normal_(layer.weight)
    image, objects = one_picture()
    task = Detection(("a", "b"))
    batch = Batch(image[None], torch.ones(1, 2), torch.arange(1), (objects,))
    optimiser = torch.optim.AdamW(network.parameters(), rate)
    history = []
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / STEPS)
        loss = task.loss(network(*task.inputs(batch)), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert history[-1] < history[0] / 3
    network.eval()
    with torch.inference_mode():
        rows = network(batch.images)[0]
    found = rows[:2]
    overlap = box_iou(found[:, :4], objects.boxes)
    best, which = overlap.max(1)
    assert best.min() > 0.9
    assert torch.equal(found[:, 5].long(), objects.labels[which])
    assert sorted(which.tolist()) == [0, 1]
    if name.startswith("mask"):
        inside = pasted(found, (64, 64)).flatten(1).float()
        assert (inside.sum(1) / torch.tensor([28 * 24, 30 * 26])[which]).sub(1).abs().max() < 0.15


def test_boxes_are_not_rounded_by_mixed_precision():
    image, objects = one_picture()
    objects = replace(objects, boxes=objects.boxes + 200.3)
    batch = Batch(image[None], torch.ones(1, 2), torch.arange(1), (replace(objects, outlines=()),))
    given = Detection(("a", "b")).inputs(batch)
    images, targets = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")._precision.convert_input(given)
    assert images.dtype == torch.bfloat16
    assert [torch.equal(each.boxes, objects.boxes) for each in exact(targets)] == [True]


def test_masks_are_learnt_beside_pictures_without_objects_or_outlines():
    torch.manual_seed(0)
    declaration = architecture("maskrcnn_resnet18_fpn")
    backbone = replace(declaration.backbone, norm="group", **SMALL)
    network = build(replace(declaration, backbone=backbone, num_classes=2, pyramid=16, proposals=32))
    image, objects = one_picture()
    nothing = objects.subset(torch.zeros(2, dtype=torch.bool))
    half = replace(objects, outlines=(objects.outlines[0], ()))
    for pictures in ((objects, nothing), (nothing, nothing), (half, replace(objects, outlines=()))):
        batch = Batch(image.expand(2, -1, -1, -1), torch.ones(2, 2), torch.arange(2), pictures)
        task = Detection(("a", "b"))
        loss = task.loss(network(*task.inputs(batch)), batch)
        assert torch.isfinite(loss)
        loss.backward()
    told = network.told(half, torch.device("cpu"))
    assert told["labels"].tolist() == [1]  # of the other the mask is not known
    assert torch.equal(told["masks"], objects.masks()[:1])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
def test_masks_of_objects_without_outlines_are_not_judged():
    _, objects = one_picture()
    half = replace(objects, outlines=(objects.outlines[0], ()))
    rows = torch.cat((objects.boxes, torch.tensor([[0.8, 0.0], [0.9, 0.0]]), torch.ones(2, 28 * 28)), 1)
    half = replace(half, labels=torch.tensor([0, 0]))
    assert Detection(("a", "b")).evaluation("val", rows[None], [half], ["x"]).metrics["mask_map50"] == 1.0


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A COCO folder of noise with bright squares (class "square") and bars (class "bar") of red and green."""
    root = tmp_path_factory.mktemp("shapes")
    generator = np.random.default_rng(0)
    categories = [{"id": 3, "name": "square"}, {"id": 7, "name": "bar"}]
    for split, count in (("train", 48), ("val", 12)):
        (root / split).mkdir()
        content = {"images": [], "annotations": [], "categories": categories}
        for number in range(count):
            pixels = generator.integers(0, 70, (80, 96, 3)).astype(np.uint8)
            content["images"].append({"id": number, "file_name": f"{number}.png", "height": 80, "width": 96})
            for corner in ((2, 4), (46, 42))[: 1 + number % 2]:
                bar = bool(generator.integers(0, 2))
                width, height = (40, 16) if bar else (28, 28)
                x, y = corner[0] + int(generator.integers(0, 5)), corner[1] + int(generator.integers(0, 5))
                pixels[y : y + height, x : x + width, int(bar)] += 150
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]) + 1,
                        "image_id": number,
                        "category_id": 7 if bar else 3,
                        "bbox": [x, y, width, height],
                        "area": width * height,
                        "iscrowd": 0,
                        "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
                    }
                )
            Image.fromarray(pixels).save(root / split / f"{number}.png")
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
    return root


FAST = {"model": "yolo_resnet18", "pyramid": 16, "batch_size": 8, "lr": 0.01, "jitter": 0.0, "ema": 0.9, **SMALL}


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory):
    """A small detector of the shapes."""
    options = FAST | {"epochs": 25, "evaluate_every": 25, "zoom": (0.8, 1.25)}
    return train(shapes, run=tmp_path_factory.mktemp("runs") / "run", console=QUIET, **options)


def test_from_a_folder_of_boxes_to_answers(run, shapes, tmp_path, capsys):
    assert main(["check", str(shapes)]) == 0
    assert "square" in capsys.readouterr().out
    card = run.card()
    assert (card.task, card.classes, card.preprocessing.fit) == ("detection", ("square", "bar"), "contain")
    assert card.preprocessing.size == (96, 96)  # multiples of 32
    assert card.architecture["backbone"]["widths"] == list(SMALL["widths"])
    assert card.metrics["map50"] > 0.8
    assert "threshold" in card.settings
    evaluation = evaluate(run.folder)
    assert evaluation.metrics == pytest.approx(dict(card.metrics), abs=1e-3)
    assert [name for name in run.history()[-1] if name.startswith("val_")] == ["val_map50", "val_map"]
    report = run.report_path.read_text()
    for heading in ("Learning curves", "Precision and recall", "Every class", "True and found"):
        assert heading in report

    picture, data = shapes / "val" / "1.png", open_dataset(shapes)
    answer = load(run.folder)(picture)
    position = data.splits["val"].names.index("val/1.png")
    truth = data.splits["val"].objects[position]
    assert answer.size == (80, 96)
    assert box_iou(torch.tensor(answer.boxes), truth.boxes).amax(0).min() > 0.5
    assert main(["predict", str(run.folder), str(picture), str(shapes / "val" / "2.png"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [image["file_name"] for image in printed["images"]] == [str(picture), str(shapes / "val" / "2.png")]
    assert [category["name"] for category in printed["categories"]] == ["square", "bar"]
    first = printed["annotations"][0]
    left, top, right, bottom = answer.boxes[0]
    assert first["bbox"] == pytest.approx([left, top, right - left, bottom - top], abs=0.02)
    assert printed["categories"][first["category_id"] - 1]["name"] == answer.classes[0]
    assert main(["predict", str(run.folder), str(picture), "--draw", str(tmp_path / "drawn"), "--tiled"]) == 0
    assert answer.classes[0] in capsys.readouterr().out
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "1.png"))
    assert drawn.shape == (80, 96, 3)
    assert (drawn != np.asarray(Image.open(picture))).any()
    assert main(["evaluate", str(run.folder)]) == 0
    assert "mAP at 0.5" in " ".join(capsys.readouterr().out.split())


def test_engines_and_exports_find_the_same(run, shapes, tmp_path):
    expected = run.card().metrics
    rough = {"precision": "bfloat16"}
    for options in ({"engine": "onnxruntime"}, rough, {"engine": "openvino", **rough}):
        assert evaluate(run.folder, **options).metrics["map50"] == pytest.approx(expected["map50"], abs=0.05)
    exported = write_export(run, tmp_path / "export", "openvino", batch=2)
    assert evaluate(exported.run.folder).metrics == pytest.approx(dict(expected), abs=1e-3)
    large = np.tile(np.asarray(Image.open(shapes / "val" / "1.png")), (2, 2, 1))
    (one,), (other,) = (load(folder).predict([large], tiled=True) for folder in (run.folder, exported.run.folder))
    assert other.classes == one.classes
    np.testing.assert_allclose(other.boxes, one.boxes, atol=0.05)
    for format in ("openvino", "torch"):
        rounded = write_export(run, tmp_path / format, format, "bfloat16").run.folder
        assert evaluate(rounded).metrics["map50"] == pytest.approx(expected["map50"], abs=0.05)
    command = ["export", str(run.folder), "--precision", "int8", "--max-loss", "0.2", "--to", str(tmp_path / "int8")]
    assert main(command) == 0
    assert Run(tmp_path / "int8").card().metrics["map50"] > expected["map50"] - 0.2
    with pytest.raises(ValueError, match="leave out --preprocess"):
        write_export(run, tmp_path / "whole", "onnx", preprocess=True)


def test_a_large_picture_is_looked_at_in_tiles(run):
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 70, (400, 520, 3)).astype(np.uint8)
    there = [(20, 30, 48, 58), (250, 180, 278, 208), (470, 350, 498, 378)]
    for left, top, right, bottom in there:
        pixels[top:bottom, left:right, 0] += 150
    predictor = load(run.folder)
    predictor.task.threshold = 0.3
    tiled = next(predictor.predict([pixels], tiled=True))
    overlap = box_iou(torch.tensor(there, dtype=torch.float32), torch.tensor(tiled.boxes))
    assert (overlap.amax(1) > 0.5).all()
    assert ((overlap > 0.3).sum(1) == 1).all()  # each once


def test_one_object_a_picture_is_localised(tmp_path):
    generator = np.random.default_rng(2)
    for split, count in (("train", 64), ("val", 16)):
        for number in range(count):
            pixels = generator.integers(0, 70, (64, 64, 3)).astype(np.uint8)
            label, (x, y) = number % 2, generator.integers(2, 30, 2)
            pixels[y : y + 30, x : x + 30, label] += 150
            for kind in ("images", "labels"):
                (tmp_path / "set" / kind / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "set" / "images" / split / f"{number}.png")
            line = f"{label} {(x + 15) / 64} {(y + 15) / 64} {30 / 64} {30 / 64}"
            (tmp_path / "set" / "labels" / split / f"{number}.txt").write_text(line)
    options = {"model": "locate_resnet18", "epochs": 25, "evaluate_every": 25, "batch_size": 8, "lr": 3e-3, "ema": 0.9}
    done = train(tmp_path / "set", run=tmp_path / "run", zoom=(1.0, 1.0), jitter=0.0, console=QUIET, **options, **SMALL)
    metrics = done.card().metrics
    assert metrics["localisation"] > 0.8
    assert metrics["localisation5"] >= metrics["localisation"]
    assert "Localised" in done.report_path.read_text()
    answer = load(done.folder)(tmp_path / "set" / "images" / "val" / "0.png")
    assert answer.classes[0] == "0"
    with pytest.raises(ValueError, match="0 with locate"):
        replace(architecture("locate_resnet18"), pyramid=64)


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(shapes, tmp_path):
    options = FAST | {"epochs": 3, "mosaic": 0.5, "precision": "32-true", "console": QUIET}
    whole = train(shapes, run=tmp_path / "whole", **options)

    class StopError(Exception):
        pass

    def stop(job):
        if len(job.state.history) == 1:
            raise StopError

    with pytest.raises(StopError):
        train(shapes, run=tmp_path / "parts", watch=stop, **options)
    parts = resume(tmp_path / "parts", console=QUIET)
    first, second = read_tensors(whole.weights_path), read_tensors(parts.weights_path)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_backbone_begins_from_a_classifiers_weights(shapes, tmp_path, train_digits_like):
    classifier = train_digits_like
    run = train(
        shapes, run=tmp_path / "run", weights=classifier.folder, epochs=1, lr=1e-9, console=QUIET, pyramid=16, ema=0.0
    )
    assert run.card().model == "yolo_resnet18"
    before, after = read_tensors(classifier.weights_path), read_tensors(run.weights_path)
    torch.testing.assert_close(after["backbone.body.layer2.0.conv1.weight"], before["layer2.0.conv1.weight"])
    assert "all but the backbone: begins anew" in run.card().provenance["weights_account"]["replaced"]


@pytest.fixture
def train_digits_like(shapes, tmp_path):
    """A classifier of the shapes' pictures, of the same small network."""
    for number in range(24):
        folder = tmp_path / "classes" / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        Image.open(shapes / "train" / f"{number}.png").save(folder / f"{number}.png")
    return train(
        tmp_path / "classes", run=tmp_path / "classifier", model="resnet18", size=64, epochs=1, console=QUIET, **SMALL
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixup": 0.2}, "detection has no use for mixup"),
        ({"scale": (0.5, 1.0)}, "detection has no use for scale"),
        ({"optimizer": "muon"}, "use adamw or sgd"),
        ({"balance": "loss"}, "balance and per_class even out single classes"),
        ({"label_smoothing": 0.1}, "detection has no use for label_smoothing"),
        ({"task": "classification"}, "has detection targets"),
    ],
)
def test_what_does_not_suit_is_refused_before_the_training(shapes, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        train(shapes, run=tmp_path / "new", console=QUIET, **(FAST | {"epochs": 1} | options))


def test_given_weights_change_the_recipe(shapes):
    data = open_dataset(shapes)
    whole = plan(data, weights=Weights("file", "file", {}, model="fasterrcnn_resnet18_fpn")).recipe
    assert (whole["lr"], whole["backbone_lr"], whole["freeze_norm"]) == (pytest.approx(2e-4), 1.0, True)
    assert {"lr", "freeze_norm"} <= whole["reasons"].keys()
    stages = plan(data, model="fcos_resnet18_fpn", weights=Weights("file", "file", {}, model="resnet18")).recipe
    assert (stages["lr"], stages["backbone_lr"], stages["freeze_norm"]) == (1e-3, 0.2, True)
    with_norms = plan(data, weights=Weights("file", "file", {}, model="resnet18"))
    assert with_norms.model == "yolo_resnet18"
    assert not with_norms.recipe["freeze_norm"]


def test_masks_are_not_learnt_of_boxes_alone(shapes, tmp_path):
    shutil.copytree(shapes, tmp_path / "boxes")
    for file in (tmp_path / "boxes").glob("*/*.json"):
        content = json.loads(file.read_text())
        for mark in content["annotations"]:
            mark["segmentation"] = {"size": [80, 96], "counts": [7680]}
        file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"maskrcnn_resnet18_fpn learns outlines.*such as fasterrcnn_resnet18_fpn"):
        plan(open_dataset(tmp_path / "boxes"), model="maskrcnn_resnet18_fpn")


def test_what_is_of_detection_is_refused_by_others(shapes, tmp_path):
    with pytest.raises(ValueError, match="resnet18 alone finds no objects; say how, such as yolo_resnet18"):
        train(shapes, run=tmp_path / "new", model="resnet18", console=QUIET)
    for options, message in (
        ({"mosaic": 0.5}, "are of detection and segmentation, and the task is classification"),
        ({"model": "yolo_resnet18"}, "yolo_resnet18 finds objects, and the task is classification"),
    ):
        with pytest.raises(ValueError, match=message):
            train("digits", run=tmp_path / "new", epochs=1, console=QUIET, overwrite=True, **options)


def test_counts_and_classes_of_marked_pictures_can_be_learnt_instead(shapes):
    counts = open_dataset(shapes, task="regression").splits["train"]
    assert counts.targets.sum(1).unique().tolist() == [1, 2]
    assert counts.objects is None
    classes = open_dataset(shapes, task="multilabel").splits["train"]
    assert torch.equal(classes.targets, (counts.targets > 0).float())
    assert not math.isnan(classes.targets.sum().item())
