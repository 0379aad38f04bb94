"""Cross-validation: every picture is judged once, by a network that has not seen it."""

from __future__ import annotations

import json
from functools import wraps
from statistics import mean, stdev
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from resnets.data.opening import open_dataset
from resnets.inference.evaluation import evaluate
from resnets.runs.run import Run
from resnets.training import folds
from resnets.training.folds import cross_validate
from resnets.training.train import resume

OPTIONS = {"model": "resnet8", "epochs": 1, "batch_size": 256, "size": 8, "precision": "32-true"}


def test_folds_part_the_training_pictures_with_all_classes_in_each():
    whole = open_dataset("digits").splits["train"]
    parts = [open_dataset("digits", fold=(number, 4)) for number in range(1, 5)]
    names = [name for part in parts for name in part.splits["val"].names]
    assert sorted(names) == sorted(whole.names)
    assert all("test" not in part.splits for part in parts)
    for part in parts:
        assert not set(part.splits["train"].names) & set(part.splits["val"].names)
        shares = part.splits["val"].targets.bincount() / whole.targets.bincount()
        assert torch.all((shares - 0.25).abs() < 0.02)


@pytest.mark.parametrize(
    ("fold", "val_share", "message"),
    [
        ((0, 5), None, "a fold is a number from 1"),
        ((6, 5), None, "a fold is a number from 1"),
        ((1, 1), None, "two or more"),
        ((1, 5), 0.1, "without val_share"),
        ((1, 500), None, "class 0 has fewer pictures than the 500 folds"),
    ],
)
def test_what_is_no_fold(fold, val_share, message):
    with pytest.raises(ValueError, match=message):
        open_dataset("digits", fold=fold, val_share=val_share)


def test_the_spread_is_written_and_finished_folds_are_kept(tmp_path, capsys):
    folder = tmp_path / "cv"
    console = Console(width=100)
    figures = cross_validate("digits", 2, run=folder, console=console, **OPTIONS)
    accuracies = [Run(folder / f"fold{number}").card().metrics["accuracy"] for number in (1, 2)]
    assert figures["accuracy"] == {"mean": mean(accuracies), "std": stdev(accuracies)}
    assert json.loads((folder / "folds.json").read_text())["values"]["accuracy"] == accuracies
    assert evaluate(folder / "fold1").metrics["accuracy"] == pytest.approx(accuracies[0], abs=1e-6)
    assert evaluate(folder / "fold1").split == "val"
    assert "temperature" not in Run(folder / "fold1").card().settings  # which the judged pictures would have chosen
    with pytest.raises(ValueError, match="patience would choose by the very pictures"):
        cross_validate("digits", 2, run=tmp_path / "other", patience=1)
    assert "std" in capsys.readouterr().out
    written = (folder / "fold1" / "model.safetensors").stat().st_mtime_ns
    assert cross_validate("digits", 2, run=folder, console=console, **OPTIONS) == figures
    assert (folder / "fold1" / "model.safetensors").stat().st_mtime_ns == written
    with pytest.raises(FileExistsError, match="begun with other options"):
        cross_validate("digits", 2, run=folder, console=console, **{**OPTIONS, "epochs": 2})
    with pytest.raises(FileExistsError, match="holds no cross-validation"):
        cross_validate("digits", 2, run=tmp_path, console=console, **OPTIONS)
    with pytest.raises(ValueError, match="two folds or more"):
        cross_validate("digits", 1, run=tmp_path / "new", **OPTIONS)


def test_it_goes_on_with_the_flags_of_machines_and_tells_what_all_folds_have(tmp_path, monkeypatch):
    def interrupted(_source, run, **_):
        run.mkdir()
        (run / "model.json").touch()
        raise KeyboardInterrupt

    @wraps(resume)
    def gone_on(_folder, **options):
        asked.update(options)

    console, asked = Console(quiet=True), {}
    options = {"run": tmp_path / "cv", "console": console, "accelerator": "cpu", "workers": 3, "epochs": 1}
    monkeypatch.setattr(folds, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cross_validate("digits", 2, **options)
    metrics = iter([{"count": 9, "all": 0.5, "one": 1.0}, {"count": 9, "all": 0.75}])
    monkeypatch.setattr(folds, "train", lambda *_, **__: None)
    monkeypatch.setattr(folds, "resume", gone_on)
    monkeypatch.setattr(Run, "card", lambda _: SimpleNamespace(metrics=next(metrics)))
    assert cross_validate("digits", 2, **options)["all"]["mean"] == 0.625
    assert asked == {"console": console, "accelerator": "cpu", "workers": 3}


def test_several_processes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="in one process, not in 2; use --devices 1"):
        cross_validate("digits", 2, run=tmp_path / "cv", accelerator="cpu", devices=2, **OPTIONS)
    assert not (tmp_path / "cv").exists()
