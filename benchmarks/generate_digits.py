"""Digits out of noise: a network learns to make them, and a classifier that knows real ones names what it makes.

The classifier is trained first, as `resnets train digits` does. Then the generator is trained, and 1,000 digits, 100 of
each class, are made and judged in several ways: solver, steps, guidance. The last line of the table is of real digits
that neither network was trained on. The Frechet distance is on the features of that classifier, and of as many made as
real digits.

    python benchmarks/generate_digits.py --folder runs/generate-digits
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import parser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import resnets
from resnets.inference.judging import Judge, judge_pictures
from resnets.inference.making import Request, make, training_data
from resnets.inference.sampling import Generator

BEST = Request(count=1000, steps=20, solver="heun", guidance=2.0)
WAYS: tuple[dict[str, Any], ...] = (
    {"solver": "heun", "steps": 20, "guidance": 1.0},
    {"solver": "heun", "steps": 20, "guidance": 2.0},
    {"solver": "heun", "steps": 5, "guidance": 2.0},
    {"solver": "midpoint", "steps": 5, "guidance": 2.0},
    {"solver": "euler", "steps": 5, "guidance": 2.0},
    {"solver": "euler", "steps": 10, "guidance": 2.0},
    {"solver": "euler", "steps": 100, "guidance": 2.0},
)


def main() -> None:
    """Train, make, judge, and print the table."""
    flags = parser(__doc__)
    flags.add_argument("--folder", type=Path, help="keep the runs, the pictures and their report here")
    flags.add_argument("--judge", type=Path, help="a finished run of `resnets train digits`, in place of a new one")
    flags.add_argument("--model", default="auto", help="what makes the digits; by default what suits their size")
    asked = flags.parse_args()
    with TemporaryDirectory() as temporary:
        compare(asked, asked.folder or Path(temporary))


def compare(asked: Any, folder: Path) -> None:
    """The runs go into `folder`."""
    console = Console()
    short: dict[str, Any] = {"epochs": 2} if asked.quick else {}
    count, ways = (40, WAYS[-3:-1]) if asked.quick else (BEST.count, WAYS)
    judge_run = asked.judge or resnets.train("digits", run=folder / "judge", console=console, **short).folder
    run = resnets.train("digits", task="generation", model=asked.model, run=folder / "run", console=console, **short)
    card = run.card()
    generator, judge, data = Generator(run.folder), Judge(judge_run, card), training_data(card)
    labels = generator.labels(count)
    rows: list[dict[str, Any]] = []
    for way in ways:
        began = time.perf_counter()
        pictures = generator.pictures(labels, seed=1, **way)
        seconds = time.perf_counter() - began
        rows.append({**way, "seconds": seconds, **judge_pictures(pictures, labels, judge, data, card).metrics})
    last = rows[-1]
    rows.append({"solver": "real digits", **{name: last[f"real_{name}"] for name in ("named", "frechet", "nearest")}})

    minutes = card.provenance["seconds"] / 60
    title = f"{count:,} digits made by {card.model} after {minutes:.1f} min of training, judged by {judge.run}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("solver")
    distance = f"Frechet distance of {last['frechet_count']:,.0f}"
    for heading in ("steps", "guidance", "named as asked", distance, "nearest training digit", "seconds"):
        table.add_column(heading, justify="right")
    forms = ("{}", "{:g}", "{:.2%}", "{:.3g}", "{:.3g}", "{:.1f}")
    names = ("steps", "guidance", "named", "frechet", "nearest", "seconds")
    for row in rows:
        cells = (form.format(row[name]) if name in row else "" for name, form in zip(names, forms, strict=True))
        table.add_row(row["solver"], *cells)
    console.print(table)
    accuracy = "" if judge.accuracy is None else f"the judge names {judge.accuracy:.2%} of real test digits rightly; "
    console.print(f"{accuracy}trained in {card.provenance['seconds']:,.0f} s", highlight=False)
    if asked.json is not None:
        content = {"figures": rows, "training_seconds": card.provenance["seconds"], "judge_accuracy": judge.accuracy}
        asked.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if asked.folder is not None:
        request = Request(count=count, steps=BEST.steps, solver=BEST.solver, guidance=BEST.guidance, seed=1)
        made = make(run.folder, request, folder=folder / "pictures", judge=judge_run)
        console.print(f"pictures, grid and report in {made.folder}", highlight=False)


if __name__ == "__main__":
    main()
