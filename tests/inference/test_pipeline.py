"""Reading and computing side by side."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from resnets.inference.pipeline import in_batches


def double(batch: list[int]) -> list[int]:
    return [2 * item for item in batch]


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_results_stand_in_order_whatever_is_done_first(count: int, parallel: int) -> None:
    def read(item: int) -> int:
        time.sleep(0.001 * (item % 3))
        return item

    found = list(in_batches(range(count), read, double, 4, readers=3, parallel=parallel))
    assert found == [(item, 2 * item) for item in range(count)]


def test_only_some_batches_are_asked_for_ahead() -> None:
    asked = itertools.count()
    taken = 0

    def endless():
        nonlocal taken
        for item in asked:
            taken = item + 1
            yield item

    answers = in_batches(endless(), int, double, 5, readers=2, parallel=2)
    for number, _ in zip(range(1000), answers, strict=False):
        assert taken <= number + 5 * (2 * 2 + 2)
    answers.close()


def test_reading_goes_on_while_a_batch_is_computed() -> None:
    """The second batch must be read before the first is computed, or this waits for ever."""
    second_is_read = threading.Event()

    def read(item: int) -> int:
        if item == 3:
            second_is_read.set()
        return item

    def compute(batch: list[int]) -> list[int]:
        assert second_is_read.wait(20)
        return batch

    assert len(list(in_batches(range(4), read, compute, 2, readers=1))) == 4


@pytest.mark.parametrize("count", [0, 3, 4, 30])
def test_items_that_end_by_an_error_are_answered_before_it(count: int) -> None:
    def items():
        yield from range(count)
        raise FileNotFoundError("no more")

    found = []
    with pytest.raises(FileNotFoundError, match="no more"):
        found.extend(in_batches(items(), int, double, 4, readers=2, parallel=2))
    assert found == [(item, 2 * item) for item in range(count)]


def test_an_error_of_the_network_reaches_who_asks() -> None:
    def compute(batch: list[int]) -> list[int]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(in_batches(range(4), int, compute, 2, readers=1))
