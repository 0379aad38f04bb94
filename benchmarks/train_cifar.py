"""Training speed on CIFAR-10, from pictures in memory to the optimiser's step: this project beside a plain loop.

The plain loop is what tutorials show: torchvision's transforms on PIL pictures in worker processes, float32, the usual
memory format, SGD. Both train the same resnet20 in batches of 128.

    python benchmarks/train_cifar.py --data cifar10.tar --quick
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from common import cifar10, in_own_process, parser, report, take_turns
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import v2

from resnets.data.dataset import Dataset
from resnets.data.opening import open_dataset
from resnets.runs.run import Run
from resnets.training.engine import create_engine, engine_facts
from resnets.training.fit import train_step
from resnets.training.job import create_job
from resnets.training.plan import plan
from resnets.types import Batch
from resnets.weights.models import create_model

BATCH = 128
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class InMemory(TorchDataset[tuple[Tensor, int]]):
    """CIFAR-10 as torchvision's data set gives it: an array in memory, a PIL picture and transforms for each sample."""

    def __init__(self, dataset: Dataset) -> None:
        self.pixels = torch.stack([dataset.picture(i, 3) for i in range(len(dataset))]).permute(0, 2, 3, 1).numpy()
        self.targets = dataset.targets.tolist()
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.targets[index]


def plain_loop(source: str, steps: int, workers: int) -> Callable[[], float]:
    """Pictures per second of the plain loop over the next `steps` steps."""
    dataset = open_dataset(source).splits["train"]
    network = create_model("resnet20", num_classes=10).train()
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(InMemory(dataset), BATCH, shuffle=True, num_workers=workers, drop_last=True)

    def step(images: Tensor, targets: Tensor) -> None:
        loss = F.cross_entropy(network(images), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def measure() -> float:
        batches = iter(loader)
        step(*next(batches))  # the workers have started
        began = time.perf_counter()
        for _ in range(steps):
            step(*next(batches))
        return steps * BATCH / (time.perf_counter() - began)

    return measure


def our_loop(source: str, steps: int, folder: str) -> Callable[[], float]:
    """Pictures per second of this project's loop over the next `steps` steps."""
    data = open_dataset(source)
    fabric = create_engine()
    fabric.launch()
    card = plan(data, model="resnet20", recipe="paper-cifar")
    card = replace(card, provenance={**card.provenance, **engine_facts(fabric), "logger": None})
    job = create_job(fabric, lambda _: Run(Path(folder)), card, data, None)
    job.network.train()

    def endless() -> Iterator[tuple[Batch, int]]:
        epoch = 0
        while True:
            for batch in job.train.epoch(epoch):
                yield batch, epoch
            epoch += 1

    batches = endless()

    def measure() -> float:
        train_step(job, *next(batches), job.recipe.lr)
        began = time.perf_counter()
        for _ in range(steps):
            train_step(job, *next(batches), job.recipe.lr)
        return steps * BATCH / (time.perf_counter() - began)

    return measure


def main() -> None:
    """Print the table."""
    flags = parser(__doc__)
    flags.add_argument("--data", default=cifar10(), help="CIFAR-10 in any form")
    flags.add_argument("--workers", type=int, default=2, help="worker processes of the plain loop")
    asked = flags.parse_args()
    steps, rounds = (40, 3) if asked.quick else (150, 9)
    with TemporaryDirectory() as folder:
        contenders = {
            "plain loop, float32": in_own_process(plain_loop, asked.data, steps, asked.workers),
            "resnets": in_own_process(our_loop, asked.data, steps, folder),
        }
        speeds = take_turns(contenders, rounds)
    report("Training resnet20 on CIFAR-10", "pictures/s", speeds, "plain loop, float32", asked.json)


if __name__ == "__main__":
    main()
