"""`resnets export`: what loses more than is allowed is refused."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console

from resnets.cli.main import main
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
    monkeypatch.setattr("resnets.inference.export.calibration_pixels", lambda *_: iter(black))
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
