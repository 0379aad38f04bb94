"""The folder of a new run: where it is made, and what must not be lost by it."""

from __future__ import annotations

import os
import shutil
from itertools import chain, count
from pathlib import Path

from resnets.runs.card import Card
from resnets.runs.run import Run, unfinished_path

RUNS = Path("runs")
"""Where a run's folder is made that nobody has named."""


def claim_folder(wanted: str | Path | None, card: Card, overwrite: bool) -> Path:
    """Make the run's folder, by default one whose name is not taken, and write the card into it.

    Raises:
        FileExistsError: as `check_free` does.
    """
    folder = RUNS / f"{card.data['name']}-{card.model}" if wanted is None else Path(wanted)
    if wanted is None and not overwrite:
        numbered = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
        folder = next(free for free in chain([folder], numbered) if not free.exists())
    check_free(folder, overwrite)
    if Run(folder).card_path.is_file():
        shutil.rmtree(folder)
    Run(folder).write_card(card)
    return folder


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise FileExistsError if a folder holds something, unless it is a run that is to be overwritten."""
    card = Run(folder).card_path
    unfinished = unfinished_path(card)  # all that is left of a training that was killed at once
    if not folder.exists() or (folder.is_dir() and all(path == unfinished for path in folder.iterdir())):
        return
    if not card.is_file():
        raise FileExistsError(f"{folder} is there already and is no run; choose another --run")
    if not overwrite:
        raise FileExistsError(
            f"{folder} is there already: go on with --resume {folder}, replace it with --overwrite, or choose "
            "another --run"
        )


def check_writable(folder: Path) -> None:
    """Raise PermissionError if a folder may not be made or written to."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{there} cannot be written to; choose another folder with --run")
