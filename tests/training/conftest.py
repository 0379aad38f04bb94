"""Small trainings on real digits that tests share."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from resnets.runs.run import Run
from resnets.training import fit
from resnets.training.job import Job
from resnets.training.train import train
from resnets.types import Batch

Train = Callable[..., Run]


@pytest.fixture
def train_digits(tmp_path: Path) -> Train:
    """Train resnet8 on digits for two epochs, into a folder of tmp_path; keywords change the recipe."""

    def run(name: str = "run", **changes: object) -> Run:
        options = {"model": "resnet8", "precision": "32-true", "epochs": 2, "batch_size": 256, "size": 8}
        return train("digits", run=tmp_path / name, **{"console": Console(quiet=True), **options, **changes})

    return run


@pytest.fixture
def stop_at() -> Callable[..., AbstractContextManager[None]]:
    """Send this process a signal in the middle of a step, SIGTERM unless another is given."""

    @contextmanager
    def patched(step: int, number: int = signal.SIGTERM) -> Iterator[None]:
        whole = fit.train_step

        def interrupted(job: Job, batch: Batch, epoch: int, rate: float) -> None:
            whole(job, batch, epoch, rate)
            if job.state.step == step:
                signal.raise_signal(number)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fit, "train_step", interrupted)
            yield

    return patched


@dataclass(frozen=True)
class Ended:
    """How processes have ended: their statuses, and what each has printed."""

    statuses: list[int]
    outputs: list[str]


class Crew:
    """Starts processes of `resnets` as torchrun or srun does; see `crew.py`."""

    LONGEST = 240
    """Seconds after which a process that has not ended hangs."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("crew.py"))],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._line()

    def start(self, processes: int, *arguments: object, launcher: str = "torchrun", **environment: str) -> list[int]:
        """Start processes and give their numbers."""
        asked = {"processes": processes, "arguments": list(map(str, arguments))}
        request = asked | {"environment": environment, "launcher": launcher}
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()
        self._numbers: list[int] = json.loads(self._line())
        return self._numbers

    def wait(self) -> Ended:
        """Wait until all have ended, which they must."""
        try:
            return Ended(**json.loads(self._line()))
        except TimeoutError:
            for number in self._numbers:
                os.kill(number, 9)
            pytest.fail(f"processes hang: {Ended(**json.loads(self._line()))}")

    def run(self, processes: int, *arguments: object, launcher: str = "torchrun", **environment: str) -> Ended:
        """Start processes and wait until all have ended."""
        self.start(processes, *arguments, launcher=launcher, **environment)
        return self.wait()

    def stop(self) -> None:
        """End the server."""
        self._server.communicate(timeout=self.LONGEST)

    def _line(self) -> Any:
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], self.LONGEST)[0]:
            raise TimeoutError
        return self._server.stdout.readline()


@pytest.fixture(scope="session")
def crew() -> Iterator[Crew]:
    """Starts several processes that train together."""
    crew = Crew()
    yield crew
    crew.stop()
