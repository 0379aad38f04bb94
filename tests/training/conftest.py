"""Small trainings on real digits that tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

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
