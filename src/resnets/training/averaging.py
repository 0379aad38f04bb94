"""Averages over training: of the weights, and of batch norm's statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn


def exponential_average(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of the network whose weights and statistics follow it: average = decay average + (1 - decay) network."""
    follow = get_ema_multi_avg_fn(decay)

    def update(averages: Sequence[Tensor], tensors: Sequence[Tensor], count: Tensor | int) -> None:
        if averages[0].is_floating_point():  # all of one type
            follow(averages, tensors, count)
        else:  # counters, whose average would be rounded down
            for average, tensor in zip(averages, tensors, strict=True):
                average.copy_(tensor)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)


def recompute_statistics(network: nn.Module, inputs: Iterable[Tensor], fabric: Fabric) -> None:
    """Replace batch norm's running statistics by those of `inputs`, batches as the network takes them.

    Each process reads its own share of the batches; the processes' statistics are then averaged.
    """
    with torch.no_grad(), fabric.autocast():
        update_bn(inputs, network)
    share_statistics(network, fabric)


class Statistics:
    """What a forward pass in training changes of a network: batch norm's running statistics, to be put back."""

    def __init__(self, network: nn.Module) -> None:
        self._buffers = list(network.buffers())
        self._kept = [buffer.clone() for buffer in self._buffers]

    def keep(self) -> None:
        """Remember them as they are."""
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)

    def put_back(self) -> None:
        """Make them what they were when they were kept."""
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._kept)


def share_statistics(network: nn.Module, fabric: Fabric) -> None:
    """Give batch norm's running statistics of all processes, each of which saw its own pictures, their mean.

    What is frozen, in evaluation mode, is the same in all of them and stays as it is.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.training and module.running_mean is not None:
            fabric.all_reduce([module.running_mean, module.running_var])  # in place


def take_first_statistics(average: nn.Module, fabric: Fabric) -> None:
    """Give the first process's statistics of a moving average to all, each of which has averaged its own pictures'.

    They are what a checkpoint within an epoch holds, from which the other processes go on, too.
    """
    if fabric.world_size > 1:
        for buffer in average.buffers():
            distributed.broadcast(buffer, 0)
