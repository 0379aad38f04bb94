"""Steps whose loss is no number are named and passed over; where they do not end, the training does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

from resnets.data.opening import open_dataset
from resnets.data.order import permutation
from resnets.tasks.classification import Classification
from resnets.training import accumulation
from resnets.training.divergence import is_finite
from resnets.training.interruption import InterruptedTraining
from resnets.training.train import resume
from resnets.weights.files import read_tensors

Spoil = Callable[..., AbstractContextManager[None]]
QUIET = Console(quiet=True)


@pytest.fixture
def spoilt(monkeypatch) -> Spoil:
    """In some steps the pictures are not finite, or with `gradient` the derivatives alone."""

    @contextmanager
    def patched(steps: range | set[int], gradient: bool = False) -> Iterator[None]:
        whole, loss = accumulation.gradients, Classification.loss

        def spoiling(job, batch):
            if job.state.step in steps and not gradient:
                batch.images[0, 0, 0, 0] = torch.inf
            job.task.spoil = job.state.step in steps
            return whole(job, batch)

        def steep(task, outputs, batch):
            root = (outputs - outputs.detach()).abs().sum().sqrt()  # 0, and its derivative infinite
            return loss(task, outputs, batch) + (root if task.spoil and gradient else 0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(accumulation, "gradients", spoiling)
            patch.setattr(Classification, "loss", steep)
            yield

    return patched


@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_a_step_that_is_not_finite_is_named_and_leaves_no_trace(train_digits, spoilt, gradient):
    console = Console(file=StringIO(), width=200)
    with spoilt({7}, gradient):  # of 12, the second of the second epoch
        run = train_digits("spoilt", console=console)
    (incident,) = run.card().provenance["incidents"]
    data = open_dataset("digits").splits["train"]
    names = [data.names[i] for i in permutation(0, 1, len(data))[256:512].tolist()]
    assert (incident["epoch"], incident["step"], incident["pictures"]) == (2, 8, names)
    line = (
        f"epoch 2, step 8: the {'gradient is not finite' if gradient else 'loss is nan'}; the step is left out, with "
    )
    assert line + ", ".join(names[:5]) + " and 251 more" in console.file.getvalue()
    assert all(torch.isfinite(tensor).all() for tensor in read_tensors(run.weights_path).values())
    history = run.history()
    assert [row["step"] for row in history] == [6, 12]
    assert all(row["train_loss"] < 10 for row in history)


def test_a_gradient_that_is_not_finite_is_found_wherever_it_is():
    """Of a network that makes pictures, the first parameters are those of no class, which nothing else reaches."""
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    fabric = SimpleNamespace(_precision=SimpleNamespace(precision="32-true"))
    job = SimpleNamespace(network=network, fabric=fabric)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert is_finite(job, torch.tensor(1.0))
    for wrong in (torch.nan, torch.inf):
        network[1].weight.grad[0, 1] = wrong
        assert not is_finite(job, torch.tensor(1.0))
    network[1].weight.grad = None
    assert is_finite(job, torch.tensor(1.0))
    assert not is_finite(job, torch.tensor(torch.nan))


def test_what_a_step_leaves_behind_is_nothing(train_digits, spoilt):
    """A training of one step that is passed over ends with the weights it began with."""
    begun = train_digits("begun", steps=1, lr=1e-12)
    with spoilt({0}):
        passed = train_digits("passed", steps=1, lr=0.1, nonfinite_limit=5, batch_size=64)
    expected, found = read_tensors(begun.weights_path), read_tensors(passed.weights_path)
    assert torch.equal(found["bn1.running_mean"], torch.zeros_like(found["bn1.running_mean"]))
    torch.testing.assert_close(found["conv1.weight"], expected["conv1.weight"], rtol=1e-6, atol=1e-9)


def test_it_stops_after_so_many_in_a_row(train_digits, spoilt, tmp_path):
    with spoilt(range(8, 12)), pytest.raises(FloatingPointError, match=r"in 3 steps in a row, up to step 11: .*--lr"):
        train_digits(nonfinite_limit=3)
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["state"]
    assert state["step"] == 6
    again = resume(tmp_path / "run", console=QUIET)  # the pictures are whole again
    whole = train_digits("whole", nonfinite_limit=3)
    expected, found = read_tensors(whole.weights_path), read_tensors(again.weights_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize(("spoilt_steps", "kept"), [(range(8, 12), 8), (range(4, 8), 4)], ids=["within", "at the end"])
def test_nothing_is_saved_amid_them(train_digits, spoilt, tmp_path, spoilt_steps, kept):
    """What is gone back to is from before them, as the weights may have diverged already."""
    with spoilt(spoilt_steps), pytest.raises(FloatingPointError, match="in 4 steps in a row"):
        train_digits(nonfinite_limit=4, checkpoint_every=0.0)
    for name in ("checkpoint.pt", "checkpoint-before.pt"):
        state = torch.load(tmp_path / "run" / name, weights_only=True)["state"]
        assert (state["step"], state["skipped"]) == (kept if name == "checkpoint.pt" else kept - 1, 0)


def test_single_ones_do_not_stop_it(train_digits, spoilt):
    with spoilt({1, 3, 5, 7, 9}):
        run = train_digits(nonfinite_limit=2)
    assert [incident["step"] for incident in run.card().provenance["incidents"]] == [2, 4, 6, 8, 10]


def test_it_stops_at_once_where_asked(train_digits, spoilt):
    with spoilt({7}), pytest.raises(FloatingPointError, match="the loss is nan in step 8; lower --lr"):
        train_digits(nonfinite="stop")


def test_it_is_rolled_back_at_half_the_rate(train_digits, spoilt, stop_at, monkeypatch):
    """Twice the pictures are spoilt, until the rate has been halved twice."""
    whole = accumulation.gradients

    def until_slow(job, batch):
        if job.state.rollbacks < 2 and job.state.step >= 8:
            batch.images[0] = torch.nan
        return whole(job, batch)

    options = {"nonfinite": "rollback", "nonfinite_limit": 2, "schedule": "cosine", "warmup": 0.0, "lr": 0.1}
    monkeypatch.setattr(accumulation, "gradients", until_slow)
    run = train_digits("rolled", **options)
    assert [row["lr"] for row in run.history()] == pytest.approx(
        [0.05 * (1 + 0.25882), 0.25 * 0.05 * (1 - 0.96593)], rel=1e-3
    )
    told = [incident["what"] for incident in run.card().provenance["incidents"]]
    assert [("left out" in what, "half the rate" in what) for what in told] == 2 * [*2 * [(True, False)], (False, True)]
    with stop_at(11), pytest.raises(InterruptedTraining):
        train_digits("stopped", **options)
    again = resume(run.folder.with_name("stopped"), console=QUIET)
    expected, found = read_tensors(run.weights_path), read_tensors(again.weights_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_going_back_ends_too(train_digits, spoilt):
    with spoilt(range(2, 12)), pytest.raises(FloatingPointError, match="has diverged"):
        train_digits(nonfinite="rollback", nonfinite_limit=2)
