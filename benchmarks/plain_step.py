"""A plain torchvision training step in float32: what it takes, alone in a process that loads nothing else.

    python benchmarks/plain_step.py resnet152 224 16 3

prints, as JSON, the largest resident memory of the process in GiB and the median seconds of 3 steps after a first one.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Step = Callable[[Tensor, Tensor], None]


def plain_step(network: nn.Module) -> Step:
    """A step by SGD, as tutorials have it."""
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)

    def step(images: Tensor, targets: Tensor) -> None:
        loss = F.cross_entropy(network(images), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def measured(step: Callable[[], None], steps: int) -> tuple[float, float]:
    """GiB at most of this process so far, and seconds a step after the first."""
    seconds = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, median(seconds[1:])  # KiB, on Linux


if __name__ == "__main__":
    import torchvision

    model, size, batch, steps = sys.argv[1], *map(int, sys.argv[2:])
    pictures = torch.randn(batch, 3, size, size)
    step = plain_step(torchvision.models.get_model(model).train())
    print(json.dumps(measured(partial(step, pictures, torch.randint(1000, (batch,))), steps)))
