"""Where the time of a training step goes, by PyTorch's profiler.

    python benchmarks/profile_step.py                             # ResNet-50 from JPEG files, 16 at 224 pixels
    python benchmarks/profile_step.py --model resnet20 --data cifar10.tar --size 32 --batch 128

The shares are of the seconds that a step takes in the training itself, the profiler switched off; what the profiler
counts of each kind of operation is scaled to them. "waiting for pictures" is what the loop waits for its loader.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from common import parser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from training import our_job

from resnets.training.fit import train_step

KINDS = {
    "convolutions, backward": ("convolution_backward",),
    "convolutions, forward": ("mkldnn_convolution", "cudnn_convolution", "thnn_conv", "slow_conv"),
    "batch norm and what goes with it, backward": ("batch_norm_backward", "_NormalisedBackward"),
    "batch norm and what goes with it, forward": ("batch_norm", "_Normalised"),
    "activations": ("relu", "threshold", "gelu", "silu", "clamp_min"),
    "sums of branches": ("aten::add", "_Fork"),
    "pooling": ("pool", "_MaxPool", "aten::mean"),
    "optimiser": ("_fused_", "_foreach", "Optimizer", "aten::mm", "aten::bmm"),
    "copies and casts": ("copy_", "_to_copy", "aten::to", "contiguous", "clone", "zero_", "fill_", "cat", "index"),
}
"""Parts of the names of operations, looked for in this order; all else is "other"."""


def kind_of(operation: str) -> str:
    """Under what an operation is counted."""
    return next((kind for kind, parts in KINDS.items() if any(part in operation for part in parts)), "other")


def main() -> None:
    """Print the table."""
    flags = parser(__doc__)
    data = Path(os.environ.get("RESNETS_DATA", "../shared/data"))
    flags.add_argument("--data", default=data / "ants_bees", help="any data set of classes")
    flags.add_argument("--model", default="resnet50")
    flags.add_argument("--size", type=int, default=224, help="pixels")
    flags.add_argument("--batch", type=int, default=16, help="pictures a step")
    asked = flags.parse_args()
    steps = 4 if asked.quick else 12
    waited, whole = [], []
    with TemporaryDirectory() as folder:
        job = our_job(str(asked.data), asked.model, asked.size, asked.batch, folder)
        batches = (batch for epoch in range(1_000_000) for batch in job.train.epoch(epoch))

        def step() -> None:
            began = time.perf_counter()
            batch = next(batches)
            waited.append(time.perf_counter() - began)
            train_step(job, batch, 0, job.recipe.lr)
            whole.append(time.perf_counter() - began)

        for _ in range(steps + 2):
            step()
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            for _ in range(steps):
                step()
    seconds, waiting = median(whole[2 : steps + 2]), median(waited[2 : steps + 2])
    counted: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        counted[kind_of(event.key)] += event.self_cpu_time_total
    scale = (seconds - waiting) / sum(counted.values())
    shares = {kind: own * scale / seconds for kind, own in counted.items()} | {
        "waiting for pictures": waiting / seconds
    }
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("share", justify="right")
    for kind, share in sorted(shares.items(), key=lambda item: -item[1]):
        table.add_row(kind, f"{share:.1%}")
    console = Console()
    title = f"A step of {asked.model}, {asked.batch} pictures of {asked.size} pixels: {seconds:.3f} s"
    console.print(title, style="italic", highlight=False)
    console.print(table)
    machine = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    console.print(f"median of {steps} steps; {machine}", highlight=False)
    if asked.json is not None:
        asked.json.write_text(json.dumps({"seconds": seconds, "shares": shares}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
