"""Networks without some of their blocks, against networks that were built without them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
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


def test_pictures_are_held_out_as_they_were_for_the_run(tmp_path):
    options = {"model": "resnet14", "size": 8, "epochs": 1, "batch_size": 64, "precision": "32-true", "val_share": 0.2}
    run = train("digits", run=tmp_path / "run", console=Console(quiet=True), **options)
    held = held_out("digits", run.card()).splits["val"]
    assert len(held) == run.card().data["pictures"]["val"]
    pruned = prune(run, "digits", tmp_path / "pruned", keep_accuracy=100, epochs=1, console=Console(quiet=True))
    assert not pruned.seen
    assert pruned.run.card().data["pictures"] == run.card().data["pictures"]
    assert pruned.run.card().recipe["scale_lr"] is False


def test_it_refuses_where_nothing_can_go(trained, tmp_path):
    with pytest.raises(ValueError, match="can go without losing more than -100 points"):
        prune(trained, "digits", tmp_path / "none", keep_accuracy=-100, epochs=1, console=Console(quiet=True))
