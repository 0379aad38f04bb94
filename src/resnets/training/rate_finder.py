"""The learning-rate range test (arXiv:1506.01186, section 3.3): how high the rate may be, from a hundred steps."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain, count, islice
from typing import Any

from resnets.training.divergence import NotFiniteError
from resnets.training.fit import train_step
from resnets.training.head import logits_layer
from resnets.training.job import Job
from resnets.training.state import State

STEPS = 100
LOWEST, HIGHEST = 1e-6, 10.0
"""Rates of the first and the last step; they grow by one factor from step to step."""

SMOOTHING = 0.9
"""Decay of the moving average of the losses, whose bias at the beginning is taken out."""

HOPELESS = 4.0
"""The test ends where the loss is so many times its lowest."""

TOO_HIGH = 1.2
"""The rate is too high where the loss has risen to so many times its lowest. Where exactly it was lowest is chance."""

SAFETY = 8.0
"""The rate is so many times below the one that is too high."""


def find_rate(job: Job) -> float:
    """A learning rate for a training that has not begun, which is left as it was.

    A classifier that is to be fitted before the first step is drawn at random for the test: from a fitted one, the loss
    rises at every rate.

    Raises:
        FloatingPointError: if the loss falls at no rate.
    """
    parts: dict[str, Any] = {"network": job.network, "optimiser": job.optimiser, "average": job.average}
    before = {name: deepcopy(part.state_dict()) for name, part in parts.items() if part is not None}
    if job.recipe.head_first:
        logits_layer(job.bare_network).reset_parameters()
    losses = smoothed(range_test(job))
    for name, state in before.items():
        parts[name].load_state_dict(state)
    job.state = State()
    lowest = min(range(len(losses)), key=losses.__getitem__, default=0)
    if lowest == 0:
        raise FloatingPointError("the loss falls at no learning rate; check the data's labels, or set --lr yourself")
    risen = (step for step in range(lowest, len(losses)) if losses[step] > TOO_HIGH * losses[lowest])
    return float(f"{rate_of(next(risen, len(losses) - 1)) / SAFETY:.2g}")


def range_test(job: Job) -> list[float]:
    """The loss of each step, up to the first that is not finite or hopeless."""
    job.network.train()
    losses: list[float] = []
    batches = chain.from_iterable(job.train.epoch(epoch) for epoch in count())
    for step, batch in enumerate(islice(batches, STEPS)):
        job.state = State(step=step, accumulate=job.state.accumulate)
        try:
            train_step(job, batch, 0, rate_of(step))
        except NotFiniteError:
            return losses
        job.fabric.all_reduce(job.state.totals, reduce_op="sum")  # in place
        pictures, loss, _ = job.state.totals.tolist()
        losses.append(loss / pictures)
        if smoothed(losses)[-1] > HOPELESS * min(smoothed(losses)):
            return losses[:-1]
    return losses


def rate_of(step: int) -> float:
    """The rate of a step of the test."""
    return LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))


def smoothed(losses: list[float]) -> list[float]:
    """The losses' exponential moving average."""
    average, averages = 0.0, []
    for number, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        averages.append(average / (1 - SMOOTHING**number))
    return averages
