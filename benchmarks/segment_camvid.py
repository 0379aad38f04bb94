"""Segmentation: how well every pixel of a road scene is classified after an hour of training, and how fast.

The pictures are those of CamVid as SegNet's authors prepared them: 367 train and 101 validate, 480 x 360 pixels, eleven
classes; unlabelled pixels count neither way. Each decoder stands on ResNet-18 and on its plain twin, both from random
weights, trained alike on these pictures alone. The network sees them at half their size and is judged at full size.

    python benchmarks/segment_camvid.py --data camvid

Speeds are those of the finished networks: pictures of 480 x 360 a second, one at a time, from their pixels to a class
for each, by PyTorch and as an export to OpenVINO in float32.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from common import parser, trained
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import resnets
from resnets.inference.export import write_export
from resnets.inference.predictor import Predictor, load
from resnets.runs.run import Run

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign-symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
    "unlabelled",
)
MODELS = ("unet_resnet18", "unet_plain18", "deeplabv3plus_resnet18", "deeplabv3plus_plain18")
PICTURE = (360, 480)


def linked(camvid: Path, folder: Path) -> Path:
    """The data set with the names of its classes beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("images", "masks"):
        if not (folder / kind).exists():
            (folder / kind).symlink_to((camvid / kind).resolve())
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    return folder


def pictures_a_second(predictor: Predictor, rounds: int) -> float:
    """The median speed of single pictures, from their pixels to a class for each."""
    picture = np.random.default_rng(0).integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
    seconds = []
    for _ in range(rounds + 2):
        begun = time.perf_counter()
        predictor(picture)
        seconds.append(time.perf_counter() - begun)
    return 1 / median(seconds[2:])


def speeds(run: Run, folder: Path, rounds: int) -> dict[str, float]:
    """Pictures a second in float32, in bfloat16, and exported to OpenVINO."""
    exported = write_export(run, folder / f"{run.folder.name}-export", "openvino").run
    predictors = {
        "float32": load(run.folder, engine="eager", precision="float32"),
        "bfloat16": load(run.folder, engine="eager", precision="bfloat16"),
        "exported": load(exported.folder),
    }
    return {name: pictures_a_second(predictor, rounds) for name, predictor in predictors.items()}


def main() -> None:
    """Train each network in turn and print the tables."""
    flags = parser(__doc__)
    default = Path(os.environ.get("RESNETS_DATA", "../shared/data")) / "camvid"
    flags.add_argument("--data", type=Path, default=default, help="CamVid: images and masks, each with train and val")
    flags.add_argument("--models", nargs="+", default=MODELS)
    flags.add_argument("--size", type=int, default=180, help="shorter side of what the network sees, in pixels")
    flags.add_argument("--epochs", type=int, default=0, help="by default the recipe's")
    flags.add_argument(
        "--runs",
        type=Path,
        help="keep the runs here, and go on with those that are there",
    )
    asked = flags.parse_args()
    epochs = asked.epochs or (2 if asked.quick else 0)
    figures: dict[str, dict[str, float]] = {}
    ious: dict[str, dict[str, float | None]] = {}
    with TemporaryDirectory() as temporary:
        runs = asked.runs or Path(temporary)
        data = linked(asked.data, runs / "camvid")
        for model in asked.models:
            changes = {"epochs": epochs} if epochs else {}
            run = trained(data, runs / model, model=model, recipe="segmentation", size=asked.size, **changes)
            card = run.card()
            ious[model] = {name: scores.iou for name, scores in resnets.evaluate(run.folder).each.items()}
            rates = speeds(run, Path(temporary), 3 if asked.quick else 20)
            minutes = card.provenance["seconds"] / 60
            figures[model] = {**card.metrics, "minutes": minutes, **rates}
    console = Console(width=110)
    table = Table(title="CamVid, 101 validation pictures", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in ("mean IoU", "pixels right", "boundary F1", "minutes", "float32", "bfloat16", "exported"):
        table.add_column(heading, justify="right")
    for model, own in figures.items():
        shares = (f"{own[name]:.1%}" for name in ("miou", "accuracy", "boundary_f1"))
        rates = [f"{own[name]:.1f}/s" for name in ("float32", "bfloat16", "exported")]
        table.add_row(model, *shares, f"{own['minutes']:.0f}", *rates)
    console.print(table)
    by_class = Table(title="IoU of each class", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    by_class.add_column("")
    for model in ious:
        by_class.add_column(model, justify="right")
    for name in CLASSES[:-1]:
        by_class.add_row(name, *("-" if (iou := own[name]) is None else f"{iou:.1%}" for own in ious.values()))
    console.print(by_class)
    if asked.json is not None:
        ratios = {model: own["miou"] / figures[asked.models[0]]["miou"] for model, own in figures.items()}
        content = {"figures": figures, "ious": ious, "ratios": ratios}
        asked.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
