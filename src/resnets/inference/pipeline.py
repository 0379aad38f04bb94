"""Reading and computing at the same time: items in, results out, in order, in memory that does not grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Result = TypeVar("Result")


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of so many items, the last of what is left; where the items end by an exception, it follows the last."""
    chunk: list[Item] = []
    try:
        for item in items:
            chunk.append(item)
            if len(chunk) == size:
                yield chunk
                chunk = []
    except Exception:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def in_batches(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    compute: Callable[[list[Read]], list[Result]],
    batch_size: int,
    readers: int,
    parallel: int = 1,
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in order.

    Threads suffice, as decoding, resizing and networks let go of Python's lock. Items are asked for as far ahead as
    keeps the threads at work: two batches for each that is computed, and one more. A thread that would compute a batch
    and finds parts of it that nobody has begun to read reads them itself, so that few readers suffice where computing
    takes long, and all threads read where it does not. Where items end by an exception, it is raised after the results
    for all items before it.

    Args:
        items: any number of them, also without an end.
        read: what is done to each by itself.
        compute: what is done to a batch that is read, giving a result for each.
        batch_size: items of a batch; the last has what is left.
        readers: threads that do nothing but read.
        parallel: batches that are computed at the same time.
    """
    left = chunks(items, batch_size)
    ahead: deque[tuple[list[Item], Future[list[Result]]]] = deque()
    reading = ThreadPoolExecutor(readers, "reading")
    computing = ThreadPoolExecutor(parallel, "computing")

    def batch(chunk: list[Item], parts: list[Future[Read]]) -> list[Result]:
        both = zip(chunk, parts, strict=True)
        return compute([read(item) if part.cancel() else part.result() for item, part in both])

    failure: Exception | None = None
    try:
        while True:
            try:
                chunk = next(left, None)
            except Exception as error:
                failure = error
                break
            if chunk is None:
                break
            parts = [reading.submit(read, item) for item in chunk]
            ahead.append((chunk, computing.submit(batch, chunk, parts)))
            while ahead and (len(ahead) > 2 * parallel or ahead[0][1].done()):
                done, results = ahead.popleft()
                yield from zip(done, results.result(), strict=True)
        for done, results in ahead:
            yield from zip(done, results.result(), strict=True)
        if failure is not None:
            raise failure
    finally:  # also where nobody asks for the rest
        reading.shutdown(wait=False, cancel_futures=True)
        computing.shutdown(wait=False, cancel_futures=True)
