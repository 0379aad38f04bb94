"""Gathering the work of many callers: fast ones by themselves, slow ones together, each its own result."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from resnets.serving.batching import Batcher, QueueFullError


def test_what_waits_while_a_batch_is_computed_is_the_next_batch():
    seen, first, go_on = [], threading.Event(), threading.Event()

    def compute(batch: list[int]) -> list[int]:
        seen.append(sorted(batch))
        first.set()
        assert go_on.wait(20)
        return [2 * item for item in batch]

    async def ask() -> list[list[int]]:
        batcher = Batcher(lambda item: item + 100, compute, batch_size=4, queue=100, readers=2)
        alone = asyncio.create_task(batcher.results([0]))
        await asyncio.to_thread(first.wait, 20)
        others = [asyncio.create_task(batcher.results([2 * number, 2 * number + 1])) for number in range(1, 4)]
        while len(batcher._ready) < 6:
            await asyncio.sleep(0.01)
        go_on.set()
        found = await asyncio.gather(alone, *others)
        await batcher.close()
        return found

    assert asyncio.run(ask()) == [[200], [204, 206], [208, 210], [212, 214]]
    assert [len(batch) for batch in seen] == [1, 4, 2]


@pytest.mark.parametrize(("ahead", "most"), [(None, 2 + 4), (1, 2 + 1)])
def test_few_items_are_read_ahead(ahead, most):
    """However many wait, those in memory as pixels are two batches, or as many as were asked for."""
    read, go_on = [], threading.Event()

    async def ask() -> int:
        batcher = Batcher(
            lambda item: read.append(item), lambda batch: go_on.wait(20) and batch, 2, 100, readers=1, ahead=ahead
        )
        asking = asyncio.create_task(batcher.results(range(50)))
        await asyncio.sleep(0.3)
        there = len(read)
        go_on.set()
        await asking
        await batcher.close()
        return there

    assert asyncio.run(ask()) <= most
    assert read == list(range(50))


def test_batches_side_by_side():
    together = threading.Barrier(3)

    def compute(batch: list[int]) -> list[int]:
        together.wait(20)  # breaks unless three are here at once
        return batch

    async def ask() -> list[int]:
        batcher = Batcher(lambda item: item, compute, batch_size=1, queue=9, readers=3, parallel=3)
        found = await batcher.results(range(9))
        await batcher.close()
        return found

    assert asyncio.run(ask()) == list(range(9))


def test_a_full_queue_takes_nothing_and_says_when_to_ask_again():
    def compute(batch: list[int]) -> list[int]:
        time.sleep(0.05 * len(batch))
        return batch

    async def ask() -> float:
        batcher = Batcher(lambda item: item, compute, batch_size=2, queue=60, readers=1)
        await batcher.results([1, 2])  # so that it is known how long items take
        asking = asyncio.create_task(batcher.results(range(60)))
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFullError) as full:
            await batcher.results([1])
        assert batcher.taken == 60
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert batcher.taken == 0
        assert await batcher.results([7]) == [7]
        await batcher.close()
        return full.value.retry_after

    assert asyncio.run(ask()) > 2.5  # 60 items of 0.05 s, or more on a busy machine


def test_an_error_is_that_of_its_caller_alone():
    def read(item: int) -> int:
        if item < 0:
            raise ValueError("negative")
        return item

    async def ask() -> None:
        batcher = Batcher(read, lambda batch: [1 // item for item in batch], batch_size=1, queue=9, readers=2)
        bad, worse, good = await asyncio.gather(
            batcher.results([-1, 1]), batcher.results([0]), batcher.results([1]), return_exceptions=True
        )
        assert isinstance(bad, ValueError)
        assert isinstance(worse, ZeroDivisionError)
        assert good == [1]
        await batcher.close()

    asyncio.run(ask())


def test_closing_waits_for_what_was_taken():
    done = []

    async def ask() -> None:
        batcher = Batcher(lambda item: item, lambda batch: time.sleep(0.1) or batch, 1, 9, readers=1)
        asking = asyncio.create_task(batcher.results([1, 2]))
        asking.add_done_callback(lambda task: done.append(task.result()))
        await asyncio.sleep(0.01)
        await batcher.close()
        await asyncio.sleep(0)
        assert done == [[1, 2]]

    asyncio.run(ask())
