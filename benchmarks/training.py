"""Training speed and memory beside a plain torchvision loop, timm's, and the convolutions alone.

ResNet-50 learns from JPEG files, decoded anew in every epoch, at 224 pixels in batches of 16:

- plain loop: torchvision's transforms and network, float32, the usual memory format, SGD;
- timm: its loader, network and optimiser as its train.py sets them up for `--amp --amp-dtype bfloat16 --channels-last`;
- convolutions alone: forward and backward of every convolution of the network, bfloat16, channels last;
- resnets: this project's loop, as `resnets train --workers 0` runs it: epochs are short, and new processes in each cost
  more than they save.

resnet20 learns CIFAR-10 as in train_cifar.py. ResNet-152 takes steps of 16 pictures, by the plain loop and with
`--memory low`, each in a process of its own, whose largest resident memory is that of the whole program.

    python benchmarks/training.py --json training.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import timm
import torch
import torchvision
import train_cifar
from common import alone, cifar10, in_own_process, parser, ratio, report, take_turns
from plain_step import measured, plain_step
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from resnets.data.opening import open_dataset
from resnets.inference.machine import keep_freed_memory
from resnets.networks.catalogue import architecture, build
from resnets.runs.run import Run
from resnets.training.engine import create_engine, engine_facts
from resnets.training.fit import train_step
from resnets.training.job import Job, create_job
from resnets.training.plan import plan

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def speed(step: Callable[[], None], steps: int, batch: int) -> Callable[[], float]:
    """Measures pictures per second over some steps, after one that is not counted."""

    def measure() -> float:
        step()
        began = time.perf_counter()
        for _ in range(steps):
            step()
        return steps * batch / (time.perf_counter() - began)

    return measure


def endless(loader: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
    """Its batches, epoch after epoch."""
    while True:
        yield from loader


def plain_loop(source: str, model: str, size: int, batch: int, steps: int, workers: int) -> Callable[[], float]:
    """torchvision's loop, as tutorials and its reference scripts have it on a processor."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(size),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    pictures = ImageFolder(source, transform)
    loader = DataLoader(
        pictures, batch, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=workers > 0
    )
    step = plain_step(torchvision.models.get_model(model, num_classes=len(pictures.classes)).train())
    batches = endless(loader)
    return speed(lambda: step(*next(batches)), steps, batch)


def timm_loop(source: str, model: str, size: int, batch: int, steps: int, workers: int) -> Callable[[], float]:
    """timm's loop, with the defaults of its train.py; its prefetcher is for GPUs."""
    pictures = create_dataset("", root=source, is_training=True)
    loader = create_loader(
        pictures,
        input_size=(3, size, size),
        batch_size=batch,
        is_training=True,
        use_prefetcher=False,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        color_jitter=0.4,
        interpolation="random",
        num_workers=workers,
        persistent_workers=workers > 0,
        device=torch.device("cpu"),
    )
    classes = len(pictures.reader.class_to_idx)
    network = timm.create_model(model, num_classes=classes).to(memory_format=torch.channels_last).train()
    optimiser = create_optimizer_v2(network, opt="sgd", lr=0.05, weight_decay=2e-5, momentum=0.9)
    batches = endless(loader)

    def step() -> None:
        images, targets = next(batches)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(network(images.contiguous(memory_format=torch.channels_last)), targets)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return speed(step, steps, batch)


def convolutions(model: str, size: int, batch: int, steps: int) -> Callable[[], float]:
    """Forward and backward of the network's convolutions, in its order; nothing is asked of the pictures."""
    network = build(architecture(model)).to(memory_format=torch.channels_last)
    calls: list[tuple[nn.Conv2d, Tensor]] = []

    def note(module: nn.Conv2d, inputs: tuple[Tensor, ...]) -> None:
        given = torch.randn_like(inputs[0], dtype=torch.bfloat16, memory_format=torch.channels_last)
        calls.append((module, given.requires_grad_(bool(calls))))

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(note)
    with torch.no_grad():
        network.train()(torch.empty(batch, 3, size, size).contiguous(memory_format=torch.channels_last))
    network.bfloat16()
    network.eval()
    for module, _ in calls:
        module._forward_pre_hooks.clear()
    keep_freed_memory()

    def step() -> None:
        for module, given in calls:
            outputs = module(given)
            outputs.backward(outputs.detach())
            given.grad = module.weight.grad = None

    return speed(step, steps, batch)


def our_job(source: str, model: str, size: int, batch: int, folder: str, memory: str = "high") -> Job:
    """A training that decodes its pictures in every epoch."""
    data = open_dataset(source)
    fabric = create_engine()
    fabric.launch()
    card = plan(data, model=model, recipe="paper-imagenet", size=size, changes={"batch_size": batch})
    card = replace(card, provenance={**card.provenance, **engine_facts(fabric), "memory": memory, "logger": None})
    job = create_job(fabric, lambda _: Run(Path(folder)), card, data, 0)
    job.train.memory_limit = 0
    job.network.train()
    return job


def our_step(job: Job) -> Callable[[], None]:
    """A step of the loop on the next batch."""

    def numbered() -> Iterator[tuple[object, int]]:
        epoch = 0
        while True:
            for batch in job.train.epoch(epoch):
                if len(batch) == job.recipe.batch_size:
                    yield batch, epoch
            epoch += 1

    batches = numbered()
    return lambda: train_step(job, *next(batches), job.recipe.lr)


def our_loop(source: str, model: str, size: int, batch: int, steps: int, folder: str) -> Callable[[], float]:
    """This project's loop."""
    return speed(our_step(our_job(source, model, size, batch, folder)), steps, batch)


def plain_memory(model: str, size: int, batch: int, steps: int) -> tuple[float, float]:
    """GiB at most and seconds a step of the plain loop, on pictures that are there already."""
    script = Path(__file__).with_name("plain_step.py")
    asked = (sys.executable, str(script), model, str(size), str(batch), str(steps))
    gib, seconds = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    return gib, seconds


def our_memory(source: str, model: str, size: int, batch: int, steps: int, folder: str) -> tuple[float, float]:
    """GiB at most and seconds a step of this project's loop with `--memory low`."""
    return measured(our_step(our_job(source, model, size, batch, folder, "low")), steps)


def main() -> None:
    """Print the tables."""
    flags = parser(__doc__)
    data = Path(os.environ.get("RESNETS_DATA", "../shared/data"))
    flags.add_argument("--photographs", default=data / "ants_bees", help="a folder with train/CLASS/*.jpg")
    flags.add_argument("--cifar", default=cifar10(), help="CIFAR-10 in any form")
    flags.add_argument("--model", default="resnet50", help="that learns from photographs")
    flags.add_argument("--deep", default="resnet152", help="whose memory is measured")
    flags.add_argument("--size", type=int, default=224, help="pixels")
    flags.add_argument("--batch", type=int, default=16, help="pictures a step")
    flags.add_argument("--steps", type=int, help="in a turn; by default 12, quickly 4")
    flags.add_argument("--rounds", type=int, help="of turns; by default 7, quickly 3")
    flags.add_argument("--workers", type=int, default=2, help="worker processes of torchvision's and timm's loaders")
    asked = flags.parse_args()
    steps, rounds = asked.steps or (4 if asked.quick else 12), asked.rounds or (3 if asked.quick else 7)
    photographs, of_training = str(asked.photographs), str(Path(asked.photographs) / "train")
    sizes = (asked.size, asked.batch, steps)
    with TemporaryDirectory() as folder:
        speeds = take_turns(
            {
                "plain loop, float32": in_own_process(plain_loop, of_training, asked.model, *sizes, asked.workers),
                "timm, bfloat16": in_own_process(timm_loop, of_training, asked.model, *sizes, asked.workers),
                "convolutions alone": in_own_process(convolutions, asked.model, *sizes),
                "resnets": in_own_process(our_loop, photographs, asked.model, *sizes, folder),
            },
            rounds,
        )
    report(f"Training {asked.model} from JPEG files", "pictures/s", speeds, "plain loop, float32", None)
    with TemporaryDirectory() as folder:
        of_small = take_turns(
            {
                "plain loop, float32": in_own_process(train_cifar.plain_loop, asked.cifar, 10 * steps, asked.workers),
                "resnets": in_own_process(train_cifar.our_loop, asked.cifar, 10 * steps, folder),
            },
            rounds,
        )
    report("Training resnet20 on CIFAR-10", "pictures/s", of_small, "plain loop, float32", None)
    with TemporaryDirectory() as folder:
        memory = {
            "plain loop, float32": plain_memory(asked.deep, *sizes),
            "resnets, --memory low": alone(our_memory, photographs, asked.deep, *sizes, folder),
        }
    table = Table(title=f"Steps of {asked.deep}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in ("GiB at most", "seconds a step"):
        table.add_column(heading, justify="right")
    for name, figures in memory.items():
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    Console().print(table)
    (plain_gib, plain_seconds), (our_gib, our_seconds) = memory.values()
    ratios = {
        f"{asked.model}_vs_plain_loop": ratio(speeds, "resnets", "plain loop, float32"),
        f"{asked.model}_vs_timm": ratio(speeds, "resnets", "timm, bfloat16"),
        f"{asked.model}_vs_convolutions": ratio(speeds, "resnets", "convolutions alone"),
        "resnet20_vs_plain_loop": ratio(of_small, "resnets", "plain loop, float32"),
        f"{asked.deep}_memory": our_gib / plain_gib,
        f"{asked.deep}_time": our_seconds / plain_seconds,
    }
    for name, value in ratios.items():
        print(f"{name}: {value:.2f}")
    if asked.json is not None:
        content = {
            "ratios": ratios,
            f"{asked.model} pictures/s": speeds,
            "resnet20 pictures/s": of_small,
            f"{asked.deep} GiB and seconds a step": memory,
        }
        asked.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
