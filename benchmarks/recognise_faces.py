"""Recognition of people never seen: trained on 24 people of the ORL faces, ten pictures each, judged on the six others.

Each seed has another six. The network is iresnet18 with half its channels, from scratch; its embeddings are the means
of a picture's and its mirror image's, or of the picture alone. Beside it stand eigenfaces (M. Turk and A. Pentland,
1991), whitened principal components of the same training pictures.

Then each of the six is a stranger in turn: the five others are put into an index with five pictures each; their other
pictures are looked up in it, and all of the stranger, who should be unknown. The threshold, for one false accept in a
hundred, is fitted with the index alone, or on the people that were trained on.

    python benchmarks/recognise_faces.py --data orl_faces
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import torch
from common import parser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import PCA

import resnets
from resnets.data.opening import open_dataset
from resnets.data.order import hashed
from resnets.inference.evaluation import evaluate
from resnets.inference.identification import build_gallery, identify
from resnets.runs.run import Run
from resnets.tasks.recognition import Recognition

NETWORK = {"model": "iresnet18", "widths": (32, 64, 128, 256), "dropout": 0.4}
VIEWS = "mirrored"
UNSEEN = 6
IN_THE_INDEX = 5
FALSE_ACCEPTS = 0.01
KINDS = ("mirrored", "single view", "eigenfaces")
METRICS = ("auc", "tar_at_far_1e-1", "tar_at_far_1e-2", "tar_at_far_1e-3", "accuracy", "rank1")


def linked(folder: Path, pictures: Sequence[Path]) -> None:
    """Fill a folder with links to pictures, each in the folder of its person."""
    for picture in pictures:
        target = folder / picture.parent.name / picture.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(picture.resolve())


def eigenfaces(data: Path) -> dict[str, float]:
    """The metrics of whitened principal components, as many as half the training pictures."""
    opened = open_dataset(data, task="recognition")
    pixels = {
        split: torch.stack([dataset.picture(index, 1).flatten() for index in range(len(dataset))]).float()
        for split, dataset in opened.splits.items()
    }
    components = PCA(len(pixels["train"]) // 2, whiten=True, random_state=0).fit(pixels["train"].numpy())
    test = opened.splits["test"]
    task = Recognition(opened.classes, Recognition.settings_of(opened.splits["train"].targets))
    outputs = torch.from_numpy(components.transform(pixels["test"].numpy()))
    return task.evaluation("test", outputs, test.targets, test.names).metrics


def open_set(run: Run, people: Sequence[Path], strangers: Path | None) -> dict[str, float]:
    """The share of pictures of people in the index that are named rightly, and of strangers that are called unknown."""
    pictures = {person: sorted(person.iterdir()) for person in people}
    named: list[bool] = []
    unknown: list[bool] = []
    for stranger in people:
        known = [person for person in people if person != stranger]
        with TemporaryDirectory() as folder:
            linked(Path(folder), [picture for person in known for picture in pictures[person][:IN_THE_INDEX]])
            gallery = build_gallery(run.folder, folder, rate=FALSE_ACCEPTS, strangers=strangers, views=VIEWS)
        asked = [picture for person in known for picture in pictures[person][IN_THE_INDEX:]]
        answers = zip(identify(gallery, asked), asked, strict=True)
        named += [answer.name == path.parent.name for answer, path in answers]
        unknown += [answer.name is None for answer in identify(gallery, pictures[stranger])]
    return {"named": mean(named), "unknown": mean(unknown)}


def main() -> None:
    """Print the table."""
    flags = parser(__doc__)
    default = Path(os.environ.get("RESNETS_DATA", "../shared/data")) / "orl_faces"
    flags.add_argument("--data", type=Path, default=default, help="a folder of pictures for each person")
    flags.add_argument("--seeds", type=int, default=5, help="how many choices of the six people")
    flags.add_argument("--epochs", type=int, help="of each training; by default what the recipe has")
    asked = flags.parse_args()
    options: dict[str, Any] = {**NETWORK, "task": "recognition", "console": Console(quiet=True)}
    if asked.quick or asked.epochs:
        options["epochs"] = asked.epochs or 5
    everyone = [person for person in asked.data.iterdir() if person.is_dir()]
    rows: list[dict[str, Any]] = []
    for seed in range(1 if asked.quick else asked.seeds):
        people = sorted(everyone, key=lambda person: hashed(seed, person.name))
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for split, part in (("test", people[:UNSEEN]), ("train", people[UNSEEN:])):
                linked(folder / "data" / split, [picture for person in part for picture in person.iterdir()])
            began = time.perf_counter()
            run = resnets.train(folder / "data", run=folder / "run", seed=seed, **options)
            seconds = time.perf_counter() - began
            single = {name: run.card().metrics[name] for name in METRICS}
            twice = evaluate(run.folder, views=VIEWS).metrics
            found = {name: twice[name] for name in METRICS}
            alone = open_set(run, people[:UNSEEN], None)
            found |= open_set(run, people[:UNSEEN], folder / "data" / "train")
            before = eigenfaces(folder / "data")
            eigen = {name: before[name] for name in METRICS}
            kinds = {"mirrored": found, "single view": single, "eigenfaces": eigen}
            rows.append({"seed": seed, "seconds": seconds, **kinds, "index alone": alone})
    table = Table(title="Six people never seen", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    headings = ("seed", "", "AUC", "TAR 1e-1", "TAR 1e-2", "TAR 1e-3", "verified", "rank-1", "named", "unknown", "s")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        for kind in KINDS:
            figures = row[kind]
            cells = [f"{figures['auc']:.4f}", *(f"{figures[name]:.1%}" for name in METRICS[1:])]
            more = [f"{figures[name]:.0%}" for name in ("named", "unknown") if name in figures] or ["", ""]
            last = f"{row['seconds']:.0f}" if kind == KINDS[0] else ""
            table.add_row(str(row["seed"]), kind, *cells, *more, last)
    console = Console(width=110)
    console.print(table)
    for kind in KINDS:
        told = []
        for name in METRICS[:3]:
            values = [row[kind][name] for row in rows]
            spread = f" (standard deviation {stdev(values):.3f}, least {min(values):.3f})" if len(values) > 1 else ""
            told.append(f"{Recognition.formats[name][0]} {mean(values):.3f}{spread}")
        console.print(f"{kind}: {'; '.join(told)}", highlight=False)
    for kind, fitted in (("index alone", "the index alone"), ("mirrored", "the people trained on")):
        shares = (f"{mean(row[kind][name] for row in rows):.1%} {name}" for name in ("named", "unknown"))
        console.print(f"with a threshold fitted on {fitted}: {', '.join(shares)}", highlight=False)
    if asked.json is not None:
        ratios = {name: mean(row["mirrored"][name] / row["eigenfaces"][name] for row in rows) for name in METRICS}
        asked.json.write_text(json.dumps({"figures": rows, "ratios": ratios}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
