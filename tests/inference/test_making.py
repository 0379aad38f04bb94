"""From a trained network to a folder of pictures and what a judge says of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from resnets.cli.main import main
from resnets.data.dataset import Dataset
from resnets.data.opening import open_dataset
from resnets.data.order import permutation
from resnets.inference.evaluation import evaluate
from resnets.inference.export import write_export
from resnets.inference.judging import Judge, judge_pictures, views
from resnets.inference.making import Request, columns_of, make
from resnets.inference.predictor import load
from resnets.inference.sampling import Generator
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.training.train import train

OPTIONS = {"precision": "32-true", "console": Console(quiet=True), "seed": 3}


def seen(dataset: Dataset, card: Card) -> Tensor:
    return torch.cat(list(views(dataset, card.preprocessing)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Run, Run]:
    """A network that makes digits, barely trained, and a classifier of digits."""
    folder = tmp_path_factory.mktemp("runs")
    shape = {"widths": (8, 16), "depths": (1, 1), "attention": (2,), "head_channels": 8}
    made = train(
        "digits", run=folder / "made", task="generation", size=8, steps=20, lr=0.01, ema=0.0, **shape, **OPTIONS
    )
    named = train("digits", run=folder / "named", model="resnet8", epochs=3, batch_size=64, size=8, **OPTIONS)
    return made, named


def test_a_training_leaves_all_that_other_tasks_leave(runs):
    run, _ = runs
    card = run.card()
    assert (card.task, card.model, card.architecture["widths"]) == ("generation", "flow_unet_tiny", [8, 16])
    assert card.classes == tuple("0123456789")
    assert evaluate(run.folder).metrics == pytest.approx(dict(card.metrics), abs=1e-5)
    losses = [row["train_loss"] for row in run.history()]
    assert losses[-1] < 1.9  # answering 0 has 2: noise and pictures both have variance 1
    assert "Loss from noise to pictures" in run.report_path.read_text()
    with pytest.raises(ValueError, match="makes pictures and tells nothing of given ones"):
        load(run.folder)(np.zeros((8, 8), np.uint8))


def test_the_same_seed_gives_the_same_pictures_whatever_the_batch_and_the_count(runs):
    generator = Generator(runs[0].folder)
    labels = generator.labels(12)
    assert labels.tolist() == [*range(10), 0, 1]
    whole = generator.pictures(labels, seed=1, steps=3, guidance=2.0)
    assert whole.shape == (12, 1, 8, 8)
    assert whole.dtype == torch.uint8
    by_batches = generator.pictures(labels, seed=1, steps=3, guidance=2.0, batch_size=5)
    fewer = generator.pictures(labels[:7], seed=1, steps=3, guidance=2.0)
    assert (whole.int() - by_batches.int()).abs().max() <= 1  # sums are rounded otherwise, by at most a grey level
    assert (whole[:7].int() - fewer.int()).abs().max() <= 1
    for other in ({"seed": 2}, {"solver": "euler"}, {"steps": 4}, {"guidance": 1.0}):
        assert not torch.equal(whole, generator.pictures(labels, **({"seed": 1, "steps": 3, "guidance": 2.0} | other)))


def test_copies_of_real_pictures_are_found_out(runs):
    """Training pictures in the place of made ones: a distance of 0, each its own nearest."""
    run, classifier = runs
    card = run.card()
    data = open_dataset("digits")
    train_split = data.splits["train"]
    copies = seen(train_split, card)
    judge = Judge(classifier.folder, card)
    alone = judge_pictures(copies, train_split.targets, judge, replace(data, splits={"train": train_split}), card)
    assert alone.metrics["frechet"] == pytest.approx(0, abs=1e-4)
    assert alone.real_distances is None
    judgement = judge_pictures(copies, train_split.targets, judge, data, card)
    assert judgement.metrics["nearest"] == 0
    assert torch.equal(copies[judgement.nearest], copies)
    accuracy = evaluate(classifier.folder, split="train").metrics["accuracy"]
    assert judgement.metrics["named"] == pytest.approx(accuracy)
    assert judgement.metrics["real_named"] == pytest.approx(classifier.card().metrics["accuracy"])
    distances = judgement.real_distances
    first = seen(data.splits["test"], card)[0].double()
    by_hand = (copies - first).square().mean((1, 2, 3)).sqrt().min()
    assert distances[0].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_distances_of_distributions_are_of_as_many_pictures(runs):
    """Fewer pictures are farther from the training pictures, if they are real ones, too."""
    run, classifier = runs
    card, data = run.card(), open_dataset("digits")
    test_split, judge = data.splits["test"], Judge(classifier.folder, run.card())
    real = seen(test_split, card)
    metrics = judge_pictures(real, test_split.targets, judge, data, card).metrics
    assert metrics["frechet_count"] == len(real)
    assert metrics["frechet"] == pytest.approx(metrics["real_frechet"])
    chosen = permutation(1, 0, len(real))[:40]
    few = judge_pictures(real[chosen], test_split.targets[chosen], judge, data, card).metrics
    assert few["frechet_count"] == 40
    assert few["frechet"] > 1.5 * metrics["frechet"]
    assert few["frechet"] == pytest.approx(few["real_frechet"], rel=0.4)


@pytest.mark.parametrize(
    ("count", "in_turn", "columns"),
    [(64, 1, 8), (64, 10, 10), (1000, 10, 30), (1000, 1, 32), (1000, 20, 20), (5, 10, 3), (100, 1000, 10), (1, 1, 1)],
)
def test_classes_in_turn_have_columns_of_their_own(count, in_turn, columns):
    assert columns_of(count, in_turn) == columns


def test_a_folder_holds_pictures_grid_record_and_report(runs, tmp_path):
    run, classifier = runs
    made = make(run.folder, Request(count=12, steps=2, seed=5), folder=tmp_path / "made", judge=classifier.folder)
    names = sorted(path.name for path in made.folder.glob("0*.png"))
    assert names[0] == "0000-0.png"
    assert names[-1] == "0011-1.png"
    pictures = Generator(run.folder).pictures(torch.arange(12) % 10, steps=2, seed=5)
    assert np.array_equal(np.asarray(Image.open(made.folder / names[3])), pictures[3, 0].numpy())
    grid = np.asarray(Image.open(made.folder / "grid.png"))
    assert grid.shape == (2 * 66 - 2, 10 * 66 - 2)  # 64 pixels a picture and a gap of 2, a column for each class
    assert np.array_equal(grid[0:64:8, 66:130:8], pictures[1, 0].numpy())
    record = json.loads((made.folder / "pictures.json").read_text())
    assert record["seed"] == 5
    assert record["metrics"] == made.judgement.metrics
    page = (made.folder / "report.html").read_text()
    assert "it is no FID" in page.replace("\n", " ")
    with pytest.raises(FileExistsError, match="--overwrite"):
        make(run.folder, Request(count=2, steps=1), folder=tmp_path / "made")
    (made.folder / "2024-holiday.png").write_bytes(b"mine")
    make(run.folder, Request(count=2, steps=1), folder=tmp_path / "made", overwrite=True)
    assert sorted(path.name for path in made.folder.iterdir()) == [
        "0000-0.png",
        "0001-1.png",
        "2024-holiday.png",
        "grid.png",
        "pictures.json",
    ]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("irreplaceable")
    with pytest.raises(FileExistsError, match="holds no made pictures"):
        make(run.folder, Request(count=2, steps=1), folder=tmp_path / "thesis", overwrite=True)


def test_the_command_line_takes_a_class_and_names_errors(runs, tmp_path, capsys):
    run, classifier = (str(each.folder) for each in runs)
    command = ["generate", run, "--class", "7", "--count", "3", "--steps", "2", "--folder", str(tmp_path / "sevens")]
    assert main(command) == 0
    assert len(list((tmp_path / "sevens").glob("*-7.png"))) == 3
    for wrong, message in (
        (["generate", run, "--class", "ship"], "knows no class 'ship'; it knows 0, 1"),
        (["generate", run, "--count", "0"], "count must be at least 1"),
        (["generate", run, "--steps", "0"], "steps must be at least 1"),
        (["generate", classifier], "is for classification and makes no pictures"),
        (["generate", run, "--judge", run], "a judge names single classes"),
        (["generate", run, "--judge", "resnet20-cifar10"], "knows other classes"),
    ):
        assert main([*wrong, "--folder", str(tmp_path / "none")]) == 1
        assert message in capsys.readouterr().err
    assert not Path(tmp_path / "none").exists()


def test_guidance_needs_a_network_that_was_sometimes_not_told_the_class(runs):
    run = runs[0]
    generator = Generator(run.folder)
    assert generator.card.recipe["class_dropout"] == 0.1
    generator.card.recipe["class_dropout"] = 0.0
    with pytest.raises(ValueError, match="--class-dropout"):
        generator.pictures(torch.zeros(1, dtype=torch.int64), guidance=2.0)
    for guidance in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="guidance at least 0"):
            generator.pictures(torch.zeros(1, dtype=torch.int64), guidance=guidance)
    with pytest.raises(ValueError, match="leave engine and precision out"):
        evaluate(run.folder, engine="openvino")


def test_pictures_that_training_left_out_are_left_out_in_judging(runs, digits, tmp_path):
    folder = tmp_path / "digits"
    shutil.copytree(digits, folder)
    (folder / "3" / "broken.png").write_bytes(b"no picture")
    shape = {"widths": (8, 16), "depths": (1, 1), "attention": (2,), "head_channels": 8}
    options = {"task": "generation", "size": 8, "steps": 2, "max_unreadable": 0.5}
    run = train(folder, run=tmp_path / "run", **options, **shape, **OPTIONS)
    made = make(run.folder, Request(count=4, steps=1), folder=tmp_path / "made", judge=runs[1].folder)
    assert made.judgement is not None


@pytest.mark.parametrize("format", ["onnx", "openvino", "torch"])
def test_an_export_makes_the_same_pictures_and_is_judged_the_same(runs, tmp_path, format):
    run = runs[0]
    exported = write_export(run, tmp_path / "export", format)
    assert exported.error < 1e-3
    generator = Generator(exported.run.folder)
    options = {"seed": 1, "steps": 3, "guidance": 2.0, "batch_size": 5}
    expected = Generator(run.folder).pictures(generator.labels(7), **options)
    found = generator.pictures(generator.labels(7), **options)
    assert (found.int() - expected.int()).abs().max() <= 1
    assert evaluate(exported.run.folder).metrics == pytest.approx(dict(run.card().metrics), abs=1e-4)
    if format == "onnx":
        with pytest.raises(ValueError, match="which bfloat16 rounds too much; leave it in float32"):
            write_export(run, tmp_path / "other", "openvino", "bfloat16")
        with pytest.raises(ValueError, match="none to resize; leave out --preprocess"):
            write_export(run, tmp_path / "other", "onnx", preprocess=True)
        with pytest.raises(ValueError, match="makes pictures and tells nothing of given ones"):
            load(exported.run.folder)(np.zeros((8, 8), np.uint8))
