"""Items of many callers, gathered into batches: what waits while a batch is computed is the next batch.

Nothing waits for a batch to fill: under light load an item is computed by itself at once, and the more there is to do,
the fuller the batches become. All bookkeeping happens on the event loop's thread, so that there are no locks; reading
and computing happen on threads, as in `inference.pipeline`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Result = TypeVar("Result")

SMOOTHING = 0.1
"""The weight of the latest batch in the mean time of an item."""


class QueueFullError(Exception):
    """More items than the queue takes; `retry_after` says in how many seconds there will probably be room."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the queue is full; ask again in {retry_after:.0f} s")
        self.retry_after = retry_after


@dataclass(eq=False)
class _Asked(Generic[Item, Result]):
    item: Item
    result: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher(Generic[Item, Read, Result]):
    """Work that is done in batches, for any number of callers on one event loop.

    Args:
        read: what is done to each item by itself.
        compute: what is done to a batch that is read, giving a result for each.
        batch_size: the most items of a batch.
        queue: the most items that are taken on at a time.
        readers: threads that read.
        parallel: batches that are computed at the same time.
        observe: told the size and the seconds of each batch.
        ahead: the most items that are read and not yet computed; by default two batches for each that is computed.
    """

    def __init__(
        self,
        read: Callable[[Item], Read],
        compute: Callable[[list[Read]], list[Result]],
        batch_size: int,
        queue: int,
        readers: int,
        parallel: int = 1,
        observe: Callable[[int, float], None] = lambda _size, _seconds: None,
        ahead: int | None = None,
    ) -> None:
        self.queue = queue
        self._read, self._compute, self._observe = read, compute, observe
        self._batch_size, self._readers, self._parallel = batch_size, readers, parallel
        self._ahead = max(ahead or 2 * batch_size * parallel, readers)  # so that few items are in memory as pixels
        self._unread: deque[_Asked[Item, Result]] = deque()
        self._ready: deque[tuple[_Asked[Item, Result], Read]] = deque()
        self._reading = self._computing = 0
        self._taken: set[asyncio.Future[Result]] = set()
        self._item_seconds = 0.0
        self._read_threads = ThreadPoolExecutor(readers, "reading")
        self._compute_threads = ThreadPoolExecutor(parallel, "computing")

    @property
    def taken(self) -> int:
        """Items that are waiting, read or computed."""
        return len(self._taken)

    async def results(self, items: Sequence[Item]) -> list[Result]:
        """The result of each item; a caller that is cancelled takes back what is not begun.

        Raises:
            QueueFullError: if they do not all fit into the queue; none is taken on then.
            Exception: whatever reading or computing raises.
        """
        if self.taken + len(items) > self.queue:
            raise QueueFullError(max(self.taken * self._item_seconds, 1.0))
        asked: list[_Asked[Item, Result]] = [_Asked(item) for item in items]
        for each in asked:
            self._taken.add(each.result)
            each.result.add_done_callback(self._taken.discard)
        self._unread.extend(asked)
        self._advance()
        return await asyncio.gather(*(each.result for each in asked))

    async def close(self) -> None:
        """Wait until all that was taken on is done, and let the threads go."""
        while self._taken:
            await asyncio.wait(self._taken)
        self._read_threads.shutdown(wait=False)
        self._compute_threads.shutdown(wait=False)

    def _advance(self) -> None:
        """Begin whatever can be begun."""
        loop = asyncio.get_running_loop()
        while self._ready and self._computing < self._parallel:
            batch = [self._ready.popleft() for _ in range(min(len(self._ready), self._batch_size))]
            batch = [(asked, read) for asked, read in batch if not asked.result.done()]
            if batch:
                self._computing += 1
                computed = loop.run_in_executor(self._compute_threads, self._timed, [read for _, read in batch])
                computed.add_done_callback(partial(self._was_computed, [asked for asked, _ in batch]))
        while self._unread and self._reading < self._readers and self._reading + len(self._ready) < self._ahead:
            asked = self._unread.popleft()
            if asked.result.done():  # taken back
                continue
            self._reading += 1
            read = loop.run_in_executor(self._read_threads, self._read, asked.item)
            read.add_done_callback(partial(self._was_read, asked))

    def _timed(self, batch: list[Read]) -> tuple[list[Result], float]:
        began = time.perf_counter()
        results = self._compute(batch)
        return results, time.perf_counter() - began

    def _was_read(self, asked: _Asked[Item, Result], read: asyncio.Future[Read]) -> None:
        self._reading -= 1
        error = read.exception()
        if error is None:
            self._ready.append((asked, read.result()))
        elif not asked.result.done():
            asked.result.set_exception(error)
        self._advance()

    def _was_computed(
        self, batch: list[_Asked[Item, Result]], computed: asyncio.Future[tuple[list[Result], float]]
    ) -> None:
        self._computing -= 1
        error = computed.exception()
        if error is None:
            results, seconds = computed.result()
            latest = seconds / len(batch) / self._parallel
            self._item_seconds += (latest - self._item_seconds) * (SMOOTHING if self._item_seconds else 1.0)
            self._observe(len(batch), seconds)
            for asked, result in zip(batch, results, strict=True):
                if not asked.result.done():
                    asked.result.set_result(result)
        else:
            for asked in batch:
                if not asked.result.done():
                    asked.result.set_exception(error)
        self._advance()
