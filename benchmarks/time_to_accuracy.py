"""CIFAR-10 to 94 % of its test pictures right: `--recipe fast`, a residual network, beside airbench94, which is none.

    python benchmarks/time_to_accuracy.py --data cifar10.tar --peer airbench94_muon.py

The peer is that file of github.com/KellerJordan/cifar10-airbench, which is written for a GPU: on a processor its
tensors stay where they are, and are bfloat16 instead of float16, and it is not compiled unless asked. Both take turns,
a seed each, all processors to themselves. Time is from the first step to the answers for the test pictures, of which
each is looked at in the same six views: shifted by a pixel to either side or not, mirrored or not. Ours also reads the
pictures in that time, and writes its run.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from io import StringIO
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

import torch
from common import alone, cifar10, parser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import resnets
from resnets.data.opening import open_dataset

AIM = 0.94

Result = tuple[float, float]
"""Seconds, and the share of the test pictures that are right."""


def ours(source: str, folder: str, seed: int, changes: dict[str, object]) -> Result:
    """Of our recipe."""
    began = time.perf_counter()
    at_the_end = {"evaluate_every": 1_000_000}
    console = Console(file=StringIO())
    run = resnets.train(source, run=folder, recipe="fast", seed=seed, console=console, **at_the_end | changes)
    judged = resnets.evaluate(run.folder, source, views="shifted", precision="auto")
    return time.perf_counter() - began, judged.metrics["accuracy"]


class _Event:
    """CUDA's event, by the clock."""

    def __init__(self, **_: object) -> None:
        self.time = 0.0

    def record(self) -> None:
        self.time = time.perf_counter()

    def elapsed_time(self, other: _Event) -> float:
        return 1e3 * (other.time - self.time)


def theirs(file: str, folder: str, seed: int, compiled: bool) -> Result:
    """Of airbench94's own code, its pictures lying in a folder."""
    os.chdir(folder)
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        code = Path(file).read_text(encoding="utf-8")
        for gpu, cpu in ((".cuda()", ""), ('torch.device("cuda")', 'torch.device("cpu")'), (".half()", ".bfloat16()")):
            code = code.replace(gpu, cpu)
        file = str(Path(folder) / "airbench94.py")
        Path(file).write_text(code, encoding="utf-8")
        torch.cuda.Event = _Event  # type: ignore[misc, assignment]
        torch.cuda.synchronize = lambda *_: None
    if not compiled:
        torch.compile = lambda function=None, **_: function  # type: ignore[assignment]
    airbench = runpy.run_path(file, run_name="airbench94")
    model = airbench["CifarNet"]().to("cuda" if on_gpu else "cpu", memory_format=torch.channels_last)
    if compiled:
        model.compile(mode="max-autotune")
        airbench["main"]("warmup", model)
    seconds: list[float] = []
    details = airbench["main"].__globals__
    details["print_training_details"] = lambda variables, **_: seconds.append(variables["time_seconds"])
    torch.manual_seed(seed)
    accuracy = airbench["main"](seed, model)
    return seconds[-1], accuracy


def write_for_peer(source: str, folder: Path) -> None:
    """CIFAR-10 as the peer keeps it once it has downloaded it."""
    data = open_dataset(source)
    folder.mkdir()
    for split in ("train", "test"):
        pictures = data.splits[split]
        images = torch.stack([pictures.picture(index, 3) for index in range(len(pictures))]).permute(0, 2, 3, 1)
        kept = {"images": images.contiguous(), "labels": pictures.targets, "classes": list(data.classes)}
        torch.save(kept, folder / f"{split}.pt")


def main() -> None:
    """Print the table."""
    flags = parser(__doc__)
    flags.add_argument("--data", default=cifar10(), help="CIFAR-10 in any form")
    flags.add_argument("--peer", type=Path, help="airbench94_muon.py; without it ours alone")
    flags.add_argument("--compile-peer", action="store_true", help="compile it, with a training that is not counted")
    flags.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of our trainings")
    flags.add_argument(
        "--peer-seeds", type=int, nargs="+", help="of the peer, whose accuracy is published; or the same"
    )
    flags.add_argument("--change", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of our recipe, in JSON")
    asked = flags.parse_args()
    changes: dict[str, object] = {
        name: json.loads(value) for name, _, value in (each.partition("=") for each in asked.change)
    }
    if asked.quick:
        changes["epochs"] = 1
    seeds = {"resnets, --recipe fast": asked.seeds}
    if asked.peer:
        seeds["airbench94"] = asked.seeds if asked.peer_seeds is None else asked.peer_seeds
    results: dict[str, list[Result]] = {name: [] for name in seeds}
    with TemporaryDirectory() as temporary:
        if asked.peer:
            write_for_peer(asked.data, Path(temporary) / "cifar10")
        for seed in sorted({*asked.seeds, *seeds.get("airbench94", ())}):
            for name, each in results.items():
                if seed not in seeds[name]:
                    continue
                if name == "airbench94":
                    result = alone(theirs, str(asked.peer.resolve()), temporary, seed, asked.compile_peer)
                else:
                    result = alone(ours, asked.data, str(Path(temporary) / f"run-{seed}"), seed, changes)
                each.append(result)
                print(f"{name}, seed {seed}: {result[1]:.2%} in {result[0]:.0f} s", file=sys.stderr, flush=True)
    table = Table(title="CIFAR-10, six views", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in ("test accuracy", "of each seed", "seconds, mean"):
        table.add_column(heading, justify="right")
    for name, each in results.items():
        seconds, accuracies = zip(*each, strict=True)
        spread = f" (sd {stdev(accuracies):.2%})" if len(each) > 1 else ""
        own = ", ".join(f"{accuracy:.2%}" for accuracy in accuracies)
        table.add_row(name, f"{mean(accuracies):.2%}{spread}", own, f"{mean(seconds):.0f}")
    console = Console()
    console.print(table)
    console.print(f"aimed at: {AIM:.1%}; torch {torch.__version__}, {torch.get_num_threads()} threads", highlight=False)
    if asked.json is not None:
        means = {
            name: {"seconds": mean(s for s, _ in each), "accuracy": mean(a for _, a in each), "all": each}
            for name, each in results.items()
        }
        ratios = {name: own["seconds"] / means["resnets, --recipe fast"]["seconds"] for name, own in means.items()}
        content = {"changes": changes, "figures": means, "ratios": ratios}
        asked.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
