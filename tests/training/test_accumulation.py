"""Batches in parts are the same step; batches that do not fit into memory are cut by themselves."""

from __future__ import annotations

from copy import deepcopy
from io import StringIO
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

from resnets.data.opening import open_dataset
from resnets.runs.run import Run
from resnets.tasks import create_task
from resnets.training import accumulation, fit
from resnets.training.engine import create_engine, engine_facts
from resnets.training.interruption import InterruptedTraining
from resnets.training.job import Job, create_job
from resnets.training.plan import plan
from resnets.training.recipe import Recipe
from resnets.training.train import resume
from resnets.types import IGNORED, Batch
from resnets.weights.files import read_tensors

QUIET = Console(quiet=True)


@pytest.fixture
def job(tmp_path):
    """A training of resnet8 on digits that has not begun; keywords change the recipe."""

    def make(**changes: object) -> Job:
        fabric = create_engine("32-true", "cpu")
        fabric.launch()
        data = open_dataset("digits")
        options = {"batch_size": 32, "norm": "group", **changes}
        card = plan(data, model="resnet8", recipe="quick", size=8, changes=options)
        card.provenance.update(engine_facts(fabric), logger=None)
        return create_job(fabric, lambda _: Run(tmp_path / "run"), card, data, None)

    return make


def step(job: Job, first: int = 0) -> dict[str, torch.Tensor]:
    """All that a step leaves behind: weights, averages, momentum, sums."""
    job.network.train()
    fit.train_step(job, next(job.train.epoch(0, first)), 0, 0.05)
    momentum = {f"momentum {n}": s["momentum_buffer"] for n, s in enumerate(job.optimiser.state.values())}
    average = {} if job.average is None else {f"average {k}": v for k, v in job.average.state_dict().items()}
    return {**job.bare_network.state_dict(), **momentum, **average, "totals": job.state.totals}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mixup": 0.2, "cutmix": 1.0, "erasing": 0.5, "ema": 0.9, "clip_norm": 0.1},
        {"optimizer": "muon", "lr": 0.05, "momentum": 0.6},
        {"balance": "loss", "label_smoothing": 0.1},
        {"per_class": 4},
    ],
    ids=["plain", "mixed, averaged and clipped", "muon", "weighed by class", "by class"],
)
@pytest.mark.parametrize("parts", [2, 5, 32])
def test_a_batch_in_parts_is_the_same_step(job, changes, parts):
    whole, cut = step(job(**changes)), step(job(**changes, accumulate=parts))
    assert whole.keys() == cut.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


def test_gradients_of_a_linear_network_are_those_of_the_formula(job):
    """The derivative of the mean cross-entropy by the logits is (softmax - truth) / N."""
    made = job(accumulate=3, batch_size=8)
    images, targets = torch.randn(8, 1, 2, 2), torch.randint(10, (8,))
    layer = nn.Sequential(nn.Flatten(), nn.Linear(4, 10))
    made.network = made.fabric.setup_module(layer)
    loss, _ = accumulation.gradients(made, Batch(images, targets, torch.arange(8)))
    residuals = (layer[1](images.flatten(1)).softmax(1) - nn.functional.one_hot(targets, 10)) / 8
    torch.testing.assert_close(layer[1].weight.grad, residuals.T @ images.flatten(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(layer[1](images.flatten(1)), targets))


def test_batch_norm_takes_its_statistics_from_parts(job):
    whole, cut = step(job(norm="batch")), step(job(norm="batch", accumulate=4))
    assert not torch.allclose(whole["conv1.weight"], cut["conv1.weight"], atol=1e-6)
    assert (whole["bn1.num_batches_tracked"], cut["bn1.num_batches_tracked"]) == (1, 4)


def test_pixels_count_alike_in_parts_of_unlike_masks():
    """The mean over the pixels that count is that of the parts, each weighed by its pixels."""
    task = create_task("segmentation", ("a", "b", "c"), class_weights=torch.tensor([1.0, 2.0, 4.0]))
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, 4, 4, generator=generator)
    targets = torch.randint(3, (5, 4, 4), generator=generator).byte()
    targets[0], targets[1, :2] = IGNORED, IGNORED
    whole = Batch(logits, targets, torch.arange(5))
    parts = whole.parts(4)
    weights = torch.stack([torch.as_tensor(task.weight(part)) for part in parts])
    losses = torch.stack([task.loss(part.images, part) for part in parts])
    torch.testing.assert_close((losses * weights).sum() / weights.sum(), task.loss(logits, whole))


def test_parts_are_as_small_as_asked_for_and_none_is_a_picture_alone(job):
    made = job(batch_size=64, accumulate=8)
    assert [accumulation.count_of_parts(made, pictures) for pictures in (64, 60, 17, 9, 8, 3, 2)] == [
        8,
        8,
        3,
        2,
        1,
        1,
        1,
    ]
    assert [len(part) for part in step_batch(made, 30).parts(4)] == [8, 8, 7, 7]
    assert [accumulation.count_of_parts(job(batch_size=4, accumulate=4), n) for n in (4, 3)] == [4, 3]


@pytest.mark.parametrize("processes", [2, 3])
def test_all_processes_compute_as_many_parts_of_parts_as_small(processes):
    """They exchange something in each part, and would wait for each other for ever."""
    for pictures in range(2 * processes, 65):
        shares = [len(range(rank, pictures, processes)) for rank in range(processes)]
        for accumulate in (1, 2, 5, 21):
            made = SimpleNamespace(
                fabric=SimpleNamespace(world_size=processes),
                recipe=SimpleNamespace(batch_size=64),
                accumulate=accumulate,
            )
            parts = accumulation.count_of_parts(made, pictures)
            largest = accumulation.part_of_a_batch(made)
            sizes = [len(part) for share in shares for part in torch.arange(share).tensor_split(parts)]
            assert min(sizes) >= min(2, largest)
            assert max(sizes) <= largest + 2  # where one picture alone would be a part


@pytest.mark.parametrize("sizes", [(3, 2), (1, 4)])
def test_weights_of_classes_count_alike_in_all_processes(sizes):
    """The mean of the processes' losses, as they count, is the loss of their pictures together."""
    task = create_task("classification", ("a", "b"), class_weights=torch.tensor([1.0, 9.0]))
    logits, targets = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 0, 1])
    whole = Batch(logits, targets, torch.arange(5))
    parts = (tensor.split(sizes) for tensor in (logits, targets, torch.arange(5)))
    batches = [Batch(*part) for part in zip(*parts, strict=True)]
    weights = [task.weight(batch) for batch in batches]
    fabric = SimpleNamespace(world_size=2, all_reduce=lambda *_, **__: sum(weights))
    shares = [accumulation.share_of_step(SimpleNamespace(fabric=fabric), weight) for weight in weights]
    losses = [task.loss(batch.images, batch) * share for batch, share in zip(batches, shares, strict=True)]
    torch.testing.assert_close(sum(losses) / 2, task.loss(logits, whole))


def step_batch(made: Job, pictures: int) -> Batch:
    batch = next(made.train.epoch(0))
    return Batch(batch.images[:pictures], batch.targets[:pictures], batch.indices[:pictures])


def test_a_training_in_parts_goes_on_where_it_was_stopped(train_digits, stop_at):
    changes = {"accumulate": 3, "ema": 0.9, "mixup": 0.2}
    whole = train_digits("whole", **changes)
    with stop_at(9), pytest.raises(InterruptedTraining):
        train_digits("stopped", **changes)
    stopped = resume(whole.folder.with_name("stopped"), console=QUIET)
    expected, found = read_tensors(whole.weights_path), read_tensors(stopped.weights_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes. Error code 12"),
        MemoryError(),
    ],
    ids=["GPU", "processor", "Python"],
)
def test_a_batch_that_does_not_fit_is_computed_in_parts(train_digits, monkeypatch, error):
    """From the second step on, no more than 64 pictures fit: from there, the training is one in four parts."""
    steps, whole = [], accumulation.gradients

    def scarce(job, batch):
        if job.state.step >= 1 and accumulation.part_of_a_batch(job) > 64:
            job.bare_network.conv1.weight.grad = torch.ones(16, 1, 3, 3)
            raise error
        steps.append((job.state.step, accumulation.count_of_parts(job, job.pictures_of_step)))
        return whole(job, batch)

    monkeypatch.setattr(accumulation, "gradients", scarce)
    console = Console(file=StringIO(), width=200)
    options = {"norm": "group", "optimizer": "sgd", "lr": 0.001, "momentum": 0.9}
    run = train_digits(console=console, **options)
    assert steps[:4] == [(0, 1), (1, 4), (2, 4), (3, 4)]
    assert len(steps) == 12
    (first, second) = run.card().provenance["incidents"]
    assert (first["epoch"], first["step"], second["step"]) == (1, 2, 2)
    assert "128 pictures at a time do not fit into memory: from here on 64, 4 times for each step" in second["what"]
    assert console.file.getvalue().count("do not fit into memory") == 2
    assert "do not fit into memory" in run.report_path.read_text()
    monkeypatch.undo()
    enough = train_digits("enough", **options)
    expected, found = read_tensors(enough.weights_path), read_tensors(run.weights_path)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_what_does_not_fit_at_all_is_said(train_digits, monkeypatch):
    def never(job, batch):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(accumulation, "gradients", never)
    with pytest.raises(MemoryError, match="not even a single picture of 8 x 8 fits into memory; try --memory low"):
        train_digits(batch_size=8)


def test_other_errors_are_not_taken_for_it(train_digits, monkeypatch):
    def broken(job, batch):
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(accumulation, "gradients", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        train_digits()


def test_an_attempt_that_does_not_fit_leaves_no_trace(job):
    made = job(norm="batch")
    before = deepcopy(dict(made.bare_network.named_buffers()))
    made.statistics.keep()
    images = torch.randn(4, 1, 8, 8)
    made.bare_network.train()(images).sum().backward()
    assert not torch.equal(before["bn1.running_mean"], made.bare_network.bn1.running_mean)
    accumulation.halve(made, Batch(images, torch.zeros(4, dtype=torch.int64), torch.arange(4)))
    assert made.accumulate == 2
    assert all(parameter.grad is None for parameter in made.bare_network.parameters())
    for name, buffer in made.bare_network.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_what_is_refused():
    with pytest.raises(ValueError, match="at most as many parts as pictures"):
        Recipe(batch_size=4, accumulate=5)
    with pytest.raises(ValueError, match="accumulate would do nothing with head_only"):
        Recipe(head_only="sgd", accumulate=2)
