"""Blood cells found (BCCD): two kinds of detectors, and one of them on a VGG and on a residual backbone.

Every training has the same pictures, size, recipe and seed; the weights begin at random. A row gives the network, its
multiply-adds for a picture, the time of the training, and COCO's metrics on the validation split. Runs that are there
are gone on with.

    python benchmarks/blood_cells.py bccd --json results/blood_cells.json
    python benchmarks/blood_cells.py bccd --models fasterrcnn_vgg16_bn_fpn fasterrcnn_resnet34_fpn
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from common import trained
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from resnets.networks.catalogue import build, declaration_from_dict

SUITED = {"pyramid": 128, "proposals": 128, "anchor_size": 4.0}
"""Of Faster R-CNN: half the channels and a quarter of the proposals that torchvision has, for two cores; and anchors
from 16 pixels up, because platelets are so small in pictures of this size."""

MODELS = ("yolo_resnet18", "fasterrcnn_resnet18_fpn", "fasterrcnn_vgg16_bn_fpn", "fasterrcnn_resnet34_fpn")


def multiply_adds(architecture: dict[str, object], size: tuple[int, int]) -> int:
    """Of the backbone alone, for one picture."""
    with torch.device("meta"):
        body = build(declaration_from_dict(architecture)).eval().backbone.body
        images = torch.empty(1, 3, *size)
        with FlopCounterMode(display=False) as counter:
            body.features(images)
    return int(counter.get_total_flops()) // 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--runs", type=Path, default=Path("runs/blood-cells"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for model in options.models:
        changes = SUITED if model.startswith("fasterrcnn") else {}
        if options.epochs is not None:
            changes = changes | {"epochs": options.epochs}
        run = trained(options.data, options.runs / model, model=model, size=options.size, **changes)
        card = run.card()
        rows.append(
            {
                "model": model,
                "backbone_multiply_adds": multiply_adds(card.architecture, card.preprocessing.size),
                "seconds": card.provenance["seconds"],
                **card.metrics,
            }
        )
        if options.json:
            options.json.write_text(json.dumps(rows, indent=2) + "\n")
    table = Table()
    for heading in ("Model", "Backbone's multiply-adds", "Minutes", "mAP at 0.5", "mAP"):
        table.add_column(heading, justify="left" if heading == "Model" else "right")
    for row in rows:
        cost, minutes = f"{row['backbone_multiply_adds'] / 1e9:.2f} G", f"{row['seconds'] / 60:.1f}"
        table.add_row(row["model"], cost, minutes, f"{row['map50']:.1%}", f"{row['map']:.1%}")
    Console().print(table)


if __name__ == "__main__":
    main()
