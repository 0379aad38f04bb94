"""What each ingredient of `--recipe fast` brings: CIFAR-10 with all of them, and without each alone.

    python benchmarks/fast_ingredients.py --data cifar10.tar

A short training each. What is left out gives way to what is usual: Muon to SGD, alternating flips to random ones.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from unittest import mock

from common import alone, cifar10, parser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

import resnets
from resnets.networks.fastresnet import Narrow, Straight

SGD = {"optimizer": "sgd", "lr": 0.4, "momentum": 0.85, "nesterov": True}
"""Of a rate that was not tuned."""

WITHOUT: Mapping[str, Mapping[str, object]] = {
    "Muon: SGD with Nesterov's momentum": SGD,
    "alternating flips: flips at random": {"flip_alternately": False},
    "mirrored margins: black ones": {"pad_mode": "constant"},
    "16 times the rate for norms' biases: the same as all": {"norm_bias_lr": 1.0},
    "label smoothing: none": {"label_smoothing": 0.0},
    "pictures that grow: of full size in every epoch": {"progressive": 0},
    "a rate that falls in a line: in a cosine": {"schedule": "cosine"},
}


def plain(block: Straight, x: Tensor) -> Tensor:
    """A block without its shortcut."""
    return block.residual(x)


def nothing(*_: object) -> None:
    """Instead of what a patched function does."""


PATCHES: Mapping[str, Callable[[], object]] = {
    "shortcuts: none": lambda: mock.patch.object(Straight, "forward", plain),
    "whitening by the pictures: orthogonal filters at random": lambda: mock.patch(
        "resnets.training.job.whiten", nothing
    ),
    "stages that begin as the identity: He's": lambda: mock.patch.object(Narrow, "begin_as_identity", nothing),
}


def judged(source: str, folder: str, changes: dict[str, object], left_out: str, views: tuple[str, ...]) -> list[float]:
    """Accuracy in each kind of views, and the seconds of training."""
    with PATCHES.get(left_out, mock.MagicMock)():
        began = time.perf_counter()
        run = resnets.train(source, run=folder, recipe="fast", console=Console(file=StringIO()), **changes)
        seconds = time.perf_counter() - began
        accuracies = [
            resnets.evaluate(run.folder, source, views=each, precision="auto").metrics["accuracy"] for each in views
        ]
    return [*accuracies, seconds]


def main() -> None:
    """Print the table."""
    flags = parser(__doc__)
    flags.add_argument("--data", default=cifar10(), help="CIFAR-10 in any form")
    flags.add_argument("--epochs", type=int, default=4)
    flags.add_argument("--seeds", type=int, default=1)
    lines = ("nothing", *PATCHES, *WITHOUT)
    flags.add_argument("--without", nargs="+", default=lines, choices=lines, metavar="LINE", help="of the table; all")
    asked = flags.parse_args()
    epochs = 1 if asked.quick else asked.epochs
    views = ("single", "mirrored", "shifted")
    runs: dict[str, list[list[float]]] = {}
    with TemporaryDirectory() as temporary:
        for left_out in asked.without:
            for seed in range(asked.seeds):
                changes = {"epochs": epochs, "seed": seed, "evaluate_every": epochs, **WITHOUT.get(left_out, {})}
                folder = str(Path(temporary) / f"{len(runs)}-{seed}")
                runs.setdefault(left_out, []).append(alone(judged, asked.data, folder, changes, left_out, views))
                print(left_out, seed, *(f"{share:.2%}" for share in runs[left_out][-1][:-1]), file=sys.stderr)
    title = f"CIFAR-10's test pictures after {epochs} epochs, mean of {asked.seeds} seeds"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("without: instead")
    for heading in (*views, "points", "seconds"):
        table.add_column(heading, justify="right")
    means = {left_out: [mean(column) for column in zip(*each, strict=True)] for left_out, each in runs.items()}
    for left_out, (*shares, seconds) in means.items():
        points = f"{100 * (shares[-1] - means['nothing'][-2]):+.2f}" if "nothing" in means else ""
        table.add_row(left_out, *(f"{share:.2%}" for share in shares), points, f"{seconds:.0f}")
    Console(width=140).print(table)
    if asked.json is not None:
        content = {"epochs": epochs, "views": views, "runs": runs}
        asked.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
