"""Learning to make pictures goes through the same loop as everything else."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from rich.console import Console

from resnets.data.listing import Listing
from resnets.data.opening import open_dataset
from resnets.training import fit
from resnets.training.interruption import InterruptedTraining
from resnets.training.plan import plan
from resnets.training.train import resume, train
from resnets.weights.files import read_tensors

QUIET = Console(quiet=True)
SHAPE = {"widths": (8, 16), "depths": (1, 1), "attention": (2,), "head_channels": 8}


@pytest.fixture
def train_generator(tmp_path):
    """Train a small network on digits for two epochs of three steps; keywords change the recipe."""

    def run(name: str = "run", **changes: object):
        options = {"task": "generation", "epochs": 2, "batch_size": 512, "size": 8, "precision": "bf16-mixed"}
        return train("digits", run=tmp_path / name, console=QUIET, **(options | SHAPE | changes))

    return run


def test_a_resumed_training_takes_the_same_steps(train_generator, monkeypatch):
    whole = train_generator("whole")
    step = fit.train_step

    def interrupted(job, batch, epoch, rate):
        step(job, batch, epoch, rate)
        if job.state.step == 4:  # of 6, in the second epoch
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit, "train_step", interrupted)
        with pytest.raises((KeyboardInterrupt, InterruptedTraining)):
            train_generator("stopped")
    stopped = resume(whole.folder.with_name("stopped"), console=QUIET)
    expected, found = read_tensors(whole.weights_path), read_tensors(stopped.weights_path)
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    assert stopped.card().metrics == whole.card().metrics


def test_a_network_begins_from_another_and_keeps_classes_of_the_same_name(train_generator):
    first = train_generator("first", epochs=1)
    second = train_generator("second", epochs=1, lr=1e-12, ema=0.0, weights=first.folder)
    before, after = read_tensors(first.weights_path), read_tensors(second.weights_path)
    for name, tensor in before.items():
        torch.testing.assert_close(tensor, after[name], msg=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixup": 0.2}, "would learn to make what mixup does"),
        ({"pad": 2}, "would learn to make what pad does"),
        ({"head_first": True}, "has no use for head_first"),
        ({"label_smoothing": 0.1}, "generation has no use for label_smoothing"),
        ({"balance": "loss"}, "generation has none"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(train_generator, changes, message):
    with pytest.raises(ValueError, match=message):
        train_generator(**changes)


@pytest.mark.parametrize(
    ("task", "model", "changes", "message"),
    [
        ("generation", "resnet20", {}, "resnet20 makes no pictures; .* flow_unet_small"),
        ("classification", "flow_unet_tiny", {}, "makes pictures, and the task is classification"),
        ("classification", "resnet8", {"class_dropout": 0.1}, "no use for class_dropout"),
    ],
)
def test_a_network_of_another_task_is_refused(tmp_path, task, model, changes, message):
    with pytest.raises(ValueError, match=message):
        train("digits", run=tmp_path / "run", task=task, model=model, console=QUIET, **changes)


def test_network_and_recipe_are_chosen_by_the_task():
    data = open_dataset("digits", task="generation")
    card = plan(data)
    assert (card.task, card.model) == ("generation", "flow_unet_tiny")
    assert plan(data, size=32).model == "flow_unet_small"
    assert card.recipe["reasons"]["recipe"] == "generation, because pictures are to be made"
    assert card.recipe["class_dropout"] > 0
    assert not card.recipe["flip"]
    assert (card.preprocessing.size, card.preprocessing.crop) == ((16, 16), 1.0)
    assert plan(open_dataset("digits")).task == "classification"


def test_pictures_of_numbers_cannot_be_learnt_by_class():
    counts = Listing("counts", ["a", "b"], ["1", "2"], [None, None], [1, 1], Image.open, values=[(1.0,), (2.0,)])
    with pytest.raises(ValueError, match="cannot be used for generation"):
        counts.for_task("generation", "counts")
