"""The learning-rate range test."""

from __future__ import annotations

import pytest
import torch

from resnets.training import rate_finder
from resnets.training.rate_finder import rate_of, smoothed
from resnets.training.train import resume
from resnets.weights.files import read_tensors


def test_the_rate_found_trains_and_is_written_down(train_digits):
    run = train_digits("run", find_lr=True, epochs=4, batch_size=64)
    recipe = run.card().recipe
    assert recipe["find_lr"]
    assert 0.01 <= recipe["lr"] <= 1
    assert run.card().metrics["accuracy"] > 0.8
    same = train_digits("same", lr=recipe["lr"], epochs=4, batch_size=64)
    first, second = read_tensors(run.weights_path), read_tensors(same.weights_path)
    assert all((first[name] == second[name]).all() for name in first)  # the test left no trace
    assert resume(run.folder).card().recipe == recipe


def test_its_steps_are_those_of_the_epochs(train_digits, monkeypatch):
    """An epoch's last batch is shorter than the others, and counts as what it is."""
    seen = []

    def count(job, batch, *_):
        seen.append((len(batch), job.pictures_of_step))
        job.state.count(torch.tensor(1 / len(seen)), torch.tensor(0.0), len(batch))

    monkeypatch.setattr(rate_finder, "STEPS", 8)
    monkeypatch.setattr(rate_finder, "train_step", count)
    train_digits(find_lr=True, epochs=1)
    assert seen == [(pictures, pictures) for pictures in (*5 * [256], 158, 256, 256)]


def test_a_rate_is_found_for_a_network_whose_classifier_fits_already(train_digits):
    first = train_digits("first", epochs=8)
    run = train_digits("second", weights=first.folder, recipe="finetune", epochs=1, find_lr=True)
    assert run.card().recipe["head_first"]
    assert run.card().recipe["lr"] > 1e-3  # without a classifier drawn anew there is none, or next to none


def test_rates_grow_by_one_factor():
    assert rate_of(0) == pytest.approx(1e-6)
    assert rate_of(99) == pytest.approx(10)
    assert rate_of(51) / rate_of(50) == pytest.approx(rate_of(6) / rate_of(5))


def test_the_average_of_a_constant_is_the_constant():
    assert smoothed([2.0] * 30) == pytest.approx([2.0] * 30)


@pytest.mark.parametrize(
    ("losses", "rate"),
    [([3, 2, 1, 1.1, 2, 9], rate_of(4) / 8), ([3, 2, 1, 1], rate_of(3) / 8), ([1, 2, 3], None), ([], None)],
)
def test_an_eighth_of_the_rate_at_which_the_loss_rises_again(train_digits, monkeypatch, losses, rate):
    monkeypatch.setattr(rate_finder, "range_test", lambda _: losses)
    monkeypatch.setattr(rate_finder, "smoothed", lambda values: values)
    if rate is None:
        with pytest.raises(FloatingPointError, match="the loss falls at no learning rate"):
            train_digits(find_lr=True)
    else:
        assert train_digits(find_lr=True, epochs=1).card().recipe["lr"] == pytest.approx(rate, rel=0.1)
