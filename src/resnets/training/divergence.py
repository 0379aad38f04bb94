"""Steps whose loss or gradient is infinite or no number: passed over, and what follows where they do not end."""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from resnets.training.job import Job
from resnets.types import Batch

ROLLBACKS = 3
"""How often a training goes back to a checkpoint before it stops."""

NAMED = 5
"""Pictures of a step that the line on the terminal names; the card names all of them."""


class NotFiniteError(FloatingPointError):
    """The loss of a step, or its gradient, is infinite or no number."""

    def __init__(self, loss: float) -> None:
        super().__init__(f"the loss is {loss}" if not math.isfinite(loss) else "the gradient is not finite")


def is_finite(job: Job, loss: Tensor) -> bool:
    """Whether a step's loss and gradient are numbers.

    In float16 gradients overflow as a matter of course, and the scaler of the loss deals with it.
    """
    if not loss.isfinite():
        return False
    if job.fabric._precision.precision == "16-mixed":
        return True
    gradients = [parameter.grad for parameter in job.network.parameters() if parameter.grad is not None]
    # The parts of them that this process has, where they are dealt out.
    own = [gradient.to_local() if isinstance(gradient, DTensor) else gradient for gradient in gradients]
    if own and own[0].is_cpu:  # which adds up numbers several times as fast as their magnitudes
        return math.isfinite(sum(gradient.sum().item() for gradient in own))
    return bool(get_total_norm(own, 1.0).isfinite())


def pass_over(job: Job, batch: Batch, error: NotFiniteError) -> None:
    """Go on with the next step, and name the pictures of this one.

    Raises:
        FloatingPointError: if the recipe says to stop.
    """
    dataset = job.train.dataset
    names = [dataset.names[index % len(dataset)] for index in batch.indices.tolist()]
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    job.report(f"{error}; the step is left out, with {', '.join(names[:NAMED])}{more}", pictures=names)
    job.state.skip()
    if job.recipe.nonfinite == "stop":
        raise FloatingPointError(f"{error} in step {job.state.step:,}; {advice(job)}")


def out_of_hand(job: Job) -> bool:
    """Whether so many steps in a row have been passed over that going on is of no use."""
    return job.state.skipped >= min(job.recipe.nonfinite_limit, job.steps_per_epoch)


def roll_back(job: Job) -> None:
    """Stand where the last checkpoint was written, at half the rate from there on.

    Raises:
        FloatingPointError: if the recipe does not say so, or it was done often enough.
    """
    state, last = job.state, job.state.step
    skipped = f"the loss was not finite in {state.skipped} steps in a row, up to step {last:,}"
    if job.recipe.nonfinite != "rollback" or state.rollbacks >= ROLLBACKS:
        raise FloatingPointError(f"{skipped}: the training has diverged; {advice(job)}")
    rollbacks, incidents = state.rollbacks + 1, state.incidents
    job.load()
    state.rollbacks, state.incidents = rollbacks, incidents
    job.report(f"{skipped}: going on from here at half the rate")
    job.save()


def advice(job: Job) -> str:
    """What to do about a training that diverges."""
    return (
        f"lower --lr (now {job.recipe.lr}), lengthen --warmup, or set --clip-norm 1; the last checkpoint is kept in "
        f"{job.run.folder}"
    )
