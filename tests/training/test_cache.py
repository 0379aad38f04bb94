"""A training from a cache is the training without one."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console

from resnets.training.interruption import InterruptedTraining
from resnets.training.train import resume
from resnets.weights.files import read_tensors


def test_the_same_weights(train_digits, stop_at, tmp_path, monkeypatch):
    options = {"scale": [0.5, 1.0], "val_share": 0.1}
    plain, cache = train_digits("plain", **options), tmp_path / "cache"
    with stop_at(4), pytest.raises(InterruptedTraining):
        train_digits("cached", cache=cache, **options)
    assert len(list(cache.glob("*.npy"))) == 3  # training, validation, test
    expected = read_tensors(plain.weights_path)
    resumed = resume(plain.folder.with_name("cached"), cache=cache, console=Console(quiet=True))
    found = read_tensors(resumed.weights_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
