"""What goes wrong around a training, one test a fault: each ends in one clear line, and the run is kept."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from resnets.cli.main import main
from resnets.data.opening import open_dataset
from resnets.runs.run import Run
from resnets.training import checkpoints, fit
from resnets.training.interruption import InterruptedTraining
from resnets.training.job import Job
from resnets.training.train import resume, train
from resnets.weights.files import read_tensors

QUIET = Console(quiet=True)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Two hundred digits as files, in folders of two classes."""
    data = open_dataset("digits").splits["train"]
    for index in range(200):
        folder = tmp_path / "data" / ("even" if data.targets[index] % 2 == 0 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.picture(index, 1)[0].numpy()).save(folder / f"{index:03d}.png")
    return tmp_path / "data"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`resnets train` with these arguments: its status, and the lines that it writes to either stream."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")

    def run(*arguments: str) -> tuple[int, list[str], list[str]]:
        status = main(["train", *arguments])
        captured = capsys.readouterr()
        return status, captured.out.splitlines(), captured.err.splitlines()

    return run


SMALL = ("--model", "resnet8", "--size", "8", "--precision", "32-true", "--batch-size", "32", "--run", "run")


def noise(side: int, suffix: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, suffix)
    return buffer.getvalue()


def gigantic(_: bytes) -> bytes:
    """A picture of a hundred megapixels in a small file."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "zero bytes": ("bad.jpg", lambda _: b"", "the file is empty"),
    "truncated": ("bad.jpg", lambda whole: whole[: len(whole) // 2], "image file is truncated"),
    "no picture": (
        "bad.jpg",
        lambda _: b"<html>404 not found</html>",
        "the file is no picture, or of a kind",
    ),
    "a hundred megapixels": ("bad.png", gigantic, "it has 10000 x 10000 pixels; up to 89 million are read"),
    "named as no picture": ("bad.jpg_large", lambda whole: whole, "its name does not end as a picture's"),
}


@pytest.mark.parametrize(("name", "spoil", "reason"), PICTURES.values(), ids=PICTURES.keys())
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bad_picture_is_named_left_out_and_counted(digits, command, tmp_path, name, spoil, reason):
    (digits / "odd" / name).write_bytes(spoil(noise(64, "JPEG")))
    status, out, _ = command(str(digits), "--epochs", "1", *SMALL)
    assert status == 0
    (line,) = (line for line in out if line.startswith("left out"))
    assert line.startswith(f"left out: odd/{name}: ")
    assert reason in line
    card = Run(tmp_path / "run").card()
    assert list(card.data["left_out"]) == [f"odd/{name}"]
    assert sum(card.data["pictures"].values()) == 200
    assert "1 unreadable picture" in Run(tmp_path / "run").report_path.read_text()


def test_a_picture_of_another_kind_than_its_name_is_read(digits, command, tmp_path):
    (digits / "odd" / "jpeg.png").write_bytes(noise(8, "JPEG"))
    assert command(str(digits), "--epochs", "1", *SMALL)[0] == 0
    card = Run(tmp_path / "run").card()
    assert (card.data["left_out"], sum(card.data["pictures"].values())) == ({}, 201)


def test_a_full_disk_leaves_the_checkpoint_before(command, tmp_path, monkeypatch):
    """The disk is full when the second epoch's checkpoint has been written in part."""
    from lightning_fabric import Fabric

    whole = Fabric.save

    def full(self: Fabric, path: Path, state: dict) -> None:
        if state["state"]["step"] > 12:
            Path(path).write_bytes(b"half a checkpoint")
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(self, path, state)

    monkeypatch.setattr(Fabric, "save", full)
    flags = ("digits", "--epochs", "3", *SMALL[:6], "--batch-size", "128", "--run", "run")
    status, _, err = command(*flags)
    assert status == 1
    assert err == [
        "resnets train: the checkpoint cannot be written to run: No space left on device; the last one is kept; "
        "the run is kept: go on with `resnets train --resume run`"
    ]
    assert not list((tmp_path / "run").glob("*.tmp"))
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["state"]["step"] == 12
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert command("--resume", "run")[0] == 0
    assert command(*flags[:-1], "whole")[0] == 0
    assert_same(Run(tmp_path / "run"), Run(tmp_path / "whole"))


def assert_same(first: Run, second: Run) -> None:
    """The same weights, to the bit."""
    expected, found = read_tensors(first.weights_path), read_tensors(second.weights_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("tear", ["cut off", "overwritten", "empty"])
def test_of_a_torn_checkpoint_the_one_before_is_used(train_digits, stop_at, capsys, tear):
    with stop_at(15), pytest.raises(InterruptedTraining):
        train_digits("torn", epochs=3)
    run, whole = Run(train_digits("whole", epochs=3).folder.with_name("torn")), train_digits("other", epochs=3)
    content = run.checkpoint_path.read_bytes()
    half = len(content) // 2
    run.checkpoint_path.write_bytes(
        {"cut off": content[:half], "overwritten": content[:half] + bytes(half), "empty": b""}[tear]
    )
    resume(run.folder, console=Console(width=200, soft_wrap=True))
    out = capsys.readouterr().out
    assert f"{run.checkpoint_path} cannot be read" in out
    assert "going on at step 12" in out
    assert_same(run, whole)


def test_without_any_whole_checkpoint_it_is_said(train_digits, stop_at):
    with stop_at(3), pytest.raises(InterruptedTraining):
        train_digits()
    run = Run(train_digits("other", epochs=1).folder.with_name("run"))
    run.checkpoint_path.write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"no checkpoint of .*run can be read; begin anew with --overwrite"):
        resume(run.folder, console=QUIET)


def test_a_removed_folder_is_made_anew(train_digits, tmp_path, capsys):
    """It is removed in the middle of the second epoch of three."""

    def remove(job: Job) -> None:
        if job.state.step == 12:
            shutil.rmtree(job.run.folder)

    run = train_digits(epochs=3, watch=remove, console=Console(width=200, soft_wrap=True))
    assert "was removed; it is made anew" in capsys.readouterr().out
    assert [row["epoch"] for row in run.history()] == [1, 2, 3]
    assert run.card().metrics["count"] == 359
    assert run.report_path.is_file()
    assert run.checkpoint_path.is_file()
    assert_same(run, train_digits("whole", epochs=3))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_dead_worker_process_ends_it_where_it_stands(digits, command, tmp_path, monkeypatch):
    whole = fit.train_step

    def deadly(job: Job, *arguments: object) -> None:
        whole(job, *arguments)
        if job.state.step == 2:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)

    monkeypatch.setattr(fit, "train_step", deadly)
    monkeypatch.setattr("resnets.training.job.Loader.in_memory", False)
    flags = (*SMALL, "--epochs", "2", "--batch-size", "8", "--workers", "1")
    status, _, err = command(str(digits), *flags)
    assert status == 1
    (line,) = err
    assert line.startswith("resnets train: one of the 1 processes that decode pictures was ended from outside")
    assert line.endswith("the run is kept: go on with `resnets train --resume run`")
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["state"]["step"] >= 2
    monkeypatch.setattr(fit, "train_step", whole)
    assert command("--resume", "run", "--workers", "0")[0] == 0


def test_a_picture_that_is_gone_ends_it_where_it_stands(digits, command, tmp_path, monkeypatch):
    whole = fit.train_step

    def removing(job: Job, *arguments: object) -> None:
        whole(job, *arguments)
        if job.state.step == 2:
            shutil.rmtree(digits / "odd")

    monkeypatch.setattr(fit, "train_step", removing)
    monkeypatch.setattr("resnets.training.job.Loader.in_memory", False)
    status, _, err = command(str(digits), *SMALL, "--epochs", "2", "--batch-size", "8", "--workers", "0")
    assert status == 1
    (line,) = err
    assert "odd/" in line
    assert "No such file or directory" in line
    assert line.endswith("the run is kept: go on with `resnets train --resume run`")
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["state"]["step"] == 2


def test_other_pictures_than_before_are_refused(digits, command, stop_at):
    """Of the same size, and so of the same fingerprint."""
    bad = next(digits.rglob("003.png"))
    whole = bad.read_bytes()
    bad.write_bytes(bytes(len(whole)))
    with stop_at(3):
        assert command("data", *SMALL, "--epochs", "2", "--max-unreadable", "0.1")[0] == 130
    worse = next(digits.rglob("004.png"))
    kept = worse.read_bytes()
    worse.write_bytes(bytes(len(kept)))
    status, _, errors = command("--resume", "run")
    assert status == 1
    assert "1 of the pictures that run was started with cannot be read now, such as even/004.png (" in errors[-1]
    worse.write_bytes(kept)
    bad.write_bytes(whole)
    status, _, errors = command("--resume", "run")
    assert status == 1
    assert "1 of the pictures that run was started without can be read now, such as even/003.png; restore" in errors[-1]
    bad.write_bytes(bytes(len(whole)))
    assert command("--resume", "run")[0] == 0


def test_no_permission_to_write_is_said_before_any_work(digits, command, tmp_path, monkeypatch):
    """Permissions are asked for as the system tells them: who runs tests as root may write anywhere."""
    (tmp_path / "theirs").mkdir()
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: allowed(path, mode) and Path(path).resolve() != tmp_path / "theirs"
    )
    monkeypatch.setattr("resnets.training.train.open_dataset", None)  # as nothing is to be read
    status, _, err = command(str(digits), *SMALL[:-1], "theirs/run")
    assert (status, err) == (1, ["resnets train: theirs cannot be written to; choose another folder with --run"])


def test_a_checkpoint_that_may_not_be_written_ends_it(command, tmp_path, monkeypatch):
    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(checkpoints, "flush", refused)
    status, _, err = command("digits", "--epochs", "1", *SMALL)
    assert status == 1
    assert err == ["resnets train: the checkpoint cannot be written to run: Permission denied; there is none yet"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_signal_saves_and_ends_it(command, tmp_path, stop_at, number):
    with stop_at(9, number):
        status, _, err = command("digits", "--epochs", "2", *SMALL[:6], "--batch-size", "256", "--run", "run")
    assert (status, err) == (
        130, ["resnets train: stopped at step 9 of 12; go on with `resnets train --resume run`"]
    )  # fmt: skip
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["state"]["step"] == 9


def test_too_much_that_cannot_be_read_is_refused(digits):
    for index in range(5):
        (digits / "odd" / f"bad{index}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cannot be read, more than the share of 0\.01 that is allowed"):
        train(digits, run=digits.with_name("run"), console=QUIET)
