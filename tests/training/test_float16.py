"""Trainings in float16, whose losses are scaled so that gradients do not become zero."""

from __future__ import annotations

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from rich.console import Console

from resnets.training import train as training
from resnets.training.interruption import InterruptedTraining
from resnets.weights.files import read_tensors

QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def in_float16(monkeypatch):
    """As on a GPU, with PyTorch's scaler for processors, whose scale doubles every three steps."""

    def engine(*_: object) -> Fabric:
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        return Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])

    monkeypatch.setattr(training, "create_engine", engine)


@pytest.mark.parametrize("options", [{}, {"optimizer": "adamw", "lr": 0.001}], ids=["sgd", "adamw"])
def test_a_stopped_training_in_float16_goes_on_at_its_scale(train_digits, stop_at, options):
    """Clipped: what steps all parameters in one call could not."""
    whole = train_digits("whole", clip_norm=1.0, **options)
    with stop_at(9), pytest.raises(InterruptedTraining):
        train_digits("stopped", clip_norm=1.0, **options)
    stopped = training.resume(whole.folder.with_name("stopped"), console=QUIET)
    scales = [torch.load(run.checkpoint_path, weights_only=True)["state"]["scaler"] for run in (whole, stopped)]
    assert scales[0] == scales[1]
    assert scales[0]["scale"] == 1024 * 2**4  # 12 steps
    expected, found = read_tensors(whole.weights_path), read_tensors(stopped.weights_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_classifier_alone_learns_by_scaled_losses(train_digits):
    first = train_digits("first", epochs=4, batch_size=64)
    options = {"weights": first.folder, "head_only": "sgd", "lr": 0.05, "batch_size": 64}
    run = train_digits("second", **options, epochs=10)
    assert run.history()[-1]["train_loss"] < 0.8 * run.history()[0]["train_loss"]
