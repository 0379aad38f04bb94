"""Cross-validation: as many trainings as there are folds, each judged on the fold that it has not seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from resnets.runs.run import Run, write_whole
from resnets.training.engine import processes
from resnets.training.train import resume, train

SUMMARY = "folds.json"


def cross_validate(
    source: str | Path,
    folds: int = 5,
    *,
    run: str | Path | None = None,
    overwrite: bool = False,
    console: Console | None = None,
    **options: Any,
) -> dict[str, dict[str, float]]:
    """Train once for each fold of the training (and validation) pictures; test pictures are left alone.

    The folder holds a run for each fold and `folds.json`: what was asked, and of each metric the mean, the standard
    deviation between folds, and its values, where all folds have it. Called again with the same folder it goes on where
    it stopped.

    Args:
        source: as `train` takes it.
        folds: how many; every class needs as many pictures.
        run: the folder to write; by default `runs/SOURCE-FOLDS-folds`.
        overwrite: begin anew where there is such a folder already.
        console: where to print; nowhere in any process but the first.
        options: all else that `train` takes.

    Returns:
        By the names of the metrics, their "mean" and "std".

    Raises:
        ValueError: if there are fewer than two folds, or several processes.
        FileExistsError: if the folder was begun with something else.
    """
    if folds < 2:
        raise ValueError(f"cross-validation needs two folds or more, not {folds}")
    if options.get("val_share") is not None:
        raise ValueError("each fold is a validation split; leave out val_share")
    if options.get("patience"):
        raise ValueError("patience would choose by the very pictures that a fold is judged on; leave it out")
    machine = {name: options.get(name, "auto") for name in ("accelerator", "devices")}
    _, per_node, nodes = processes(**machine, nodes=options.get("nodes"))
    if per_node * nodes > 1:
        raise ValueError(
            f"cross-validation trains one fold after another in one process, not in {per_node * nodes}; use --devices 1"
        )
    folder = Path("runs") / f"{Path(source).stem}-{folds}-folds" if run is None else Path(run)
    asked = {"source": str(source), "folds": folds, "options": {name: str(value) for name, value in options.items()}}
    begin(folder, asked, overwrite)
    console = console or Console()
    of_resume = {name: options[name] for name in signature(resume).parameters if name in options}
    finished = []
    for number in range(1, folds + 1):
        part = Run(folder / f"fold{number}")
        console.print(f"[bold]fold {number} of {folds}[/]")
        if part.card_path.is_file():
            resume(part.folder, console=console, **of_resume)
        else:
            train(source, run=part.folder, fold=(number, folds), console=console, **options)
        finished.append(part.card().metrics)
    names = [name for name in finished[0] if name != "count" and all(name in metrics for metrics in finished)]
    values = {name: [metrics[name] for metrics in finished] for name in names}
    figures = {name: {"mean": mean(of_folds), "std": stdev(of_folds)} for name, of_folds in values.items()}
    write_whole(folder / SUMMARY, json.dumps({**asked, "metrics": figures, "values": values}, indent=2) + "\n")
    print_folds(console, values, figures)
    return figures


def begin(folder: Path, asked: Mapping[str, Any], overwrite: bool) -> None:
    """Make the folder, or find that it was begun with the same request.

    Raises:
        FileExistsError: if it holds something else.
    """
    summary = folder / SUMMARY
    if overwrite and summary.is_file():
        shutil.rmtree(folder)
    if summary.is_file():
        before = json.loads(summary.read_text(encoding="utf-8"))
        if any(before[name] != value for name, value in asked.items()):
            raise FileExistsError(f"{folder} was begun with other options; choose another --run, or --overwrite")
    elif folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is there already and holds no cross-validation; choose another --run")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(summary, json.dumps(asked, indent=2) + "\n")


def print_folds(
    console: Console, values: Mapping[str, list[float]], figures: Mapping[str, Mapping[str, float]]
) -> None:
    """The metrics of every fold, their mean and their standard deviation."""
    table = Table(title="Cross-validation", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("Fold")
    for name in values:
        table.add_column(name, justify="right")
    for number, row in enumerate(zip(*values.values(), strict=True), start=1):
        table.add_row(str(number), *(f"{value:.4f}" for value in row))
    table.add_section()
    for quantity in ("mean", "std"):
        table.add_row(quantity, *(f"{figures[name][quantity]:.4f}" for name in values))
    console.print(table)
