"""`resnets runs`: what has been trained."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from resnets.runs.listing import Summary, find_runs, summarise
from resnets.runs.run import Run

COLOURS = {"finished": "green", "interrupted": "yellow", "export": "cyan"}


def runs(folder: Path = Path("runs"), /, json: bool = False) -> None:
    """List the runs in a folder, the newest first; of an interrupted one the metric is that of its last epoch.

    Args:
        folder: in which they are, at any depth; by default "runs".
        json: print a JSON list instead of a table.

    Raises:
        FileNotFoundError: if there is no such folder, or no run in it.
    """
    found: list[Summary] = []
    broken: list[str] = []
    for run in find_runs(folder):
        try:
            found.append(summarise(run))
        except (ValueError, OSError) as error:
            broken.append(str(error))
    if not found and not broken:
        raise FileNotFoundError(f"there is no run in {folder}")
    found.sort(key=lambda summary: summary.card.provenance.get("started", ""), reverse=True)
    for reason in broken:
        print(f"left out: {reason}", file=sys.stderr)
    if json:
        print(dumps([summary.to_dict() for summary in found], indent=2))
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    names = [name_in(folder, summary.run) for summary in found]
    table.add_column("Run", overflow="fold", min_width=12)  # which alone is folded where the terminal is narrow
    for heading in ("Model", "Task", "Metric", "Epochs", "State", "Begun", "Size"):
        table.add_column(heading, justify="right" if heading in ("Epochs", "Size") else "left", no_wrap=True)
    for name, summary in zip(names, found, strict=True):
        table.add_row(
            Text(name),
            summary.card.model,
            summary.card.task,
            summary.score,
            f"{summary.epochs}/{summary.planned}" if summary.planned else str(summary.epochs),
            Text(summary.state, COLOURS[summary.state]),
            str(summary.card.provenance.get("started", ""))[:10],
            decimal(summary.size),
        )
    Console(highlight=False).print(table)


def name_in(folder: Path, run: Run) -> str:
    """What a run is called in a list of those in a folder."""
    return run.folder.name if run.folder == folder else str(run.folder.relative_to(folder))
