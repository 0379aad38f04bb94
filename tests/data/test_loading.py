from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from resnets.data.dataset import Dataset, UnreadablePictureError
from resnets.data.loading import Loader
from resnets.data.opening import open_dataset
from resnets.data.transforms import Augmentation
from resnets.data.views import random_view, view
from resnets.types import Batch, Preprocessing

Paint = Callable[..., Path]
SMALL = Preprocessing((8, 8), 3, (0.5,) * 3, (0.5,) * 3, crop=0.8)
CROPS = Augmentation(scale=(0.2, 1.0), flip=True)


@pytest.fixture
def train(paint: Paint) -> Dataset:
    """Sixteen training pictures."""
    folder = paint(*(f"{c}/{i}.png" for c in ("a", "b") for i in range(10)), size=(17, 21))
    return open_dataset(folder).splits["train"]


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets) and torch.equal(a.indices, b.indices)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("augmentation", [None, CROPS])
def test_memory_threads_and_worker_processes_give_the_same_batches(
    train: Dataset, augmentation: Augmentation | None
) -> None:
    kept, kept_beside, decoded, decoded_beside = (
        Loader(train, SMALL, 5, shuffle=True, augmentation=augmentation, workers=workers, memory_limit=limit)
        for limit in (1 << 20, 0)
        for workers in (0, 2)
    )
    assert kept.in_memory
    assert not decoded.in_memory
    for epoch in (0, 3):
        expected = list(kept.epoch(epoch))
        for other in (kept_beside, decoded, decoded_beside):
            assert same(expected, list(other.epoch(epoch)))


@pytest.mark.parametrize(("workers", "cut"), [(0, 5), (2, 10)])
def test_without_workers_nothing_is_read_ahead(train: Dataset, monkeypatch, workers: int, cut: int) -> None:
    loader, seen = Loader(train, SMALL, 5, shuffle=True, augmentation=CROPS, workers=workers), []
    view = loader._views.view
    monkeypatch.setattr(type(loader._views), "view", lambda _, *which: seen.append(which) or view(*which))
    batches = loader.epoch(0)
    next(batches)
    patient_until = time.monotonic() + 20
    while len(seen) < cut and time.monotonic() < patient_until:
        time.sleep(0.01)
    assert len(seen) == cut


@pytest.mark.parametrize("augmentation", [None, CROPS])
def test_batches_hold_the_views_of_their_pictures(train: Dataset, augmentation: Augmentation | None) -> None:
    loader = Loader(train, SMALL, 4, shuffle=True, augmentation=augmentation, seed=9)
    for batch in loader.epoch(2):
        assert batch.images.dtype == torch.uint8
        assert torch.equal(batch.targets, train.targets[batch.indices])
        for image, index in zip(batch.images, batch.indices.tolist(), strict=True):
            picture = train.picture(index, 3)
            expected = random_view(picture, SMALL, augmentation, 9, 2, index) if augmentation else view(picture, SMALL)
            assert torch.equal(image, expected)


def test_epochs_differ_and_repeat(train: Dataset) -> None:
    loader = Loader(train, SMALL, 4, shuffle=True, seed=1)
    orders = [torch.cat([b.indices for b in loader.epoch(epoch)]).tolist() for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(16))
    other = Loader(train, SMALL, 4, shuffle=True, seed=2)
    assert torch.cat([b.indices for b in other.epoch(0)]).tolist() != orders[0]


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_an_epoch_goes_on_at_a_step(train: Dataset, limit: int) -> None:
    loader = Loader(train, SMALL, 3, shuffle=True, augmentation=CROPS, memory_limit=limit, workers=0)
    whole = list(loader.epoch(1))
    assert len(whole) == len(loader) == 5  # the sixteenth picture would be alone
    for step in range(6):
        assert same(list(loader.epoch(1, start_step=step)), whole[step:])


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_evaluation_sees_every_picture_once_on_any_number_of_processes(train: Dataset, world_size: int) -> None:
    seen = []
    for rank in range(world_size):
        loader = Loader(train, SMALL, 5, shuffle=False, rank=rank, world_size=world_size)
        batches = list(loader.epoch(0))
        assert len(batches) == len(loader)
        assert all(len(batch) > 0 for batch in batches)
        seen += [i for batch in batches for i in batch.indices.tolist()]
    assert sorted(seen) == list(range(16))


@pytest.mark.parametrize(
    ("batch_size", "world_size", "steps"), [(5, 1, 3), (7, 1, 3), (7, 2, 2), (6, 2, 3), (16, 4, 1)]
)
def test_training_leaves_out_a_last_batch_too_small_for_batch_norm(
    train: Dataset, batch_size: int, world_size: int, steps: int
) -> None:
    everyone = []
    for rank in range(world_size):
        loader = Loader(train, SMALL, batch_size, shuffle=True, rank=rank, world_size=world_size)
        batches = list(loader.epoch(0))
        assert len(batches) == len(loader) == steps  # alike on all processes, as they wait for each other
        assert min(len(batch) for batch in batches) >= 2
        everyone.append(batches)
    alone = list(Loader(train, SMALL, batch_size, shuffle=True).epoch(0))
    for step in range(steps):
        together = sorted(i for batches in everyone for i in batches[step].indices.tolist())
        assert together == sorted(alone[step].indices.tolist())


def test_impossible_batches_are_refused(train: Dataset) -> None:
    with pytest.raises(ValueError, match="4 processes need batches of at least 8 pictures"):
        Loader(train, SMALL, 6, shuffle=True, world_size=4)
    with pytest.raises(ValueError, match="train has 1 pictures"):
        Loader(train.subset([0]), SMALL, 6, shuffle=True)
    with pytest.raises(ValueError, match="at least 1 pictures"):
        Loader(train, SMALL, 0, shuffle=False)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_a_broken_picture_is_named_by_every_process(pets: Path, limit: int) -> None:
    train = open_dataset(pets).splits["train"]
    (pets / train.names[3]).write_bytes(b"no picture")
    loader = Loader(train, SMALL, 8, shuffle=False, workers=1, memory_limit=limit)
    with pytest.raises(UnreadablePictureError, match=f"{train.names[3]} cannot be read"):
        list(loader.epoch(0))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_worker_processes_leave_no_handler_behind_and_a_dead_one_is_named(train: Dataset) -> None:
    handler, others = signal.getsignal(signal.SIGCHLD), multiprocessing.active_children()
    batches = Loader(train, SMALL, 2, shuffle=False, workers=1, memory_limit=0).epoch(0)
    next(batches)
    assert signal.getsignal(signal.SIGCHLD) == handler
    (worker,) = (child for child in multiprocessing.active_children() if child not in others)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match="one of the 1 processes that decode pictures was ended"):
        list(batches)


def test_large_photographs_are_kept_no_larger_than_their_views_need(shared_data: Path) -> None:
    train = open_dataset(shared_data / "ants_bees").splits["train"].subset(range(12))
    tiny = Preprocessing((32, 32), 3, (0.5,) * 3, (0.5,) * 3)
    kept = Loader(train, tiny, 6, shuffle=True, augmentation=CROPS)
    decoded = Loader(train, tiny, 6, shuffle=True, augmentation=CROPS, memory_limit=0, workers=0)
    assert same(list(kept.epoch(0)), list(decoded.epoch(0)))
    limit = sum(train.picture(i, 3).nbytes for i in range(12)) // 8
    assert Loader(train, tiny, 6, shuffle=True, augmentation=CROPS, memory_limit=limit).in_memory


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 1.0)], ids=["fixed views", "random views"])
@pytest.mark.parametrize("memory", [1 << 30, 0], ids=["in memory", "decoded"])
def test_a_balanced_loader_repeats_small_classes_under_other_choices(scale, memory):
    digits = open_dataset("digits").splits["train"]
    few = digits.subset(
        [*(digits.targets == 0).nonzero().flatten()[:4], *(digits.targets == 1).nonzero().flatten()[:28]]
    )
    loader = Loader(
        few,
        Preprocessing((8, 8), 1, (0.5,), (0.5,)),
        8,
        shuffle=True,
        balanced=True,
        augmentation=Augmentation(scale=scale),
        memory_limit=memory,
        workers=0,
    )
    batches = list(loader.epoch(0))
    targets, draws = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("targets", "indices"))
    assert targets.bincount().tolist()[:2] == [16, 16]
    assert torch.equal(targets, few.targets[draws % len(few)])
    assert len(draws.unique()) == 32
    images = torch.cat([batch.images for batch in batches])
    same = images[(draws % len(few)) == (draws % len(few))[targets == 0][0]]
    assert len(same) == 4
    assert (len(same.unique(dim=0)) == 1) == (scale == (1.0, 1.0))


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_worker_process_that_dies_while_it_hands_over_a_batch_is_named(train: Dataset, error: Exception) -> None:
    def broken() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        raise error
        yield

    loader = Loader(train, SMALL, 2, shuffle=False, workers=1)
    with pytest.raises(ChildProcessError, match="one of the 1 processes that decode pictures was ended"):
        loader._next(broken())
