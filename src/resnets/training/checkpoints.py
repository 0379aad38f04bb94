"""Checkpoints: written whole, the one before kept, and read from whichever is whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from resnets.runs.run import Run


def write_checkpoint(fabric: Fabric, run: Run, parts: dict[str, Any]) -> None:
    """Write a checkpoint beside the last one, and when it is on the disk put it in that one's place.

    Raises:
        OSError: if it cannot be written; the last one is as it was.
    """
    temporary = run.checkpoint_path.with_suffix(".tmp")
    try:
        fabric.save(temporary, parts)
        if fabric.is_global_zero:
            flush(temporary)
    except (OSError, RuntimeError) as error:  # PyTorch's own writer raises the latter
        if fabric.is_global_zero:
            temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        kept = "the last one is kept" if run.checkpoint_path.is_file() else "there is none yet"
        raise OSError(f"the checkpoint cannot be written to {run.folder}: {reason}; {kept}") from error
    fabric.barrier()
    if fabric.is_global_zero:
        if run.checkpoint_path.is_file():
            run.checkpoint_path.replace(run.checkpoint_before_path)
        temporary.replace(run.checkpoint_path)


def flush(path: Path) -> None:
    """Wait until a file is on its disk, so that a loss of power cannot leave a part of it under its final name."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def read_checkpoint(
    fabric: Fabric,
    run: Run,
    parts: dict[str, Any],
    tell: Callable[[str], object],
    why_unsuited: Callable[[dict[str, Any]], str | None],
) -> None:
    """Fill the parts from the newest checkpoint that can be read; only tensors and plain values are.

    As every step is a function of where the training stands, the one before leads to the same end. `tell` takes a line
    about one that cannot be read, and `why_unsuited` says why the content of one is not for this training, or None.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if none can be read, or it does not suit.
    """
    paths = run.checkpoints()
    if not paths:
        raise FileNotFoundError(f"{run.folder} has no checkpoint; begin anew with --overwrite")
    for path in paths:
        try:
            unsuited = why_unsuited(torch.load(path, weights_only=True, mmap=True))
            if unsuited is None:
                fabric.load(path, parts, weights_only=True)
        except Exception as error:  # a torn file can fail anywhere
            reason = (str(error) or type(error).__name__).splitlines()[0]
            tell(f"{path} cannot be read ({reason}){'; trying the one before' if path is not paths[-1] else ''}")
        else:
            if unsuited is not None:
                raise ValueError(unsuited)
            return
    raise ValueError(f"no checkpoint of {run.folder} can be read; begin anew with --overwrite")


@contextmanager
def kept_for_later(run: Run) -> Iterator[None]:
    """Let an error that ends a training say how it can go on."""
    try:
        yield
    except (OSError, MemoryError, ValueError) as error:
        if run.checkpoints():
            error.add_note(f"the run is kept: go on with `resnets train --resume {run.folder}`")
        raise
