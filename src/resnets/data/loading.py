"""From a data set to batches of uint8 pictures, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from resnets.data.cache import Pictures, open_cache, write_cache
from resnets.data.dataset import Dataset, UnreadablePictureError
from resnets.data.order import LANES, balanced, by_shards, grouped, permutation, shards
from resnets.data.reading import available_processors, for_each, physical_memory
from resnets.data.remote import fetched_ahead
from resnets.data.samples import Step, Views
from resnets.data.transforms import Augmentation
from resnets.types import Batch, Preprocessing

MEMORY_LIMIT = 2 << 30
"""Bytes of decoded pictures that a loader keeps in memory by default."""

MEMORY = "memory"
"""The cache that keeps decoded pictures in memory, however many; any other is a folder."""

ALL_MEMORY = sys.maxsize
"""Bytes: as many as there are."""

_SMALLEST_SHARD = 2  # of training: batch norm has no variance of a single picture


class Loader:
    """Batches of one split, as often as asked for.

    If all decoded pictures fit into `memory_limit` they are read once, when the first batch is asked for, and
    kept; with a folder as `cache` they are written there, once for all trainings, and read from there; otherwise they
    are decoded in every epoch. All give the same batches. Pictures are brought to the network's input size here: by the
    evaluation's `view`, or by `random_view` where `augmentation` cuts random parts before resizing. All else of
    `augmentation` is `transforms.prepare`'s part.

    The next batches are read while one is used; without workers each is read when it is asked for, which on a CPU is
    steadier where epochs are short, as every epoch has new processes.

    Args:
        dataset: the pictures.
        preprocessing: their size and channels.
        batch_size: pictures of one step, over all processes together.
        augmentation: of training; None for evaluation.
        seed: of the order and of the random views.
        shuffle: True for training: a new order in every epoch, of shards that of `order.by_shards`, and a last batch is
            left out if it has fewer than two pictures for a process. False: the order in which they are stored, every
            picture once.
        balanced: of training, equally many pictures of each class in an epoch; see `order.balanced`. A batch's
            `indices` are then numbers of draws. Of masks, windows that show a class drawn from those in the picture.
        per_class: of training, pictures of each class in a batch, which holds as many classes as have room; see
            `order.grouped`. 0 for batches at random.
        rank, world_size: this process and how many there are; see `order.shards` for who gets what.
        workers: processes (or threads, from memory) that read ahead; by default one a processor. With 0 nothing is read
            ahead, and threads read a batch, one a processor.
        memory_limit: bytes.
        cache: a folder, or "memory" to keep everything there whatever the limit is.
        fingerprint: of the data set, by which its pictures are found in a folder; see `Data.fingerprint`.
    """

    def __init__(
        self,
        dataset: Dataset,
        preprocessing: Preprocessing,
        batch_size: int,
        *,
        shuffle: bool,
        balanced: bool = False,
        per_class: int = 0,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        workers: int | None = None,
        memory_limit: int = MEMORY_LIMIT,
        cache: str | Path | None = None,
        fingerprint: str = "",
    ) -> None:
        self.dataset = dataset
        self.shuffle = shuffle
        self.balanced = balanced
        self.per_class = per_class
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.workers = available_processors() if workers is None else workers
        self.memory_limit = ALL_MEMORY if cache == MEMORY else memory_limit
        self.cache = None if cache is None or cache == MEMORY else Path(cache)
        self.fingerprint = fingerprint
        if dataset.remote and (balanced or per_class):
            raise ValueError(
                "balance sampling and per_class draw from everywhere, and the shards are read one after another from "
                "elsewhere; bring them to this machine, or leave these out"
            )
        self._views = Views(
            dataset, preprocessing, augmentation or Augmentation(), seed, balanced and dataset.has_masks
        )
        smallest = world_size * (_SMALLEST_SHARD if shuffle else 1)
        if batch_size < smallest or (shuffle and len(dataset) < smallest):
            raise ValueError(
                f"{world_size} processes need batches of at least {smallest} pictures in all; "
                f"batch_size is {batch_size}, and {dataset.split} has {len(dataset)} pictures"
            )

    def __len__(self) -> int:
        """Steps of an epoch on this process."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest >= self._least_last)

    @property
    def _least_last(self) -> int:
        """Pictures that the last batch of all processes must have to be taken here."""
        return _SMALLEST_SHARD * self.world_size if self.shuffle else self.rank + 1

    @cached_property
    def in_memory(self) -> bool:
        """Whether all pictures are kept decoded, in memory or in a folder that is mapped into it.

        Raises:
            ValueError: if they are to be kept in memory and are larger than that.
        """
        if self.cache is not None:
            return True
        needed = self._views.nbytes()
        if self.memory_limit == ALL_MEMORY and needed > physical_memory():
            raise ValueError(
                f"the decoded pictures of {self.dataset.split} take about {needed / 1e9:,.0f} GB, more memory than "
                "there is; give a folder as --cache"
            )
        return needed <= self.memory_limit

    def epoch(self, epoch: int, start_step: int = 0, size: tuple[int, int] | None = None) -> Iterator[Batch]:
        """The batches of an epoch from a step on; the same ones every time they are asked for.

        Random parts of pictures are resized to `size`, by default that of the preprocessing; what is the same in every
        epoch is not, which is left to `transforms.prepare`.

        Raises:
            UnreadablePictureError: at a picture that cannot be decoded; `audit.readable` finds them
            beforehand.
        """
        count = len(self.dataset)
        order = self._order(epoch)
        if self.balanced and not self.dataset.has_masks:
            order = balanced(self.seed, epoch, self.dataset.targets)
        if self.per_class:
            order = grouped(self.seed, epoch, self.dataset.targets, self.batch_size, self.per_class)
        steps = shards(order, self.batch_size, self.rank, self.world_size)[start_step : len(self)]
        views = self._views if self._views.fixed else replace(self._views, size=size)
        read = self._from_memory if self.in_memory else self._decoded
        for images, indices in read(views, epoch, steps):
            if self.dataset.has_masks:
                yield Batch(images[:, :-1], images[:, -1], _pin(indices))
                continue
            objects = self._views.objects(epoch, indices)
            yield Batch(images, _pin(self.dataset.targets[indices % count]), _pin(indices), objects)

    def fill_cache(self, folder: Path) -> Pictures:
        """What the folder keeps of the pictures, which is written now if it is not there or not whole.

        Raises:
            OSError: if there is no room, or it cannot be written.
        """
        key, count, channels = self._views.key(self.fingerprint), len(self.dataset), self._views.channels
        found = open_cache(folder, key, count, channels)
        if found is None:
            write_cache(folder, key, for_each(self.dataset, self._views.kept), self._views.nbytes())
            found = open_cache(folder, key, count, channels)
        if found is None:
            raise OSError(f"what was written to {folder} is not there; give another folder as --cache")
        return found

    def _order(self, epoch: int) -> Tensor:
        """All samples, at random for training, and of shards so that these are read from beginning to end."""
        stored, shards = self.dataset.stored_order(), self.dataset.shards
        if self.shuffle and shards is not None:
            return by_shards(self.seed, epoch, shards, stored.argsort())
        if self.shuffle:
            return permutation(self.seed, epoch, len(self.dataset))
        return torch.arange(len(self.dataset)) if shards is None else stored

    def _decoded(self, views: Views, epoch: int, steps: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Decoded by worker processes, a step each at a time, or by threads; shards elsewhere are fetched before."""
        if self.workers:
            decoded = self._sound(self._by_workers(views, epoch, steps))
        else:
            decoded = self._by_threads(views.picture, views, epoch, steps)
        if not self.dataset.remote:
            yield from decoded
            return
        with fetched_ahead(self.dataset.fetch, self._needed(steps), LANES) as progress:
            for number, step in enumerate(decoded):
                progress.at(number)
                yield step

    def _needed(self, steps: list[Tensor]) -> list[tuple[int, int]]:
        """The first step that needs a shard, and its number, of all shards in that order."""
        first: dict[int, int] = {}
        of = self.dataset.shards
        assert of is not None, "what is remote lies in shards"
        for number, indices in enumerate(steps):
            for shard in of[indices % len(of)].unique().tolist():
                first.setdefault(shard, number)
        return [(number, shard) for shard, number in first.items()]

    def _by_workers(self, views: Views, epoch: int, steps: list[Tensor]) -> Iterator[Step]:
        """What worker processes give, which begin at once, before there is a thread, which they must not copy."""
        loader = DataLoader(
            views,
            sampler=[(epoch, indices) for indices in steps],
            batch_size=None,
            num_workers=min(self.workers, len(steps)),
            pin_memory=torch.cuda.is_available(),
        )
        with _handler_of_ended_children_kept():
            return iter(loader)

    def _sound(self, decoded: Iterator[Step]) -> Iterator[tuple[Tensor, Tensor]]:
        """The steps, up to a picture that cannot be read."""
        while (step := self._next(decoded)) is not None:
            if isinstance(step, UnreadablePictureError):
                raise step
            yield step

    def _next(self, decoded: Iterator[Step]) -> Step | None:
        """What the worker processes give next; None at the end."""
        try:
            return next(decoded, None)
        except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
            # The loader says so of a worker that it waits for; one that ends while it hands over a batch leaves a
            # broken connection, and what went wrong in a worker that is alive begins with "Caught".
            if "Caught" in str(error) or (isinstance(error, RuntimeError) and "exited unexpectedly" not in str(error)):
                raise
            raise ChildProcessError(
                f"one of the {self.workers} processes that decode pictures was ended from outside, most likely because "
                "the memory ran out; ask for fewer of them (workers) or for smaller batches"
            ) from error

    def _from_memory(self, views: Views, epoch: int, steps: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        kept = self._kept
        if isinstance(kept, Tensor):
            yield from ((_pin(kept[indices % len(kept)]), indices) for indices in steps)
            return
        yield from self._by_threads(kept.__getitem__, views, epoch, steps)

    def _by_threads(
        self, picture: Callable[[int], Tensor], views: Views, epoch: int, steps: list[Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Cut by threads from what `picture` gives; they suffice, as decoding and resizing let go of Python's lock."""

        def seen(index: int) -> Tensor:
            return views.view(picture, epoch, index)

        at_once = 2 if self.workers else 1  # steps
        with ThreadPoolExecutor(self.workers or available_processors()) as pool:
            ahead: list[list[Future[Tensor]]] = []
            for number, indices in enumerate(steps):
                later = steps[number + len(ahead) : number + at_once]
                ahead.extend([pool.submit(seen, i) for i in step.tolist()] for step in later)
                yield _pin(torch.stack([future.result() for future in ahead.pop(0)])), indices

    @cached_property
    def _kept(self) -> Tensor | Sequence[Tensor] | Pictures:
        """All views in one tensor where they are fixed; otherwise all pictures, each of its own size."""
        if self.cache is not None:
            pictures = self.fill_cache(self.cache)
            return pictures.together() if self._views.fixed else pictures
        if not self._views.fixed:
            return list(for_each(self.dataset, self._views.picture))
        views = torch.empty(
            (len(self.dataset), self._views.channels, *self._views.preprocessing.size),
            dtype=torch.uint8,
        )

        def read(index: int) -> None:
            views[index] = self._views.kept(index)

        for _ in for_each(self.dataset, read):
            pass
        return views


@contextmanager
def _handler_of_ended_children_kept() -> Iterator[None]:
    """Undo a change of what happens when a child process ends.

    PyTorch's loader sets a handler and leaves it. Called when a child of another kind ends, such as a compiler, it has
    crashed the process; and it is not needed, as the loader looks after its workers while it waits for them.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():  # may set no handlers
        yield
        return
    handler = signal.getsignal(signal.SIGCHLD)
    yield
    signal.signal(signal.SIGCHLD, handler)


def _pin(tensor: Tensor) -> Tensor:
    """In page-locked memory, from which a GPU copies while it computes, where there is a GPU."""
    return tensor.pin_memory() if torch.cuda.is_available() and not tensor.is_pinned() else tensor
