"""Fine-tuning beside training from scratch: five classes of CIFAR-10 with 50 pictures each, after the other five.

resnet20 learns five classes with all their pictures. It is then fine-tuned on 50 pictures of each of the other five,
and the same network is trained on these from scratch, both by the recipe that `auto` chooses; both are tested on all
test pictures of their classes. Each seed has other pictures.

    python benchmarks/transfer.py --data cifar10.tar
"""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from pathlib import Path, PurePosixPath
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from common import parser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import resnets
from resnets.data.order import hashed
from resnets.runs.run import Run

FIRST = ("airplane", "bird", "deer", "frog", "ship")
PER_CLASS = 50
ACCURACIES = ("scratch", "fine-tuned", "scratch's best")
QUIET = Console(quiet=True)


def part(source: Path, target: Path, first: bool, seed: int | None = None) -> None:
    """Write an archive of some classes of CIFAR-10: all their pictures, or with a seed 50 of each to train on."""
    with tarfile.open(source) as pictures, tarfile.open(target, "w") as chosen:
        members = [member for member in pictures.getmembers() if member.isfile()]
        if seed is not None:
            members.sort(key=lambda member: hashed(seed, member.name))
        taken: Counter[str] = Counter()
        for member in members:
            split, label = PurePosixPath(member.name).parts[-3:-1]
            taken[label] += split == "train"
            enough = seed is not None and split == "train" and taken[label] > PER_CLASS
            if (label in FIRST) == first and not enough:
                chosen.addfile(member, pictures.extractfile(member))


def epochs_to(run: Run, accuracy: float) -> float:
    """The first epoch whose test accuracy is as high, infinity if none is."""
    reached = [row["epoch"] for row in run.history() if row.get("test_accuracy", 0.0) >= accuracy]
    return reached[0] if reached else float("inf")


def best(run: Run) -> float:
    """The highest test accuracy of any epoch."""
    return max(row.get("test_accuracy", 0.0) for row in run.history())


def main() -> None:
    """Print the table."""
    flags = parser(__doc__)
    default = Path(os.environ.get("RESNETS_DATA", "../shared/data")) / "cifar10.tar"
    flags.add_argument("--data", type=Path, default=default, help="CIFAR-10 as a tar of split/class/picture")
    asked = flags.parse_args()
    seeds, first_epochs = (1, 2) if asked.quick else (3, 10)
    rows: list[dict[str, float]] = []
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        part(asked.data, folder / "first.tar", first=True)
        source = resnets.train(
            folder / "first.tar",
            run=folder / "source",
            model="resnet20",
            recipe="quick",
            epochs=first_epochs,
            console=QUIET,
        )
        for seed in range(seeds):
            few = folder / f"few{seed}.tar"
            part(asked.data, few, first=False, seed=seed)
            options: dict[str, Any] = {"model": "resnet20", "evaluate_every": 1, "seed": seed, "console": QUIET}
            options |= {"epochs": 10} if asked.quick else {}
            scratch = resnets.train(few, run=folder / f"scratch{seed}", **options)
            tuned = resnets.train(few, run=folder / f"tuned{seed}", weights=source.folder, **options)
            rows.append(
                {
                    "seed": seed,
                    "scratch": scratch.card().metrics["accuracy"],
                    "fine-tuned": tuned.card().metrics["accuracy"],
                    "scratch's best": best(scratch),
                    "in epoch": epochs_to(scratch, best(scratch)),
                    "fine-tuned in": epochs_to(tuned, best(scratch)),
                }
            )
    table = Table(title="50 pictures of each of five classes", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in rows[0]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            *(f"{value:.2%}" if name in ACCURACIES else f"{value:,.0f}" for name, value in row.items()),
        )
    gains = [row["fine-tuned"] - row["scratch"] for row in rows]
    console = Console()
    console.print(table)
    spread = f" (standard deviation {stdev(gains):.1%})" if len(gains) > 1 else ""
    console.print(f"fine-tuning gains {mean(gains):.1%}{spread} over training from scratch", highlight=False)
    if asked.json is not None:
        ratios = {"epochs": mean(row["fine-tuned in"] / row["in epoch"] for row in rows)}
        asked.json.write_text(json.dumps({"figures": rows, "gain": mean(gains), "ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()
