"""A network's answers to a whole split, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, distributed, nn

from resnets.data.loading import Loader
from resnets.data.transforms import prepare
from resnets.tasks import Task
from resnets.tasks.classification import Evaluation
from resnets.types import Preprocessing

EVALUATION_BATCH = 256
"""Pictures that a network judges at a time, where nobody says otherwise."""


@torch.inference_mode()
def evaluate_network(
    network: nn.Module,
    task: Task,
    loader: Loader,
    preprocessing: Preprocessing,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Evaluation:
    """Judge a network on a split, of which each process reads its own share and every picture counts once.

    The network is left in evaluation mode.
    """
    network.eval()
    outputs, indices = [], []
    for batch in loader.epoch(0):
        prepared = prepare(batch.to(device), preprocessing, channels_last=True)
        with autocast():
            outputs.append(network(prepared.images).float().cpu())
        indices.append(batch.indices)
    rows, positions = torch.cat(gather(outputs)), torch.cat(gather(indices))
    in_order = torch.empty_like(rows)
    in_order[positions] = rows
    pictures = loader.dataset
    return task.evaluation(pictures.split, in_order, pictures.targets, pictures.names)


def gather(batches: list[Tensor]) -> list[Tensor]:
    """The batches of all processes, one process after the other; each may have any number, or none."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return batches
    parts: list[list[Tensor]] = [[]] * distributed.get_world_size()
    distributed.all_gather_object(parts, batches)
    return [batch for part in parts for batch in part]
