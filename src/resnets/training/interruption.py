"""Stopping between two steps, so that nothing is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C; what asks a program to end; what SLURM sends before the time is up, asked by `sbatch --signal=USR1@60`."""


class InterruptedTraining(Exception):  # noqa: N818 - it is no error: the run goes on where it stands
    """A training was asked to stop, and has saved where it stands."""


@dataclass
class Interruption:
    """Whether a signal has asked the training to stop."""

    requested: bool = False


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turn the first of `SIGNALS` into a request; a second SIGINT stops at once.

    Signals can be caught in the main thread alone; elsewhere this does nothing.
    """
    interruption = Interruption()

    def request(_number: int, _frame: FrameType | None) -> None:
        interruption.requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        before = {number: signal.signal(number, request) for number in SIGNALS}
    except ValueError:  # not the main thread
        before = {}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
