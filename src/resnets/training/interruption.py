"""Stopping between two steps, so that nothing is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


class InterruptedTraining(Exception):  # noqa: N818 - it is no error: the run goes on where it stands
    """A training was asked to stop, and has saved where it stands."""


@dataclass
class Interruption:
    """Whether a signal has asked the training to stop."""

    requested: bool = False


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn the first SIGINT or SIGTERM into a request; a second SIGINT stops at once.

    Signals can be caught in the main thread alone; elsewhere this does nothing.
    """
    interruption = Interruption()

    def request(_number: int, _frame: FrameType | None) -> None:
        interruption.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread
        before = {}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
