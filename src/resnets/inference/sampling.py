"""Pictures out of noise: the solvers, and a run's network that makes pictures of the classes that are asked for.

The network's velocity is followed from time 0, noise, to time 1, pictures: dx/dt = v(x, t), in equal steps.

| solver | order | velocities a step | |
|---|---|---|---|
| euler | 1 | 1 | v at the step's beginning |
| midpoint | 2 | 2 | v at its middle, which half a step of Euler's leads to |
| heun | 2 | 2 | the mean of v at its beginning and at its end, which a step of Euler's leads to |

Legend: N pictures, C x H x W numbers of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from resnets.data.order import normal
from resnets.inference.exported import chosen_device, generating_network
from resnets.runs.card import Card
from resnets.runs.run import find_run

Solver = Literal["euler", "midpoint", "heun"]

SAMPLING_BATCH = 64
"""Pictures that are made at a time, where nobody says otherwise."""


def integrate(velocity: Callable[[Tensor, float], Tensor], x: Tensor, steps: int, solver: Solver = "heun") -> Tensor:
    """Where dx/dt = velocity(x, t) leads from `x` at time 0 to time 1.

    Raises:
        ValueError: for no steps, or a solver that is none.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if solver not in get_args(Solver):
        raise ValueError(f"solver must be one of {', '.join(get_args(Solver))}, not {solver!r}")
    size = 1 / steps
    for number in range(steps):
        time = number * size
        slope = velocity(x, time)
        if solver == "midpoint":
            slope = velocity(x + size / 2 * slope, time + size / 2)
        elif solver == "heun":
            slope = (slope + velocity(x + size * slope, time + size)) / 2
        x = x + size * slope
    return x


def guided(network: Any, labels: Tensor, guidance: float) -> Callable[[Tensor, float], Tensor]:
    """The velocity of pictures of classes `labels` (N,), led away from what all classes have in common.

    It is v + (guidance - 1) (v - v'), v' being the velocity where no class is told (arXiv:2207.12598, equation 6, whose
    w is guidance - 1).
    """
    untold = torch.full_like(labels, network.architecture.num_classes)
    alone = guidance == 1

    def velocity(x: Tensor, time: float) -> Tensor:
        told = labels if alone else torch.cat((labels, untold))
        inputs = x if alone else torch.cat((x, x))
        found = network(inputs, torch.full((len(inputs),), time, device=x.device), told)
        if alone:
            return found
        of_class, of_all = found.chunk(2)
        return of_all + guidance * (of_class - of_all)

    return velocity


class Generator:
    """A run's network that makes pictures, with its card.

    Args:
        run: the run's folder.
        device: where to compute; by default a GPU if there is one.

    Raises:
        FileNotFoundError: if there is no such finished run.
        ValueError: if its network makes no pictures, or there is no such device.
    """

    def __init__(self, run: str | Path, device: str | torch.device | None = None) -> None:
        folder = find_run(run)
        self.card: Card = folder.finished_card()
        if self.card.task != "generation":
            raise ValueError(
                f"{run} is for {self.card.task} and makes no pictures; `resnets train DATA --task generation` trains a "
                "network that does"
            )
        self.device = chosen_device(device, self.card)
        self.network: Any = generating_network(folder, self.device)

    def labels(self, count: int, class_name: str | None = None) -> Tensor:
        """(count,) int64: the number of a class, or of all classes in turn.

        Raises:
            ValueError: for a class that the network does not know, or no pictures.
        """
        classes = self.card.classes
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        if class_name is None:
            return torch.arange(count) % len(classes)
        if class_name not in classes:
            raise ValueError(f"the network knows no class {class_name!r}; it knows {', '.join(classes)}")
        return torch.full((count,), classes.index(class_name))

    @torch.inference_mode()
    def pictures(
        self,
        labels: Tensor,
        *,
        seed: int = 0,
        steps: int = 20,
        solver: Solver = "heun",
        guidance: float = 1.0,
        batch_size: int = SAMPLING_BATCH,
    ) -> Tensor:
        """Pictures of classes, (N, C, H, W) uint8 on the CPU.

        The noise of each is a function of the seed and its position, so neither the number of pictures nor the batch
        changes a picture.

        Args:
            labels: (N,) int64, numbers of classes.
            seed: of the noise.
            steps: from noise to pictures; 5 to 100 are usual.
            solver: see the table above.
            guidance: 1 for pictures as they were learnt; more for pictures that are more surely of their class, and
                less varied; 0 for pictures of any class.
            batch_size: pictures at a time.

        Raises:
            ValueError: for a number out of range, or guidance of a network that was always told the class.
        """
        if batch_size < 1 or not 0 <= guidance < math.inf:
            raise ValueError(f"batch_size must be at least 1 and guidance at least 0, not {batch_size} and {guidance}")
        if guidance != 1 and not self.card.recipe["class_dropout"]:
            raise ValueError(
                "guidance needs a network that was sometimes not told the class: train with --class-dropout 0.1"
            )
        seen = self.card.preprocessing
        shape = (seen.channels, *seen.size)
        std, mean = (torch.tensor(values, device=self.device)[:, None, None] for values in (seen.std, seen.mean))
        made = []
        for positions in torch.arange(len(labels)).split(batch_size):
            noise = normal(seed, 0, positions.to(self.device), "noise", shape[0] * shape[1] * shape[2])
            x = noise.view(-1, *shape).to(memory_format=torch.channels_last)
            x = integrate(guided(self.network, labels[positions].to(self.device), guidance), x, steps, solver)
            made.append(((x * std + mean) * 255).round_().clamp_(0, 255).to(torch.uint8).cpu().contiguous())
        return torch.cat(made)
