"""The gradients of a batch: in parts one after another, and in smaller ones where it does not fit into memory."""

from __future__ import annotations

import torch
from torch import Tensor

from resnets.training.job import Job
from resnets.types import Batch

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
"""What PyTorch's allocator for processors says, on Linux and elsewhere, and libraries for GPUs."""


def fitting_gradients(job: Job, batch: Batch) -> tuple[Tensor, Tensor]:
    """`gradients`, of a batch in twice as many parts as often as it does not fit into memory.

    On Linux a processor's memory is promised freely, and a program that uses too much is most often killed without
    being asked; then there is nothing to catch.

    Raises:
        MemoryError: if a single picture is too large, or there are several processes, which cannot go back together.
    """
    while True:
        try:
            return gradients(job, batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if (reason := why_no_smaller(job, batch)) is not None:
                raise MemoryError(reason) from error
        halve(job, batch)  # where the error is gone, and with it what its frames hold


def gradients(job: Job, batch: Batch) -> tuple[Tensor, Tensor]:
    """Leave the gradient of a prepared batch's mean loss in the network; give the loss, (), and the score's sum, ()."""
    parts = batch.parts(count_of_parts(job, job.pictures_of_step))
    weights = torch.stack([torch.as_tensor(job.task.weight(part), device=batch.images.device) for part in parts])
    shares = weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
    counts = share_of_step(job, weights.sum())
    losses, scores = [], []
    alone = len(parts) == job.fabric.world_size == 1
    for number, part in enumerate(parts, start=1):
        with job.fabric.no_backward_sync(job.network, enabled=number < len(parts)):  # type: ignore[arg-type]
            outputs = job.network(*job.task.inputs(part))
            loss = job.task.loss(outputs, part)
            job.fabric.backward(loss if alone else loss * shares[number - 1] * counts)
        losses.append(loss.detach())
        scores.append(job.task.scored(outputs, part).detach())
        del outputs, loss  # before the next part needs the memory
    if len(parts) == 1:
        return losses[0], scores[0]
    return (torch.stack(losses) * shares).sum(), torch.stack(scores).sum()


def count_of_parts(job: Job, pictures: int) -> int:
    """In how many parts each process computes its share of a step: as many as keep each as small as those of a batch.

    A part has a single picture only where those of a whole batch have. All processes have as many parts, though some
    may have a picture more, as they wait for each other in each part.

    Args:
        job: which says how large parts are.
        pictures: of the step, of all processes together.
    """
    largest, processes = part_of_a_batch(job), job.fabric.world_size
    least, most = pictures // processes, -(-pictures // processes)
    return max(1, min(-(-most // largest), least // min(2, largest)))


def share_of_step(job: Job, weight: Tensor) -> Tensor:
    """By what this process's mean loss counts, so that everything in a step counts alike, ().

    The processes' gradients are averaged, and some have more of what a step's mean is over, pictures or pixels.

    Args:
        job: whose processes all take part.
        weight: of this process's batch, (); see `Task.weight`.
    """
    if job.fabric.world_size == 1:
        return torch.ones_like(weight)
    of_all = job.fabric.all_reduce(weight.clone(), reduce_op="sum")  # in place
    assert isinstance(of_all, Tensor)
    return weight * job.fabric.world_size / of_all.clamp(min=torch.finfo(weight.dtype).tiny)


def part_of_a_batch(job: Job) -> int:
    """Pictures that a process computes at a time."""
    return -(-job.recipe.batch_size // (job.fabric.world_size * job.accumulate))


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory was asked for that was not there."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(text in str(error).lower() for text in OUT_OF_MEMORY)


def why_no_smaller(job: Job, batch: Batch) -> str | None:
    """Why a batch cannot be computed in smaller parts, in a sentence; None if it can."""
    height, width = batch.images.shape[-2:]
    if job.fabric.world_size > 1:
        return (
            f"{part_of_a_batch(job)} pictures of {height} x {width} do not fit into the memory of one of the "
            f"{job.fabric.world_size} processes; train with --accumulate {2 * job.accumulate}, or with --memory low"
        )
    if part_of_a_batch(job) == 1:
        return (
            f"not even a single picture of {height} x {width} fits into memory; try --memory low, a smaller --size or "
            "another --model"
        )
    return None


def halve(job: Job, batch: Batch) -> None:
    """Leave nothing of an attempt that did not fit, and compute twice as many parts from here on."""
    before = part_of_a_batch(job)
    job.statistics.put_back()
    job.optimiser.zero_grad(set_to_none=True)
    if batch.images.is_cuda:
        torch.cuda.empty_cache()
    job.state.accumulate = 2 * job.accumulate
    job.report(
        f"{before} pictures at a time do not fit into memory: from here on {part_of_a_batch(job)}, "
        f"{job.state.accumulate} times for each step's batch"
    )
