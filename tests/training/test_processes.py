"""Two processes on one machine train and evaluate what one would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from resnets.data.loading import Loader
from resnets.data.opening import open_dataset
from resnets.inference.evaluation import evaluate
from resnets.runs.run import Run
from resnets.types import Preprocessing
from resnets.weights.files import read_tensors


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


PLAIN = ["--model", "resnet8", "--size", 8, "--precision", "32-true", "--accelerator", "cpu", "--recipe", "paper-cifar"]
PLAIN += ["--pad", 0, "--no-recompute-bn", "--evaluate-every", 1, "--lr", 0.01, "--sync-bn"]


def rows_of(folder: Path) -> list[dict[str, float]]:
    times = ("seconds", "images_per_second")
    return [{name: value for name, value in row.items() if name not in times} for row in Run(folder).history()]


def when_trained(folder: Path, epochs: int, seconds: float = 200) -> None:
    """Wait until a run has rows of so many epochs."""
    end = time.monotonic() + seconds
    while len(Run(folder).history()) < epochs:
        assert time.monotonic() < end, "no epoch has ended"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def alone(crew, tmp_path_factory) -> Run:
    """One process, two epochs."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert crew.run(1, "train", "digits", "--run", folder, "--epochs", 2, *PLAIN).statuses == [0]
    return Run(folder)


@pytest.mark.parametrize(("launcher", "strategy"), [("torchrun", "ddp"), ("torchrun", "fsdp"), ("srun", "auto")])
def test_two_processes_train_as_one_with_their_pictures_together(crew, alone, tmp_path, launcher, strategy):
    folder = tmp_path / "run"
    command = ["train", "digits", "--run", folder, "--epochs", 2, "--strategy", strategy, *PLAIN]
    ended = crew.run(2, *command, launcher=launcher)
    assert ended.statuses == [0, 0], ended.outputs
    card = Run(folder).card()
    assert card.provenance["processes"] == 2
    assert card.metrics["count"] == 359  # every test picture once
    for expected, found in zip(rows_of(alone.folder), rows_of(folder), strict=True):
        assert found["step"] == expected["step"]
        assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-4)
        assert found["train_accuracy"] == pytest.approx(expected["train_accuracy"], abs=0.005)
    assert card.metrics["loss"] == pytest.approx(alone.card().metrics["loss"], rel=1e-3)


def test_each_process_says_what_is_wrong_with_the_data(crew, tmp_path):
    ended = crew.run(2, "train", "nowhere", "--run", tmp_path / "run", *PLAIN)
    assert ended.statuses == [1, 1]
    for output in ended.outputs:
        assert "resnets train: no data set at 'nowhere'" in output
        assert "Traceback" not in output


def test_the_command_starts_the_processes_itself(tmp_path):
    folder = tmp_path / "run"
    flags = "--model resnet8 --size 8 --epochs 1 --precision 32-true --devices 2 --strategy ddp --accelerator cpu"
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


def test_a_process_that_is_killed_stops_the_others_with_a_sentence_and_one_process_goes_on(crew, alone, tmp_path):
    folder = tmp_path / "run"
    command = ["train", "digits", "--run", folder, "--epochs", 40, "--strategy", "fsdp", *PLAIN]
    numbers = crew.start(2, *command)
    when_trained(folder, 1)
    os.kill(numbers[1], signal.SIGKILL)
    ended = crew.wait()
    assert ended.statuses == [1, -signal.SIGKILL]
    assert ended.outputs[0].splitlines()[-1].startswith("resnets train: process 0 of 2 has lost another")
    rows = rows_of(folder)
    numbers = crew.start(1, "train", "--resume", folder)  # whole weights, of those that two had parts of
    when_trained(folder, len(rows) + 1)
    os.kill(numbers[0], signal.SIGTERM)
    assert crew.wait().statuses == [130]
    assert rows_of(folder)[: len(rows)] == rows
    assert rows_of(folder)[len(rows)]["train_loss"] < rows[-1]["train_loss"] + 0.1


def test_a_process_that_hangs_is_waited_for_so_long(crew, tmp_path):
    folder = tmp_path / "run"
    numbers = crew.start(2, "train", "digits", "--run", folder, "--epochs", 40, "--longest-wait", 5, *PLAIN)
    when_trained(folder, 1)
    os.kill(numbers[1], signal.SIGSTOP)
    try:
        wait_for_end(numbers[0])
    finally:
        os.kill(numbers[1], signal.SIGKILL)
    ended = crew.wait()
    assert ended.statuses == [1, -signal.SIGKILL]
    assert "process 0 of 2 has lost another, which has ended or hangs" in ended.outputs[0]


def test_a_training_that_is_started_anew_goes_on_exactly(crew, tmp_path):
    """As torchrun does, which counts the restarts in a variable: after a signal within an epoch, and after a kill."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    command = ["train", "digits", "--epochs", 5, *PLAIN, "--run"]
    assert crew.run(2, *command, whole).statuses == [0, 0]
    restarts = {"TORCHELASTIC_MAX_RESTARTS": "2"}
    numbers = crew.start(2, *command, stopped, **restarts, TORCHELASTIC_RESTART_COUNT="0")
    when_trained(stopped, 1)
    os.kill(numbers[1], signal.SIGTERM)
    ended = crew.wait()
    assert ended.statuses == [130, 130]
    assert all("stopped at step" in text for text in ended.outputs)
    numbers = crew.start(2, *command, stopped, **restarts, TORCHELASTIC_RESTART_COUNT="1")
    when_trained(stopped, 3)
    os.kill(numbers[0], signal.SIGKILL)
    assert crew.wait().statuses == [-signal.SIGKILL, 1]
    assert crew.run(2, *command, stopped, **restarts, TORCHELASTIC_RESTART_COUNT="2").statuses == [0, 0]
    for expected, found in zip(rows_of(whole), rows_of(stopped), strict=True):
        assert found == pytest.approx(expected, rel=1e-12)  # sums of losses in another order
    expected, found = (read_tensors(Run(folder).weights_path) for folder in (whole, stopped))
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


@pytest.mark.slow
def test_torchrun_starts_a_training_anew(tmp_path):
    """The real one, with nothing in between: a process is killed, torchrun starts both again, and they finish."""
    folder = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2]
    command = [*launcher, "--max-restarts", 1, "-m", "--", "resnets.cli.main", "train", "digits", "--run", folder]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    training = subprocess.Popen([*map(str, command), "--epochs", "6", *map(str, PLAIN)], env=variables)
    try:
        when_trained(folder, 2)
        os.kill(psutil.Process(training.pid).children()[0].pid, signal.SIGKILL)
        assert training.wait(300) == 0
    finally:
        training.terminate()
        training.wait()
    assert [row["epoch"] for row in rows_of(folder)] == [1, 2, 3, 4, 5, 6]
    assert Run(folder).card().metrics["count"] == 359


def wait_for_end(number: int, seconds: float = 100) -> None:
    """Wait until a process of the crew is there no more, or is only waited for by its parent."""
    process, end = psutil.Process(number), time.monotonic() + seconds
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, "the process hangs"
        time.sleep(0.1)
