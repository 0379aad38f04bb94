"""Multi-label classification against scikit-learn, and from a table to the answers."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from resnets.cli.main import main
from resnets.data.opening import open_dataset
from resnets.inference.evaluation import evaluate
from resnets.inference.predictor import load
from resnets.tasks.multilabel import Multilabel, asymmetric_loss, best_threshold
from resnets.training.train import train
from resnets.types import Batch

QUIET = Console(quiet=True)
CLASSES = ("bottom", "left", "top")


@pytest.fixture
def answers() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(300, 3, generator=generator) < torch.tensor([0.5, 0.1, 0.3])).float()
    return 2 * targets - 1 + 1.5 * torch.randn(300, 3, generator=generator), targets


def test_metrics_are_those_of_scikit_learn(answers):
    outputs, targets = answers
    thresholds = [0.5, 0.25, 0.75]
    evaluation = Multilabel(CLASSES, {"thresholds": thresholds}).evaluation("test", outputs, targets, ["x"] * 300)
    probabilities, true = outputs.sigmoid().numpy(), targets.numpy().astype(int)
    said = (probabilities >= np.array(thresholds, dtype=np.float32)).astype(int)
    assert evaluation.metrics["map"] == pytest.approx(average_precision_score(true, probabilities, average="macro"))
    assert evaluation.metrics["f1"] == pytest.approx(f1_score(true, said, average="macro"))
    assert evaluation.metrics["micro_f1"] == pytest.approx(f1_score(true, said, average="micro"))
    assert evaluation.metrics["exact"] == pytest.approx(accuracy_score(true, said))
    for k, name in enumerate(CLASSES):
        assert evaluation.each[name].ap == pytest.approx(average_precision_score(true[:, k], probabilities[:, k]))
        assert evaluation.each[name].f1 == pytest.approx(f1_score(true[:, k], said[:, k]))
        assert evaluation.each[name].positives == true[:, k].sum()


def test_the_threshold_has_the_best_f1(answers):
    outputs, targets = answers
    thresholds = Multilabel(CLASSES, {}).fit(outputs, targets)["thresholds"]
    probabilities, true = outputs.sigmoid().numpy(), targets.numpy()
    for k, threshold in enumerate(thresholds):
        best = f1_score(true[:, k], probabilities[:, k] >= threshold)
        others = [f1_score(true[:, k], probabilities[:, k] >= other) for other in np.linspace(0.01, 0.99, 99)]
        assert best >= max(others) - 1e-9
    assert best_threshold(np.array([0.1, 0.9], np.float32), np.zeros(2, np.float32)) == 0.5


def test_the_loss_is_binary_cross_entropy_or_the_asymmetric_one(answers):
    outputs, targets = answers
    batch = Batch(torch.empty(300), targets, torch.arange(300))
    p = outputs.double().sigmoid()
    plain = -(targets * p.log() + (1 - targets) * (1 - p).log()).mean()
    assert Multilabel(CLASSES, {}).loss(outputs, batch).item() == pytest.approx(plain.item(), rel=1e-5)
    q = (p - 0.05).clamp(min=0)
    focused = -(targets * p.log() + (1 - targets) * q**4 * (1 - q).log())
    torch.testing.assert_close(asymmetric_loss(outputs, targets).double(), focused, rtol=1e-4, atol=1e-6)
    assert Multilabel(CLASSES, {}, asymmetric=True).loss(outputs, batch).item() == pytest.approx(focused.mean().item())
    assert torch.isfinite(asymmetric_loss(torch.tensor([[80.0, -80.0]]), torch.tensor([[0.0, 1.0]]))).all()
    right = ((p >= 0.5) == (targets >= 0.5)).all(1).sum()
    assert Multilabel(CLASSES, {}).scored(outputs, batch) == right


def test_answers_are_the_classes_above_their_thresholds():
    task = Multilabel(CLASSES, {"thresholds": [0.9, 0.2, 0.5]})
    answer = torch.tensor([0.8, 0.3, 0.6])
    assert task.prediction(answer, None) == {"classes": ("top", "left"), "probabilities": pytest.approx((0.6, 0.3))}
    assert task.prediction(answer, 1) == {"classes": ("bottom",), "probabilities": pytest.approx((0.8,))}
    assert task.prediction(torch.zeros(3), None) == {"classes": (), "probabilities": ()}


@pytest.fixture
def bars(tmp_path):
    """A table of grey pictures, with the names of the sides that are white."""
    generator = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    with (tmp_path / "bars.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "labels", "split"])
        for index in range(240):
            has = generator.random(3) < 0.4
            pixels = generator.integers(0, 100, (16, 16)).astype(np.uint8)
            for there, part in zip(has, (np.s_[12:], np.s_[:, :4], np.s_[:4]), strict=True):
                pixels[part] = np.maximum(pixels[part], 150 * there)
            Image.fromarray(pixels).save(tmp_path / "pictures" / f"{index}.png")
            labels = "|".join(name for name, there in zip(CLASSES, has, strict=True) if there)
            table.writerow([f"pictures/{index}.png", labels, ("test", "val", "train", "train")[index % 4]])
    return tmp_path / "bars.csv"


@pytest.mark.parametrize("asymmetric", [False, True])
def test_from_a_table_of_labels_to_answers(bars, tmp_path, capsys, asymmetric):
    data = open_dataset(bars)
    assert (data.task, data.classes) == ("multilabel", CLASSES)
    options = {"model": "resnet8", "epochs": 15, "batch_size": 16, "flip": False, "console": QUIET}
    run = train(bars, run=tmp_path / "run", asymmetric=asymmetric, **options)
    card = run.card()
    assert card.task == "multilabel"
    assert card.metrics["map"] > 0.95
    assert card.settings["fitted_on"] == "val"
    assert len(card.settings["thresholds"]) == 3
    assert evaluate(run.folder).metrics == pytest.approx(dict(card.metrics), rel=1e-4)
    assert "val_exact" in run.history()[-1]
    test = data.splits["test"]
    rows = [load(run.folder)(tmp_path / name).classes for name in test.names[:8]]
    truth = [{CLASSES[k] for k in target.nonzero().flatten().tolist()} for target in test.targets[:8]]
    assert sum(set(row) == true for row, true in zip(rows, truth, strict=True)) >= 6
    assert "Every class" in run.report_path.read_text()
    assert main(["evaluate", str(run.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["per_class"].keys() == set(CLASSES)
    assert main(["evaluate", str(run.folder)]) == 0
    assert "average precision" in " ".join(capsys.readouterr().out.lower().split())


def test_columns_of_zeros_and_ones_are_classes_unless_it_is_said(tmp_path, bars):
    rows = list(csv.DictReader(bars.read_text().splitlines()))
    with (tmp_path / "columns.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", *CLASSES])
        table.writerows([row["path"], *(int(name in row["labels"]) for name in CLASSES)] for row in rows)
    data = open_dataset(tmp_path / "columns.csv")
    assert (data.task, data.classes) == ("multilabel", CLASSES)
    assert torch.equal(
        torch.cat([part.targets for part in data.splits.values()]).sum(0),
        torch.cat([part.targets for part in open_dataset(bars).splits.values()]).sum(0),
    )
    assert open_dataset(tmp_path / "columns.csv", task="regression").task == "regression"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,cat|cat\n", r"row 1 has the labels 'cat\|cat'; expected names with \| between"),
        ("a.png,cat||dog\n", "row 1 has the labels"),
        ("a.png,\nb.png,\n", "names no class in its column of labels"),
    ],
)
def test_what_are_no_labels(tmp_path, rows, message):
    (tmp_path / "x.csv").write_text(f"path,labels\n{rows}")
    with pytest.raises(ValueError, match=message):
        open_dataset(tmp_path / "x.csv")


def test_a_split_without_any_class_cannot_be_judged():
    with pytest.raises(ValueError, match="no picture of the split 'val' has any class"):
        Multilabel(CLASSES, {}).evaluation("val", torch.zeros(2, 3), torch.zeros(2, 3), ["a", "b"])
