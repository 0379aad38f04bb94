"""Time and memory of training very deep networks on CIFAR-10 in batches of 128, with all maps kept and with few.

Each network is trained in a process of its own, whose largest resident memory is that of the whole program: Python,
PyTorch and the decoded pictures are in it. The rate is 0.01, with which the paper begins where a network has more than
a hundred layers (arXiv:1512.03385, section 4.2).

    python benchmarks/deep_memory.py --data cifar10.tar
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any

from common import alone, cifar10, parser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from resnets.data.opening import open_dataset
from resnets.runs.run import Run
from resnets.training.engine import create_engine, engine_facts
from resnets.training.fit import train_step
from resnets.training.job import create_job
from resnets.training.plan import plan

NETWORKS = ("resnet1202", "preresnet1001")
BATCH, RATE = 128, 0.01


def train(source: str, model: str, memory: str, steps: int) -> dict[str, Any]:
    """Seconds of a step, GiB before the first and at most, and the losses."""
    fabric = create_engine()
    fabric.launch()
    card = plan(open_dataset(source), model=model, recipe="paper-cifar", changes={"batch_size": BATCH, "lr": RATE})
    card = replace(card, provenance={**card.provenance, **engine_facts(fabric), "memory": memory, "logger": None})
    seconds, losses, counted = [], [], 0.0
    with TemporaryDirectory() as folder:
        job = create_job(fabric, lambda _: Run(Path(folder)), card, open_dataset(source), None)
        job.network.train()
        before = gibibytes()
        batches = job.train.epoch(0)
        for step in range(steps):
            began = time.perf_counter()
            train_step(job, next(batches), 0, RATE)
            seconds.append(time.perf_counter() - began)
            total = job.state.totals[1].item()
            losses.append((total - counted) / BATCH)
            counted, job.state.step = total, step + 1
    return {"seconds": seconds, "before": before, "peak": gibibytes(), "losses": losses}


def gibibytes() -> float:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # KiB, on Linux


def main() -> None:
    """Print the table."""
    flags = parser(__doc__)
    flags.add_argument("--data", default=cifar10(), help="CIFAR-10 in any form")
    flags.add_argument("--networks", nargs="+", default=NETWORKS)
    flags.add_argument("--steps", type=int, default=100, help="with few maps kept")
    flags.add_argument("--kept-steps", type=int, default=5, help="with all maps kept")
    asked = flags.parse_args()
    table = Table(title=f"Training in batches of {BATCH}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("memory", "steps", "s/step", "GiB before", "at most", "loss, first", "last"):
        table.add_column(heading, justify="right")
    found = {}
    for model in asked.networks:
        for memory, steps in (("low", asked.steps), ("high", asked.kept_steps)):
            steps = min(steps, 3) if asked.quick else steps
            measured = alone(train, asked.data, model, memory, steps)
            found[f"{model} {memory}"] = measured
            tenth = max(1, steps // 10)
            figures = (median(measured["seconds"][1:]), measured["before"], measured["peak"])
            losses = (mean(measured["losses"][:tenth]), mean(measured["losses"][-tenth:]))
            table.add_row(model, memory, str(steps), *(f"{figure:.2f}" for figure in (*figures, *losses)))
    Console().print(table)
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
