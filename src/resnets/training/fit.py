"""The training loop.

    while there are epochs to end, and validation still gets better:
        for each batch of the epoch:
            set the learning rate
            prepare the pictures: crop, flip, normalise, mix
            outputs, loss, gradients: in parts, where asked for or where the batch does not fit into memory
            step, and average the weights; pass over the step where its loss is not finite
            stop here if asked to, with everything saved
        evaluate, show the training to whoever watches it, write the epoch's row and the checkpoint

Every random choice is a function of (seed, epoch, sample) or (seed, step), and the position is one number,
`state.step`: a resumed training takes the same steps as one that was never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

import torch
from torch import distributed

from resnets.data.dataset import UnreadablePictureError
from resnets.data.order import hashed
from resnets.data.transforms import prepare
from resnets.training.accumulation import fitting_gradients
from resnets.training.averaging import share_statistics, take_first_statistics
from resnets.training.divergence import NotFiniteError, is_finite, out_of_hand, pass_over, roll_back
from resnets.training.freezing import freeze, frozen_stages
from resnets.training.interruption import InterruptedTraining, interruptible
from resnets.training.job import Job
from resnets.training.optimisers import set_learning_rate
from resnets.training.state import State
from resnets.types import Batch


class Display(Protocol):
    """Who is told how the training goes."""

    def step(self, state: State) -> None:
        """After each step."""

    def epoch(self, row: dict[str, float]) -> None:
        """After each epoch."""


def fit(job: Job, display: Display, watch: Callable[[Job], None] | None = None) -> None:
    """Train until all steps are taken or validation gets no better.

    Raises:
        InterruptedTraining: after a signal; the checkpoint is written.
        FloatingPointError: the loss stays infinite or no number.
    """
    state = job.state
    if job.recipe.nonfinite == "rollback" and not job.run.checkpoints():
        job.save()
    with interruptible() as interruption:
        while (epoch := len(state.history)) * job.steps_per_epoch < job.total_steps and not gave_up(job):
            done = state.step - epoch * job.steps_per_epoch  # all, where it was stopped before the epoch's evaluation
            job.network.train()
            frozen = frozen_stages(job.bare_network, job.recipe, epoch)
            for network in (job.bare_network, job.network_to_use):
                freeze(network, frozen, job.recipe.freeze_norm)
            started = saved = time.perf_counter()
            for batch in islice(batches(job, epoch, done), job.total_steps - state.step):
                try:
                    train_step(job, batch, epoch, job.rate(state.step))
                except NotFiniteError as error:
                    pass_over(job, batch, error)
                now = time.perf_counter()
                state.seconds, started = state.seconds + now - started, now
                display.step(state)
                due = now - saved > job.checkpoint_every and not state.skipped
                if any_process(job, due or interruption.requested):
                    job.save()
                    saved = now
                    if any_process(job, interruption.requested):
                        raise InterruptedTraining(
                            f"stopped at step {state.step:,} of {job.total_steps:,}; go on with "
                            f"`resnets train --resume {job.run.folder}`"
                        )
                if out_of_hand(job):
                    roll_back(job)
                    break
            else:
                display.epoch(end_epoch(job, epoch, watch))


def batches(job: Job, epoch: int, first: int) -> Iterator[Batch]:
    """The batches of an epoch from a step on; where one cannot be read, the steps up to there are saved.

    Several processes would have to save together, and only one of them knows; they go on from the last checkpoint.
    """
    try:
        yield from job.train.epoch(epoch, first, job.input_size(epoch))
    except (OSError, UnreadablePictureError):
        if job.fabric.world_size == 1:
            job.save()
        raise


def any_process(job: Job, wish: bool) -> bool:
    """Whether any process wishes it, so that all of them stop or save at the same step."""
    if job.fabric.world_size == 1:
        return wish
    wishes = torch.tensor(float(wish))
    distributed.all_reduce(wishes, distributed.ReduceOp.MAX, group=job.control)
    return wishes.item() > 0


def train_step(job: Job, batch: Batch, epoch: int, rate: float) -> None:
    """One step of the optimiser on one batch of uint8 pictures.

    Raises:
        NotFiniteError: if the loss or its gradient is not finite; the network is what it was.
    """
    recipe, step = job.recipe, job.state.step
    set_learning_rate(job.optimiser, rate)
    torch.manual_seed(hashed(recipe.seed, f"step {step} of process {job.fabric.global_rank}"))  # dropout, drop-path
    batch = prepare(
        batch.to(job.fabric.device),
        job.card.preprocessing,
        recipe,
        seed=recipe.seed,
        epoch=epoch,
        num_classes=len(job.card.classes),
        channels_last=True,
        size=job.input_size(epoch) if recipe.progressive else None,
    )
    job.statistics.keep()
    loss, score = fitting_gradients(job, batch)
    if any_process(job, not is_finite(job, loss)):
        job.statistics.put_back()
        job.optimiser.zero_grad()
        raise NotFiniteError(loss.item())
    if recipe.clip_norm:
        job.fabric.clip_gradients(job.network, job.optimiser, max_norm=recipe.clip_norm, error_if_nonfinite=False)
    job.optimiser.step()
    job.optimiser.zero_grad()
    if job.average is not None:
        job.average.update_parameters(job.bare_network)
    job.state.count(loss, score, len(batch))


def end_epoch(job: Job, epoch: int, watch: Callable[[Job], None] | None = None) -> dict[str, float]:
    """Evaluate where it is due, write the epoch's row and the checkpoint, and give the row.

    Who watches sees the training before the checkpoint is written: what is killed in between is seen again. There is no
    checkpoint amid steps that are passed over, whose weights may have diverged already.
    """
    state, recipe = job.state, job.recipe
    job.restore_folder()
    job.fabric.all_reduce(state.totals, reduce_op="sum")  # in place
    pictures, loss, score = state.totals.tolist()
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss} in epoch {epoch + 1}: the training has diverged; lower --lr (now {recipe.lr}), "
            "lengthen --warmup, or set --clip-norm 1"
        )
    scores = {} if math.isnan(score) or not pictures else {f"train_{job.task.score}": score / pictures}
    sides = {"size": min(job.input_size(epoch))} if recipe.progressive else {}
    row = {
        "epoch": epoch + 1,
        "step": state.step,
        "lr": job.rate(state.step - 1),
        "train_loss": loss / pictures if pictures else math.nan,
        **scores,
        **sides,
        "images_per_second": pictures / state.seconds,
        "seconds": state.trained_seconds + state.seconds,
    }
    share_statistics(job.bare_network, job.fabric)
    if job.average is not None:
        take_first_statistics(job.average, job.fabric)
    if state.step >= job.total_steps or (epoch + 1) % recipe.evaluate_every == 0:
        row |= job.evaluate()
    watch_validation(job, row)
    state.end_epoch(row)
    if watch is not None:
        watch(job)
    if not state.skipped:
        job.save()
    if job.fabric.is_global_zero:
        job.run.write_history(state.history)
    if job.logger is not None:
        job.logger.log_metrics(row, step=state.step)
    return row


def watch_validation(job: Job, row: dict[str, float]) -> None:
    """Keep the weights that serve the task's aim best, where early stopping wants them.

    A classifier's loss rises with its overconfidence while it still learns to be right; the temperature undoes the one
    and not the other. So the loss only decides between equals.
    """
    aim, sign = job.task.aim
    if not job.recipe.patience or f"val_{aim}" not in row:
        return
    rank = (sign * row[f"val_{aim}"], -row.get("val_loss", 0.0))
    if rank > job.state.best:
        job.state.best, job.state.epochs_since_best = rank, 0
        if job.fabric.is_global_zero:
            job.run.write_network(job.network_to_use)
    else:
        job.state.epochs_since_best += job.recipe.evaluate_every


def gave_up(job: Job) -> bool:
    """Whether early stopping has waited long enough."""
    return 0 < job.recipe.patience <= job.state.epochs_since_best
