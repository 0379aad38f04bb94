"""Networks without some of their blocks, against networks that were built without them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from resnets.cli.main import main
from resnets.insight.lesions import without
from resnets.insight.pruning import droppable, held_out, left_out, prune
from resnets.runs.run import Run
from resnets.training.train import train
from resnets.weights.models import create_model

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("resnet20", "layer1.0"),
        ("resnet20", "layer3.2"),
        ("preresnet29", "stages.1.blocks.1"),
        ("resnet18", "layer4.1"),
    ],
)
def test_a_smaller_network_answers_as_the_whole_one_without_the_block(name, block):
    torch.manual_seed(0)
    network = create_model(name, 10).eval()
    smaller = left_out(network, block)
    assert len(smaller.blocks()) == len(network.blocks()) - 1
    assert sum(smaller.architecture.depths) == sum(network.architecture.depths) - 1
    with without(network, [block]), torch.no_grad():
        assert torch.equal(smaller(IMAGES), network(IMAGES))


def test_what_has_to_stay():
    network = create_model("resnet8", 10)
    assert droppable(network) == []
    with pytest.raises(ValueError, match=r"layer1\.0 is the only block of its stage"):
        left_out(network, "layer1.0")
    with pytest.raises(ValueError, match=r"layer2\.0 cannot be taken out"):
        left_out(network, "layer2.0")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    options = {"model": "resnet14", "size": 8, "epochs": 3, "batch_size": 64, "precision": "32-true"}
    return train("digits", run=folder, console=Console(quiet=True), **options)


def test_from_the_command_line(trained, tmp_path, capsys):
    folder = tmp_path / "pruned"
    command = ["prune", str(trained.folder), "digits", "--run", str(folder), "--epochs", "1", "--keep-accuracy", "100"]
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "fewer multiply-adds" in told
    assert "was trained on the held-out pictures" in told
    card = Run(folder).card()
    assert card.architecture["depths"] == [1, 1, 1]  # a loss of 100 points lets every block go that can
    assert set(card.provenance["pruned"]["blocks"]) < {"layer1.0", "layer1.1", "layer2.1", "layer3.1"}
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.csv",
        "model.json",
        "model.safetensors",
        "report.html",
    ]
    assert main(["evaluate", str(folder)]) == 0
    assert main(command) == 1
    assert "is there already" in capsys.readouterr().err


def test_it_stops_where_enough_is_saved(trained, tmp_path):
    options = {"keep_accuracy": 100, "epochs": 1, "console": Console(quiet=True)}
    pruned = prune(trained, "digits", tmp_path / "pruned", enough=0.1, **options)
    assert len(pruned.blocks) == 1  # of six alike, and a block of resnet14 is more than a tenth


def test_what_another_pruning_has_begun_is_not_taken_for_its_own(trained, tmp_path, monkeypatch):
    """It is stopped after its first training; the next one allows for less."""
    folder, trainings = tmp_path / "pruned", []

    def noted(*arguments: object, run: Path, **options: object) -> Run:
        trainings.append(run)
        if len(trainings) == 1:
            raise KeyboardInterrupt
        return train(*arguments, run=run, **options)

    monkeypatch.setattr("resnets.insight.pruning.train", noted)
    options = {"keep_accuracy": 60, "console": Console(quiet=True)}
    with pytest.raises(KeyboardInterrupt):
        prune(trained, "digits", folder, epochs=1, **options)
    prune(trained, "digits", folder, epochs=2, **options)
    assert trainings[0] not in trainings[1:]
    assert not (folder / "rounds").exists()
    with pytest.raises(FileExistsError, match="is there already"):
        prune(trained, "digits", folder, epochs=2, **options)


@pytest.mark.parametrize("own", ["rounds/1/notes.txt", "notes.txt"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_somebody_else_is_left_as_it_is(trained, tmp_path, own, overwrite):
    note = tmp_path / "pruned" / own
    note.parent.mkdir(parents=True)
    note.write_text("mine", encoding="utf-8")
    (tmp_path / "pruned" / "rounds").mkdir(exist_ok=True)
    with pytest.raises(FileExistsError, match="is there already and is no run"):
        prune(trained, "digits", tmp_path / "pruned", overwrite=overwrite, console=Console(quiet=True))
    assert note.read_text(encoding="utf-8") == "mine"


def test_pictures_are_held_out_as_they_were_for_the_run(tmp_path):
    options = {"model": "resnet14", "size": 8, "epochs": 1, "batch_size": 64, "precision": "32-true", "val_share": 0.2}
    run = train("digits", run=tmp_path / "run", console=Console(quiet=True), **options)
    held = held_out("digits", run.card()).splits["val"]
    assert len(held) == run.card().data["pictures"]["val"]
    pruned = prune(run, "digits", tmp_path / "pruned", keep_accuracy=100, epochs=1, console=Console(quiet=True))
    assert not pruned.seen
    assert pruned.run.card().data["pictures"] == run.card().data["pictures"]
    assert pruned.run.card().recipe["scale_lr"] is False


def test_it_refuses_where_nothing_can_go(trained, tmp_path, monkeypatch):
    """Every network without a block is made to guess."""
    monkeypatch.setattr(
        "resnets.insight.pruning.accuracy",
        lambda network, *_: 0.9 if network.architecture.depths == (2, 2, 2) else 0.1,
    )
    with pytest.raises(ValueError, match="can go without losing more than 0 points"):
        prune(trained, "digits", tmp_path / "none", keep_accuracy=0, epochs=1, console=Console(quiet=True))


@pytest.mark.parametrize("where", [".", "pruned", ".."])
def test_the_whole_network_is_never_replaced(trained, tmp_path, where):
    whole = tmp_path / "runs" / "whole"
    shutil.copytree(trained.folder, whole)
    (tmp_path / "runs" / "model.json").touch()  # so that the folder around it passes for a run
    with pytest.raises(ValueError, match="choose another --run"):
        prune(Run(whole), "digits", whole / where, keep_accuracy=100, epochs=1, overwrite=True)
    assert Run(whole).network()
    assert not (whole / "rounds").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"keep_accuracy": -1}, "--keep-accuracy must be 0 to 100 points, not -1"),
        ({"enough": -1}, "--enough must be a share above 0 and at most 1, such as 0.2, not -1"),
        ({"enough": 15}, "not 15"),
        ({"epochs": 0}, "--epochs must be at least 1, not 0"),
        ({"lr": -1}, "--lr must be a share above 0"),
        ({"lr": float("nan")}, "--lr must be a share above 0"),
    ],
)
def test_options_are_checked_before_the_data_is_opened(trained, tmp_path, options, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        prune(trained, "no/such/data", tmp_path / "pruned", **options)
    assert not (tmp_path / "pruned").exists()


def test_the_input_keeps_its_shape(tmp_path):
    """A run of pictures that are higher than wide."""
    random = np.random.default_rng(0)
    for number in range(60):
        picture = random.integers(0, 120, (34, 26, 3), dtype=np.uint8) + 120 * (number % 2 == 0)
        folder = tmp_path / "set" / ("light" if number % 2 == 0 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")
    options = {"model": "resnet14", "epochs": 1, "batch_size": 16, "precision": "32-true"}
    run = train(tmp_path / "set", run=tmp_path / "run", console=Console(quiet=True), **options)
    assert run.card().preprocessing.size == (34, 26)
    options = {"keep_accuracy": 100, "enough": 0.01, "epochs": 1}
    pruned = prune(run, tmp_path / "set", tmp_path / "pruned", **options, console=Console(quiet=True))
    assert pruned.run.card().preprocessing == run.card().preprocessing
