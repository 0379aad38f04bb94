"""A training that was stopped and resumed is, to the bit, one that was never stopped."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console

from resnets.data.loading import Loader
from resnets.runs.run import Run
from resnets.training.interruption import InterruptedTraining
from resnets.training.train import resume
from resnets.weights.files import read_tensors

QUIET = Console(quiet=True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.9, "mixup": 0.2, "cutmix": 1.0, "erasing": 0.5, "warmup": 0.2, "schedule": "cosine"},
        {"optimizer": "adamw", "lr": 0.001, "scale": [0.5, 1.0], "precision": "bf16-mixed", "recompute_bn": True},
        {"optimizer": "muon", "lr": 0.05, "momentum": 0.6},
        {"freeze": "layer2", "unfreeze_every": 1, "layer_decay": 0.5, "ema": 0.9},
        {"progressive": 8, "size": 16, "scale": [0.5, 1.0]},
    ],
    ids=["plain", "averaged and mixed", "adamw in bfloat16", "muon", "unfrozen by and by", "growing pictures"],
)
def test_a_resumed_training_takes_the_same_steps(train_digits, stop_at, changes):
    whole = train_digits("whole", **changes)
    stopped = r"stopped at step 9 of 12; go on with `resnets train --resume"  # in the middle of the second epoch
    with stop_at(9), pytest.raises(InterruptedTraining, match=stopped):
        train_digits("stopped", **changes)
    stopped = resume(whole.folder.with_name("stopped"), console=QUIET)
    expected, found = read_tensors(whole.weights_path), read_tensors(stopped.weights_path)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    assert stopped.card().metrics == whole.card().metrics
    times = {"seconds", "images_per_second"}
    for before, after in zip(whole.history(), stopped.history(), strict=True):
        assert {k: v for k, v in before.items() if k not in times} == {k: v for k, v in after.items() if k not in times}


def test_statistics_that_are_recomputed_at_the_end_are_the_same_too(train_digits, stop_at):
    options = {"model": "wrn10_1", "dropout": 0.3, "recompute_bn": True, "epochs": 1}
    whole = train_digits("whole", **options)
    with stop_at(6), pytest.raises(InterruptedTraining):
        train_digits("stopped", **options)
    stopped = resume(whole.folder.with_name("stopped"), console=QUIET)
    expected, found = read_tensors(whole.weights_path), read_tensors(stopped.weights_path)
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


@pytest.mark.parametrize("step", [6, 12], ids=["of the first", "of the last"])
def test_stopped_at_the_end_of_an_epoch_it_is_ended_first(train_digits, stop_at, step):
    options = {"val_share": 0.1, "patience": 1, "evaluate_every": 1, "batch_size": 240}
    whole = train_digits("whole", **options)
    with stop_at(step), pytest.raises(InterruptedTraining):
        train_digits("stopped", **options)
    stopped = resume(whole.folder.with_name("stopped"), console=QUIET)
    assert [(row["epoch"], row["step"], row["train_loss"], row["val_loss"]) for row in stopped.history()] == [
        (row["epoch"], row["step"], row["train_loss"], row["val_loss"]) for row in whole.history()
    ]
    assert stopped.card().metrics == whole.card().metrics


def test_epochs_of_another_length_are_refused(train_digits, tmp_path, stop_at, monkeypatch):
    """As with so many processes that the last pictures of an epoch are too few."""
    with stop_at(9), pytest.raises(InterruptedTraining):
        train_digits("stopped")
    monkeypatch.setattr(Loader, "_least_last", 200)
    expected = "has 6 steps, and with --devices 1 it would have 5, .*; go on with as many as before"
    with pytest.raises(ValueError, match=expected):
        resume(tmp_path / "stopped", console=QUIET)
    monkeypatch.undo()
    assert resume(tmp_path / "stopped", console=QUIET).card().metrics


def test_the_seed_decides(train_digits):
    first, same, other = (train_digits(name, epochs=1, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    weights = [read_tensors(run.weights_path)["conv1.weight"] for run in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_finished_run_is_left_as_it_is(train_digits):
    run = train_digits(epochs=1)
    before = run.weights_path.read_bytes()
    resume(run.folder, console=QUIET)
    assert run.weights_path.read_bytes() == before


def test_changed_data_is_refused(train_digits, tmp_path, stop_at):
    with stop_at(2), pytest.raises(InterruptedTraining):
        train_digits("stopped")
    run = Run(tmp_path / "stopped")
    text = run.card_path.read_text()
    run.card_path.write_text(text.replace(run.card().data["fingerprint"], "0" * 64))
    with pytest.raises(ValueError, match="have changed since"):
        resume(run.folder, console=QUIET)
