"""Counting: how many red cells a photograph of a blood smear shows, learnt from the number alone.

The pictures are those of the BCCD data set, of which 205 train and 87 validate; the truth is how many boxes of class
RBC their annotations have. Some annotations name no cell in pictures full of them, so the loss is Huber's and the best
possible R2 is well below 1. Beside the network stands the constant answer that is the mean of the training pictures.

    python benchmarks/count_cells.py --data bccd
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from common import parser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import resnets

CELL = "RBC"


def cells(annotation: Path) -> int:
    """How many red cells an annotation names."""
    return sum(found.text == CELL for found in ElementTree.parse(annotation).iterfind("object/name"))


def write_table(bccd: Path, table: Path) -> dict[str, list[int]]:
    """Write path, count and split of every picture, and give the counts of each split."""
    counts: dict[str, list[int]] = {}
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "cells", "split"))
        for split in ("train", "val"):
            names = (bccd / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
            counts[split] = [cells(bccd / "Annotations" / f"{name}.xml") for name in names]
            for name, count in zip(names, counts[split], strict=True):
                writer.writerow(((bccd / "JPEGImages" / f"{name}.jpg").resolve(), count, split))
    return counts


def main() -> None:
    """Print the table."""
    flags = parser(__doc__)
    default = Path(os.environ.get("RESNETS_DATA", "../shared/data")) / "bccd"
    flags.add_argument("--data", type=Path, default=default, help="BCCD in Pascal VOC's layout")
    flags.add_argument("--size", type=int, default=120, help="shorter side of the input in pixels")
    flags.add_argument("--epochs", type=int, default=40)
    asked = flags.parse_args()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        counts = write_table(asked.data, folder / "cells.csv")
        run = resnets.train(
            folder / "cells.csv",
            run=folder / "run",
            weights="resnet20-cifar10",
            size=asked.size,
            epochs=10 if asked.quick else asked.epochs,
            flip_vertical=True,
            huber=0.5,
        )
        metrics, seconds = run.card().metrics, run.card().provenance["seconds"]
    constant = mean(counts["train"])
    baseline = mean(abs(count - constant) for count in counts["val"])
    table = Table(title="Red cells in a picture", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "R2", "mean absolute error"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("always the mean", "0 at most", f"{baseline:.2f}")
    table.add_row("resnet20", f"{metrics['r2']:.3f}", f"{metrics['mae']:.2f}")
    console = Console()
    console.print(table)
    console.print(f"{metrics['count']:.0f} validation pictures; trained in {seconds:.0f} s", highlight=False)
    if asked.json is not None:
        figures = {"r2": metrics["r2"], "mae": metrics["mae"], "baseline_mae": baseline, "seconds": seconds}
        content = {"figures": figures, "ratios": {"mae": metrics["mae"] / baseline}}
        asked.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
