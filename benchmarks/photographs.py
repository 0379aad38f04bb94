"""Two classes of photographs at 224 pixels: from weights that come with the package, from scratch, and the head alone.

The weights are those of resnet20 on CIFAR-10, 32 pixels a side; the photographs are ants and bees, 245 to train on. The
figure has the validation curves of fine-tuning and of training from scratch.

    python benchmarks/photographs.py --data ants_bees --figure curves.svg
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import parser
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import resnets
from resnets.runs.run import Run

WEIGHTS = "resnet20-cifar10"


def draw(runs: dict[str, Run], path: Path) -> None:
    """The validation error by epoch of each run."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, run in runs.items():
        rows = [row for row in run.history() if "val_accuracy" in row]
        axes.plot([row["epoch"] for row in rows], [100 * (1 - row["val_accuracy"]) for row in rows], label=name)
    axes.set(xlabel="epoch", ylabel="validation error, %", title="Ants and bees, 224 pixels, 245 training pictures")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path)


def main() -> None:
    """Print the table and draw the curves."""
    flags = parser(__doc__)
    default = Path(os.environ.get("RESNETS_DATA", "../shared/data")) / "ants_bees"
    flags.add_argument("--data", type=Path, default=default, help="a folder with train and val")
    flags.add_argument("--figure", type=Path, help="write the curves to this file, .svg or .png")
    flags.add_argument("--size", type=int, default=224, help="side of the input in pixels")
    asked = flags.parse_args()
    options: dict[str, Any] = {
        "model": "resnet20",
        "size": asked.size,
        "epochs": 3 if asked.quick else 20,
        "evaluate_every": 1,
        "console": Console(quiet=True),
    }
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runs = {
            "fine-tuned": resnets.train(asked.data, run=folder / "tuned", weights=WEIGHTS, **options),
            "from scratch": resnets.train(asked.data, run=folder / "scratch", **options),
        }
        began = time.perf_counter()
        head = resnets.train(asked.data, run=folder / "head", weights=WEIGHTS, head_only="logistic", **options)
        head_seconds = time.perf_counter() - began
        if asked.figure is not None:
            draw(runs, asked.figure)
        figures = {
            name: {"accuracy": run.card().metrics["accuracy"], "seconds": run.card().provenance["seconds"]}
            for name, run in {**runs, "head alone": head}.items()
        }
    table = Table(title="Ants and bees, 153 validation pictures", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "accuracy", "seconds of training"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in figures.items():
        table.add_row(name, f"{row['accuracy']:.1%}", f"{row['seconds']:.1f}")
    console = Console()
    console.print(table)
    console.print(f"the head alone, features and report included: {head_seconds:.0f} s", highlight=False)
    if asked.json is not None:
        ratios = {"accuracy": figures["fine-tuned"]["accuracy"] / figures["from scratch"]["accuracy"]}
        content = {"figures": figures, "head_seconds": head_seconds, "ratios": ratios}
        asked.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
