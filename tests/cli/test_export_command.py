"""`resnets export`: what loses more than is allowed is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from resnets.cli import export
from resnets.cli.main import main
from resnets.inference.evaluation import evaluate
from resnets.inference.export import TOLERANCES
from resnets.runs.run import Run
from resnets.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("export") / "run"
    options = {"model": "resnet8", "epochs": 4, "size": 8, "precision": "32-true"}
    return train("digits", run=folder, console=Console(quiet=True), **options)


def test_int8_that_loses_more_accuracy_than_allowed_is_refused(run, tmp_path, capsys, monkeypatch):
    """Scales of int8 that were taken from black pictures: of all others hardly anything is left."""
    black = [torch.zeros(1, 8, 8, 1, dtype=torch.uint8)]
    monkeypatch.setattr("resnets.inference.export.calibration_pixels", lambda *_: (black, 1))
    monkeypatch.setitem(TOLERANCES, "int8", (float("inf"), float("inf")))
    command = ["export", str(run.folder), "--precision", "int8", "--to", str(tmp_path / "int8")]
    assert main([*command, "--max-loss", "0.05"]) == 1
    said = capsys.readouterr().err
    assert "accuracy went from" in said
    assert "more than --max-loss 0.05; nothing was written" in said
    assert list(tmp_path.iterdir()) == []
    assert main([*command, "--max-loss", "1"]) == 0
    card = Run(tmp_path / "int8").card()
    assert card.export["before"]["accuracy"] - card.metrics["accuracy"] > 0.05
    assert "before" in capsys.readouterr().out


@pytest.mark.parametrize("given", [["resnet20-cifar10"], ["resnet20-cifar10+resnet20-cifar10"]])
def test_nothing_is_written_into_the_package(given, monkeypatch):
    asked = []
    monkeypatch.setattr(export, "_check_free", lambda folder, *_: asked.append(folder) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export.export(*given)
    assert [folder.parent for folder in asked] == [Path("runs")]


def test_an_export_stays_until_a_new_one_has_been_judged(run, tmp_path, capsys, monkeypatch):
    """And nothing stands at its place that is not judged yet."""
    folder = tmp_path / "int8"
    command = ["export", str(run.folder), "--to", str(folder)]
    assert main(command) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main([*command, "--precision", "int8"]) == 1
    assert "is there already; give another folder, or --overwrite" in capsys.readouterr().err
    there = []

    def judging(*arguments):
        there.append({path.name: path.read_bytes() for path in folder.iterdir()})
        return evaluate(*arguments)

    monkeypatch.setattr("resnets.cli.export.evaluate", judging)
    lower = ["--precision", "int8", "--overwrite"]
    assert main([*command, *lower, "--max-loss", "-1"]) == 1  # however good it is
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert main([*command, *lower, "--max-loss", "1"]) == 0
    assert there == [before] * 4
    assert Run(folder).card().export["precision"] == "int8"
    assert [path.name for path in tmp_path.iterdir()] == ["int8"]


def test_an_export_is_not_replaced_by_one_of_its_own(run, tmp_path, capsys):
    folder = tmp_path / "torch"
    assert main(["export", str(run.folder), "--format", "torch", "--to", str(folder)]) == 0
    shutil.copytree(folder, folder / "inner")
    for source in (folder, folder / "inner"):
        assert main(["export", str(source), "--to", str(folder), "--overwrite"]) == 1
        assert "is what is exported, so it is not replaced" in capsys.readouterr().err
    assert Run(folder).card().export["format"] == "torch"
    assert main(["export", str(run.folder), "--to", str(run.folder), "--overwrite"]) == 1
    assert "is no export, so it is not replaced" in capsys.readouterr().err
