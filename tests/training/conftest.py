"""Small trainings on real digits that tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from resnets.runs.run import Run
from resnets.training.train import train

Train = Callable[..., Run]


@pytest.fixture
def train_digits(tmp_path: Path) -> Train:
    """Train resnet8 on digits for two epochs, into a folder of tmp_path; keywords change the recipe."""

    def run(name: str = "run", **changes: object) -> Run:
        options = {"model": "resnet8", "precision": "32-true", "epochs": 2, "batch_size": 256, "size": 8} | changes
        return train("digits", run=tmp_path / name, console=Console(quiet=True), **options)

    return run
