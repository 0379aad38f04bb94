"""Two processes on one machine train and evaluate what one would."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from resnets.data.dataset import open_dataset
from resnets.data.loading import Loader
from resnets.inference.evaluation import evaluate
from resnets.runs.run import Run
from resnets.types import Preprocessing


def test_two_processes_see_each_picture_of_a_step_once():
    digits = open_dataset("digits").splits["train"]
    preprocessing = Preprocessing((8, 8), 1, (0.5,), (0.5,))

    def steps(rank: int, world_size: int) -> list[torch.Tensor]:
        loader = Loader(digits, preprocessing, 64, shuffle=True, seed=3, rank=rank, world_size=world_size)
        return [batch.indices for batch in loader.epoch(1)]

    alone, first, second = steps(0, 1), steps(0, 2), steps(1, 2)
    assert len(alone) == len(first) == len(second)
    for whole, *halves in zip(alone, first, second, strict=True):
        assert torch.equal(torch.cat(halves).sort().values, whole.sort().values)


def test_two_processes_train_and_count_every_test_picture_once(tmp_path):
    folder = tmp_path / "run"
    flags = "--model resnet8 --size 8 --epochs 2 --precision 32-true --devices 2 --strategy ddp --accelerator cpu"
    subprocess.run(
        [sys.executable, "-m", "resnets.cli.main", "train", "digits", "--run", str(folder), *flags.split()],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
        stdout=subprocess.DEVNULL,
    )
    card = Run(folder).card()
    assert card.provenance["processes"] == 2
    assert card.metrics["count"] == 359
    assert evaluate(folder).metrics == pytest.approx(dict(card.metrics), abs=1e-5)
    assert Run(folder).history()[-1]["step"] == 2 * 23
