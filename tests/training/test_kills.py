"""A training that is killed again and again ends with the weights of one that never was."""

from __future__ import annotations

import multiprocessing
import pkgutil
import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

import resnets.cli
from resnets.cli.main import main
from resnets.runs.run import Run
from resnets.weights.files import read_tensors

KILLS = 20
EPOCHS, STEPS = 20, 12
RECIPE = "--model resnet8 --size 8 --precision 32-true --batch-size 128 --ema 0.9 --mixup 0.2 --accumulate 2"


def begin(*arguments: str) -> BaseProcess:
    """A command in a process of its own, forked from one that has loaded the libraries."""
    context = multiprocessing.get_context("forkserver")
    commands = [f"resnets.cli.{module.name}" for module in pkgutil.iter_modules(resnets.cli.__path__)]
    context.set_forkserver_preload([*commands, "resnets.report.classification"])
    process = context.Process(target=main, args=(list(arguments),))
    process.start()
    return process


def wait_for_checkpoints(life: BaseProcess, path: Path, count: int) -> None:
    """Until so many have been written; each is another file."""
    seen = set()
    while len(seen) <= count and life.is_alive():
        if path.is_file():
            seen.add(path.stat().st_mtime_ns)
        time.sleep(0.001)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    """SIGKILL while libraries and data are read, in the middle of steps, and while checkpoints are written."""
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    recipe = ("digits", *RECIPE.split(), "--epochs", str(EPOCHS))
    begin("train", *recipe, "--run", str(whole.folder)).join()
    chance, reached = random.Random(0), []
    for number in range(KILLS):
        begun = killed.card_path.is_file()
        what = ("--resume", str(killed.folder)) if begun else (*recipe, "--run", str(killed.folder), "--overwrite")
        life = begin("train", *what, "--checkpoint-every", "0")
        if number % 4 == 0:
            life.join(chance.uniform(0, 3))
        else:
            wait_for_checkpoints(life, killed.checkpoint_path, chance.randint(1, EPOCHS * STEPS // KILLS))
            time.sleep(chance.uniform(0, 0.05))
        assert life.is_alive(), "the training ended before it was killed"
        life.kill()
        life.join()
        if paths := killed.checkpoints():
            reached.append(torch.load(paths[0], weights_only=True)["state"]["step"])
    assert any(step % STEPS for step in reached)  # in the middle of an epoch, too
    assert reached == sorted(reached)
    begin("train", "--resume", str(killed.folder)).join()
    expected, found = read_tensors(whole.weights_path), read_tensors(killed.weights_path)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    times = {"seconds", "images_per_second"}
    assert len(whole.history()) == EPOCHS
    for row, other in zip(whole.history(), killed.history(), strict=True):
        assert {k: v for k, v in row.items() if k not in times} == {k: v for k, v in other.items() if k not in times}
    assert killed.card().metrics == whole.card().metrics
