"""Regression against scikit-learn, and from a table to the answers."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from resnets.cli.main import main
from resnets.data.opening import open_dataset
from resnets.inference.evaluation import evaluate
from resnets.inference.predictor import load
from resnets.tasks import create_task
from resnets.tasks.regression import Regression
from resnets.training.train import train
from resnets.types import Batch

QUIET = Console(quiet=True)


@pytest.fixture
def numbers() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(200, 2, generator=generator) * torch.tensor([3.0, 50.0]) + torch.tensor([10.0, -400.0])
    return targets, torch.randn(200, 2, generator=generator)


def test_metrics_are_those_of_scikit_learn(numbers):
    targets, outputs = numbers
    task = Regression(("count", "height"), Regression.settings_of(targets))
    evaluation = task.evaluation("test", outputs, targets, [str(i) for i in range(200)])
    values = task.answers(outputs)
    for number, name in enumerate(("count", "height")):
        true, found = targets[:, number].numpy(), values[:, number].numpy()
        assert evaluation.each[name]["mae"] == pytest.approx(mean_absolute_error(true, found), rel=1e-5)
        assert evaluation.each[name]["rmse"] == pytest.approx(root_mean_squared_error(true, found), rel=1e-5)
        assert evaluation.each[name]["r2"] == pytest.approx(r2_score(true, found), rel=1e-4)
    assert evaluation.metrics["r2"] == pytest.approx(r2_score(targets, values), rel=1e-4)
    assert evaluation.metrics["count"] == 200


def test_r2_is_that_of_scikit_learn_far_from_zero():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(500, 1, generator=generator) * 10 + 1e5
    task = Regression(("year",), Regression.settings_of(targets))
    outputs = task.standardised(targets) + 0.3 * torch.randn(500, 1, generator=generator)
    evaluation = task.evaluation("test", outputs, targets, [str(i) for i in range(500)])
    expected = r2_score(targets.double(), task.answers(outputs).double())
    assert 0.85 < expected < 0.95
    assert evaluation.metrics["r2"] == pytest.approx(expected, rel=1e-6)


def test_targets_are_standardised_and_turned_back(numbers):
    targets, outputs = numbers
    settings = Regression.settings_of(targets)
    np.testing.assert_allclose(settings["mean"], targets.mean(0), rtol=1e-5)
    np.testing.assert_allclose(settings["std"], targets.numpy().std(0), rtol=1e-5)
    task = Regression(("count", "height"), settings)
    batch = Batch(torch.empty(200), targets, torch.arange(200))
    torch.testing.assert_close(task.answers(task.standardised(targets)), targets, rtol=1e-4, atol=1e-3)
    assert task.loss(task.standardised(targets), batch).item() == pytest.approx(0, abs=1e-9)
    assert task.loss(torch.zeros(200, 2), batch).item() == pytest.approx(1, rel=1e-4)  # the mean explains nothing
    error = (task.answers(outputs) - targets).abs().mean().item() * 200
    assert task.scored(outputs, batch).item() == pytest.approx(error, rel=1e-5)
    assert Regression.settings_of(torch.full((3, 1), 7.0)) == {"mean": [7.0], "std": [1.0]}


def test_hubers_loss_grows_in_proportion_beyond_its_threshold():
    task = Regression(("x",), {"mean": [0.0], "std": [2.0]}, huber=0.5)
    batch = Batch(torch.empty(2), torch.tensor([[8.0], [0.4]]), torch.arange(2))  # 4 and 0.2 standard deviations
    expected = (0.5 * (4 - 0.25) + 0.2**2 / 2) / 2
    assert task.loss(torch.zeros(2, 1), batch).item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="classification has no use for huber"):
        create_task("classification", ("a", "b"), huber=0.5)


def test_what_is_of_classes_is_refused(numbers):
    settings = Regression.settings_of(numbers[0])
    with pytest.raises(ValueError, match="regression has no use for label_smoothing; leave it out"):
        create_task("regression", ("a", "b"), settings, label_smoothing=0.1)
    with pytest.raises(ValueError, match="needs two pictures to be judged on, it has 1"):
        Regression(("a",), {"mean": [0.0], "std": [1.0]}).evaluation("val", torch.zeros(1, 1), torch.zeros(1, 1), ["x"])


@pytest.fixture
def bars(tmp_path):
    """A table of grey pictures in which so many rows and columns are white."""
    generator = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    with (tmp_path / "bars.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "height", "width", "split"])
        for index in range(240):
            height, width = (int(side) for side in generator.integers(1, 16, 2))
            pixels = generator.integers(0, 60, (16, 16)).astype(np.uint8)
            pixels[:height, :width] += 180
            Image.fromarray(pixels).save(tmp_path / "pictures" / f"{index}.png")
            table.writerow([f"pictures/{index}.png", height, width, "test" if index % 4 == 0 else "train"])
    return tmp_path / "bars.csv"


def test_from_a_table_of_numbers_to_answers(bars, tmp_path, capsys):
    data = open_dataset(bars)
    assert (data.task, data.classes) == ("regression", ("height", "width"))
    assert data.splits["train"].targets.shape == (180, 2)
    run = train(bars, run=tmp_path / "run", model="resnet8", epochs=25, batch_size=16, flip=False, console=QUIET)
    card = run.card()
    assert card.task == "regression"
    assert card.recipe["label_smoothing"] == 0
    assert card.metrics["r2"] > 0.8
    evaluation = evaluate(run.folder)
    assert evaluation.metrics == pytest.approx(dict(card.metrics), rel=1e-4)
    row = run.history()[-1]
    assert row["test_mae"] == pytest.approx(card.metrics["mae"], rel=0.02)
    test = data.splits["test"]
    answer = load(run.folder)(tmp_path / test.names[0])
    assert answer.values == pytest.approx(dict(zip(data.classes, evaluation.values[0].tolist(), strict=True)), rel=1e-4)
    report = run.report_path.read_text()
    assert "Answers and truth" in report
    assert "Largest errors" in report

    assert main(["evaluate", str(run.folder), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["metrics"]["mae"] == pytest.approx(card.metrics["mae"], rel=1e-4)
    assert printed["per_output"].keys() == {"height", "width"}
    assert main(["evaluate", str(run.folder)]) == 0
    assert "Root mean squared error" in " ".join(capsys.readouterr().out.split())
    assert main(["predict", str(run.folder), str(tmp_path / "pictures" / "0.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["values"].keys() == {"height", "width"}
    assert main(["predict", str(run.folder), str(tmp_path / "pictures" / "0.png")]) == 0
    assert "height" in capsys.readouterr().out
    assert main(["check", str(bars)]) == 0
    assert "240" in capsys.readouterr().out


def test_labels_that_are_numbers_are_classes_unless_it_is_said(tmp_path, bars):
    rows = list(csv.DictReader(bars.read_text().splitlines()))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label"])
        table.writerows([row["path"], row["height"]] for row in rows)
    assert open_dataset(tmp_path / "labels.csv").task == "classification"
    data = open_dataset(tmp_path / "labels.csv", task="regression")
    assert (data.task, data.classes) == ("regression", ("label",))
    assert data.splits_made == ("test",)
    with pytest.raises(ValueError, match="has regression targets, so it cannot be used for classification"):
        open_dataset(bars, task="classification")


@pytest.mark.parametrize(("text", "shown"), [("many", "'many'"), ("", "''"), ("nan", "'nan'")])
def test_what_is_no_number_is_named(tmp_path, text, shown):
    (tmp_path / "x.csv").write_text(f"path,count\na.png,1\nb.png,{text}\n")
    with pytest.raises(ValueError, match=f"row 2 has {shown} in the column count|row 2 has no class"):
        open_dataset(tmp_path / "x.csv")


def test_options_of_classes_are_refused_before_the_training(bars, tmp_path):
    for options, message in (
        ({"balance": "sampling"}, "balance and per_class even out single classes, and regression has none"),
        ({"cutmix": 1.0}, "cutmix would mix numbers by areas"),
        ({"head_only": "logistic"}, "logistic regression is for classes"),
        ({"task": "classification"}, "cannot be used for classification"),
    ):
        with pytest.raises(ValueError, match=message):
            train(bars, run=tmp_path / "new", model="resnet8", epochs=1, overwrite=True, console=QUIET, **options)
