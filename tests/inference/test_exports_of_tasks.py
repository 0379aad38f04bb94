"""Exports of every task: from picture files to the same answers as the run's, by networks that were never trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from resnets.data.decoding import decode, open_picture
from resnets.data.transforms import normalise
from resnets.data.views import view
from resnets.inference.export import write_export
from resnets.inference.prediction import Prediction
from resnets.inference.predictor import load
from resnets.inference.samples import made_files
from resnets.networks.catalogue import architecture, build
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.types import Preprocessing

CLASSES = ("ant", "bee", "cat")
COVERING = Preprocessing((32, 48), 3, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), crop=0.875)
CONTAINING = replace(COVERING, size=(64, 96), crop=1.0, fit="contain")
PLAIN = [("regression", "resnet8"), ("multilabel", "preresnet11"), ("recognition", "resnet14")]
MASKS = [f"{decoder}_resnet8" for decoder in ("unet", "fpn")] + [
    f"{decoder}_resnet18" for decoder in ("fcn", "deeplabv3", "deeplabv3plus")
]
BOXES = [
    *(f"{method}_resnet18_fpn" for method in ("fasterrcnn", "maskrcnn", "retinanet", "fcos")),
    "fasterrcnn_resnet18",
    "locate_resnet18",
]
SMALL = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64)}
SETTINGS = {
    "regression": {"mean": [3.0, 0.0, -7.0], "std": [1.0, 20.0, 0.5]},
    "recognition": {"trained_on": [0, 1, 2]},
    "detection": {"threshold": 0.0},
}


def declared(model: str, task: str) -> Any:
    """The declaration of a model for three classes, its backbone as small as can be."""
    declaration = architecture(model)
    if task == "detection":
        pyramid = {"pyramid": 64} if declaration.pyramid else {}
        backbone = replace(declaration.backbone, **SMALL)
        return replace(declaration, backbone=backbone, num_classes=3, score_threshold=0.0, max_detections=10, **pyramid)
    if task == "segmentation":
        width = {"decoder_width": 8} if declaration.decoder_width else {}
        backbone = replace(declaration.backbone, **SMALL) if "18" in model else declaration.backbone
        return replace(declaration, backbone=backbone, num_classes=3, **width)
    return replace(declaration, num_classes=16 if task == "recognition" else 3)


@pytest.fixture
def untrained(tmp_path: Path) -> Callable[[str, str], Run]:
    """Gives the run of a task and a model with random weights, and norms with the statistics of some pictures."""

    @torch.no_grad()
    def make(task: str, model: str) -> Run:
        generator = torch.manual_seed(0)
        network = build(declared(model, task))
        seen = CONTAINING if task in ("segmentation", "detection") else COVERING
        pictures = torch.stack([view(decode(open_picture(file), 3), seen) for file in made_files(8)])
        images = normalise(pictures, seen)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the statistics become those of one batch
                module.weight.copy_(torch.rand(module.weight.shape, generator=generator) + 0.5)
                module.bias.copy_(torch.rand(module.bias.shape, generator=generator) - 0.5)
        network.train().features(images)
        network.eval()
        for layer in network.class_layers if task == "detection" else ():
            network.get_submodule(layer).weight *= 20  # or all boxes have nearly the same score
        if task == "segmentation":  # or one class has all pixels
            network.get_submodule(network.logits_layer).bias -= network(images).mean((0, 2, 3))
        run = Run(tmp_path / "run")
        run.write_network(network)
        run.write_card(
            Card(model, task, network.architecture.to_dict(), CLASSES, seen, settings=SETTINGS.get(task, {}))
        )
        return run

    return make


def check_same(found: Prediction, expected: Prediction) -> None:
    """The same answer, up to rounding: of masks all pixels but a few, of boxes eight of the ten surest."""
    assert found.error is None
    assert found.size == expected.size
    if expected.boxes:
        away = torch.cdist(torch.tensor(expected.boxes[:10]), torch.tensor(found.boxes), p=torch.inf)  # pixels
        same = torch.tensor([[one == other for other in found.classes] for one in expected.classes[:10]])
        least, place = torch.where(same, away, torch.inf).min(1)
        assert (least < 0.5).float().mean() >= 0.8  # of two boxes that are nearly as sure, either may be left out
        for number in (least < 0.5).nonzero().flatten().tolist():
            other = int(place[number])
            assert found.probabilities[other] == pytest.approx(expected.probabilities[number], abs=1e-3)
            if expected.masks is not None:
                torch.testing.assert_close(found.masks[other], expected.masks[number], atol=0.01, rtol=0)
    elif expected.mask is not None:
        assert (found.mask == expected.mask).float().mean() > 0.999
    else:
        assert found.classes == expected.classes
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-3)
        assert found.values == (expected.values and pytest.approx(expected.values, abs=0.01))
        assert found.embedding == pytest.approx(expected.embedding, abs=1e-3)


FORMATS = ("onnx", "openvino", "torch")
CASES = [
    *((task, model, FORMATS[number % 3]) for number, (task, model) in enumerate(PLAIN)),
    *(("segmentation", model, FORMATS[number % 2]) for number, model in enumerate(MASKS)),
    ("segmentation", MASKS[0], "torch"),
    *(("detection", model, FORMATS[number % 2]) for number, model in enumerate(BOXES)),
    *(("detection", "yolo_resnet18", format) for format in FORMATS),
    ("detection", "fasterrcnn_resnet18_fpn", "torch"),
]


@pytest.mark.parametrize(("task", "model", "format"), CASES)
def test_an_export_answers_picture_files_as_its_run_does(task, model, format, untrained, tmp_path):
    source = untrained(task, model)
    exported = write_export(source, tmp_path / "export", format)
    assert exported.error < 1e-3
    files = list(made_files(5))
    expected, found = (load(run.folder).predict(files, batch_size=3) for run in (source, exported.run))
    answers = list(expected)
    if task == "segmentation":
        assert len({name for answer in answers for name in answer.values}) > 1
    if task == "detection":
        assert all(answer.boxes for answer in answers)
    for one, other in zip(answers, found, strict=True):
        check_same(other, one)
    if task == "detection" and format != "torch":
        needed = "model.following.safetensors" in {path.name for path in exported.run.folder.iterdir()}
        assert needed == ("rcnn" in model)
