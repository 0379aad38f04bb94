"""What every test may ask for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures that some tests read; they skip where it is absent."""
    folder = Path(os.environ.get("RESNETS_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"needs the pictures of RESNETS_DATA; {folder} is not there")
    return folder


@pytest.fixture(autouse=True)
def no_watch_over_workers():
    """Undo what a loader with worker processes leaves behind: a handler of the signal that a child has ended.

    Called while this process waits for a child of another kind, such as a compiler, it has ended the process.
    """
    yield
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
