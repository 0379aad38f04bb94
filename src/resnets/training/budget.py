"""What a training will take before it is begun: steps, time and cost, and where each number comes from."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import cast

import torch
from lightning_fabric import Fabric
from torch.nn import functional as F
from torch.optim import Optimizer

from resnets.data.transforms import normalise
from resnets.inference.machine import processor_name
from resnets.networks.catalogue import architecture, build
from resnets.training.optimisers import create_optimiser
from resnets.training.recipe import Recipe
from resnets.types import Preprocessing

EFFICIENCY = 0.9
"""Of several devices, the share of their added speeds: from 8 to 256 GPUs (arXiv:1706.02677, abstract)."""

STEPS_IN_A_GROUP = 4

EVALUATION_COST = 1 / 3
"""Of a picture, beside that of training, which computes a gradient by the maps and one by the weights as well."""


@dataclass(frozen=True)
class Known:
    """A data set by its published numbers.

    Attributes:
        train, val: pictures.
        classes: how many there are.
        bytes: of a picture's file, on average.
        source: of these numbers.
    """

    train: int
    val: int
    classes: int
    bytes: int
    source: str


KNOWN = {
    "imagenet": Known(
        1_281_167,
        50_000,
        1000,
        115_000,
        "ILSVRC 2012 (arXiv:1409.0575, table 2); 147.9 GB of training files",
    ),
    "cifar10": Known(50_000, 10_000, 10, 3072, "A. Krizhevsky, 2009; 32 x 32 x 3 bytes"),
}


@dataclass(frozen=True)
class Budget:
    """What a training takes.

    Attributes:
        pictures: that it trains on, all epochs counted, and those it evaluates on.
        steps: of the optimiser.
        epochs: passes over the training pictures.
        throughput: training pictures a second, of all devices together.
        hours: of all devices at the same time.
        device_hours: those times the devices.
        cost: device hours times the price of one; None without a price.
        read: bytes a second that files have to be read at.
    """

    pictures: int
    evaluated: int
    steps: int
    epochs: float
    throughput: float
    hours: float
    device_hours: float
    cost: float | None
    read: float


def budget(
    data: Known,
    recipe: Recipe,
    throughput: float,
    devices: int = 1,
    efficiency: float = 1.0,
    price: float | None = None,
) -> Budget:
    """What training by a recipe takes on devices that train on `throughput` pictures a second each.

    Raises:
        ValueError: for numbers that no training has.
    """
    if throughput <= 0 or not math.isfinite(throughput):
        raise ValueError(f"throughput must be above 0 pictures a second, not {throughput}")
    if devices < 1 or not 0 < efficiency <= 1 or (price is not None and price < 0):
        raise ValueError(
            f"devices must be 1 or more, efficiency above 0 and at most 1, and a price not negative; not {devices}, "
            f"{efficiency} and {price}"
        )
    # As `Loader` counts them: a last batch of fewer than two pictures a device is left out.
    full, rest = divmod(data.train, recipe.batch_size)
    in_epoch = full + (rest >= 2 * devices)
    if not in_epoch:
        raise ValueError(f"{data.train:,} pictures are too few for a batch of {recipe.batch_size} on {devices} devices")
    steps = recipe.total_steps(in_epoch)
    epochs = steps / in_epoch
    pictures = round(epochs * min(data.train, in_epoch * recipe.batch_size))
    evaluated = data.val * (math.ceil(epochs) // recipe.evaluate_every or 1)
    together = throughput * devices * (efficiency if devices > 1 else 1.0)
    hours = (pictures + evaluated * EVALUATION_COST) / together / 3600
    cost = None if price is None else hours * devices * price
    return Budget(pictures, evaluated, steps, epochs, together, hours, hours * devices, cost, together * data.bytes)


@dataclass(frozen=True)
class Measured:
    """Training pictures a second on this machine, of the fastest of some groups of steps, and on what."""

    throughput: float
    device: str
    precision: str
    batch_size: int
    steps: int


def measure(
    model: str, classes: int, size: int, batch_size: int, recipe: Recipe, fabric: Fabric, seconds: float
) -> Measured:
    """How fast one device takes training steps of a network on pictures of noise that lie in its memory.

    The steps are training's own but for reading, cropping and flipping pictures. Of groups of steps, the fastest
    counts, as a machine that others use is slower at times.
    """
    torch.manual_seed(0)
    declaration = replace(architecture(model), num_classes=classes)
    network = build(declaration).to(memory_format=torch.channels_last)
    wrapped = fabric.setup_module(network)
    optimiser = cast(Optimizer, fabric.setup_optimizers(create_optimiser(network, recipe)))
    channels = declaration.in_channels
    images = torch.randint(0, 256, (batch_size, channels, size, size), dtype=torch.uint8, device=fabric.device)
    targets = torch.randint(0, classes, (batch_size,), device=fabric.device)
    seen = Preprocessing((size, size), channels, (0.5,) * channels, (0.25,) * channels)

    def step() -> None:
        loss = F.cross_entropy(wrapped(normalise(images, seen, channels_last=True)), targets)
        fabric.backward(loss)
        optimiser.step()
        optimiser.zero_grad()

    wrapped.train()
    step()  # memory is taken, algorithms are chosen
    speeds: list[float] = []
    taken, end = 0, time.perf_counter() + seconds
    while len(speeds) < 3 or time.perf_counter() < end:
        started = now(fabric.device)
        for _ in range(STEPS_IN_A_GROUP):
            step()
        speeds.append(STEPS_IN_A_GROUP * batch_size / (now(fabric.device) - started))
        taken += STEPS_IN_A_GROUP
    device = torch.cuda.get_device_name() if fabric.device.type == "cuda" else processor_name()
    return Measured(max(speeds), device, str(fabric._precision.precision), batch_size, taken)


def now(device: torch.device) -> float:
    """The time in seconds when all that the device was given is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
