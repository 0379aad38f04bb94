"""What every benchmark here does alike: run the contenders in turn, print a table, write the figures as JSON.

Machines are noisy, so contenders take turns, each in a process of its own; what is quoted is the median of the rounds'
ratios.
"""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from resnets.data.opening import open_dataset
from resnets.runs.listing import differences
from resnets.runs.run import Run
from resnets.training.plan import plan
from resnets.training.train import resume, train

_measure: Callable[[], float]


def in_own_process(make: Callable[..., Callable[[], float]], *arguments: object) -> Callable[[], float]:
    """A contender that another process makes and measures, so that neither changes what the other finds."""
    pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=(make, arguments))
    return lambda: pool.submit(_measured).result()


def _begin(make: Callable[..., Callable[[], float]], arguments: tuple[object, ...]) -> None:
    global _measure
    _measure = make(*arguments)


def _measured() -> float:
    return _measure()


def alone(function: Callable[..., Any], *arguments: object) -> Any:
    """What a function gives in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def cifar10() -> str:
    """Where CIFAR-10 lies, or the name by which it is downloaded."""
    near = Path(os.environ.get("RESNETS_DATA", "../shared/data")) / "cifar10.tar"
    return str(near if near.exists() else "cifar10")


def parser(description: str | None) -> ArgumentParser:
    """The flags that every benchmark has."""
    flags = ArgumentParser(description=description)
    flags.add_argument("--quick", action="store_true", help="a minute or two instead of several")
    flags.add_argument("--json", type=Path, help="write the figures and a `ratios` object to this file")
    return flags


def take_turns(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The speeds of each contender, measured A B A B ... after one round that is not counted."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, measure in contenders.items():
            speed = measure()
            if number:
                speeds[name].append(speed)
    return speeds


def trained(data: Path, folder: Path, *, model: str, size: int, recipe: str = "auto", **changes: Any) -> Run:
    """The run in a folder: trained, gone on with, or finished before.

    Raises:
        ValueError: if the folder has a run that was trained otherwise.
    """
    run = Run(folder)
    if not run.card_path.is_file():
        return train(data, run=folder, model=model, size=size, recipe=recipe, **changes)
    card, asked = run.card(), plan(open_dataset(data), model=model, size=size, recipe=recipe, changes=changes)
    decided = ("recipe.", "architecture.", "preprocessing.size", "data.fingerprint")
    for name, (there, wanted) in differences([card, asked]).items():
        if name.startswith(decided):
            raise ValueError(
                f"{folder} has a run with {name} {there}, and {wanted} is asked for; choose another folder, or the "
                "options of that run"
            )
    return run if card.metrics else resume(folder)


def ratio(speeds: Mapping[str, list[float]], name: str, baseline: str) -> float:
    """How many times as fast one contender is as another: the median of the rounds' ratios."""
    return median(own / base for own, base in zip(speeds[name], speeds[baseline], strict=True))


def report(title: str, unit: str, speeds: Mapping[str, list[float]], baseline: str, path: Path | None) -> None:
    """Print median, least and most of each contender and its ratio to the baseline; write them if asked."""
    ratios = {name: ratio(speeds, name, baseline) for name in speeds}
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in (f"{unit}, median", "least", "most", "ratio"):
        table.add_column(heading, justify="right")
    for name, values in speeds.items():
        figures = (
            f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
            for figure in (median(values), min(values), max(values))
        )
        table.add_row(name, *figures, f"{ratios[name]:.2f}")
    console = Console()
    console.print(table)
    console.print(
        f"{len(speeds[baseline])} rounds in turn; torch {torch.__version__}, {torch.get_num_threads()} threads; "
        "the ratio is the median of the rounds' ratios",
        highlight=False,
    )
    if path is not None:
        figures_by_name = {name: {"median": median(values), "all": values} for name, values in speeds.items()}
        content = {"title": title, "unit": unit, "figures": figures_by_name, "ratios": ratios}
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
