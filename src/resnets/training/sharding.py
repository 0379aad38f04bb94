"""Fully sharded training: each process keeps a part of every weight, its gradient and the optimiser's state.

What is done is PyTorch's `fully_shard` (arXiv:2304.11277): the weights of a stage are put together before it computes
and let go of after. Checkpoints hold whole tensors, so that any number of processes goes on from them.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _BatchNorm

from resnets.blocks.sequence import Blocks
from resnets.training.recipe import Recipe


def is_sharded(fabric: Fabric) -> bool:
    """Whether each process has a part of the weights alone."""
    return isinstance(fabric.strategy, ModelParallelStrategy)


def shard(network: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Deal the weights out to the processes of the mesh: each stage's together, and all others together."""
    network.to(memory_format=torch.contiguous_format)  # the only one that can be dealt out
    for module in network.modules():
        if isinstance(module, Blocks):
            fully_shard(module, mesh=mesh["data_parallel"])
    fully_shard(network, mesh=mesh["data_parallel"])
    return network


def whole_tensors(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network whose weights are dealt out, in every process."""
    parts: dict[str, Any] = get_model_state_dict(network)
    return {name: part.full_tensor() if isinstance(part, DTensor) else part for name, part in parts.items()}


def check_sharded(recipe: Recipe, network: nn.Module) -> None:
    """Raise ValueError for what a recipe wants and cannot be done with a part of the weights."""
    needs_all = ("ema", "find_lr", "head_first", "head_only", "unfreeze_every")
    if wrong := [name for name in needs_all if getattr(recipe, name)]:
        raise ValueError(
            f"strategy fsdp gives each process a part of the weights, and {', '.join(wrong)} needs all; use ddp, or "
            "leave it out"
        )
    if recipe.optimizer == "muon":
        raise ValueError("optimizer muon needs whole matrices, which strategy fsdp takes apart; use ddp, or sgd")
    if not recipe.sync_bn and any(isinstance(module, _BatchNorm) for module in network.modules()):
        raise ValueError("with strategy fsdp each process has batch norm statistics of its own; add --sync-bn")


def why_not_sharded(checkpoint: dict[str, Any]) -> str | None:
    """Why a sharded training cannot go on: the optimiser was that of whole weights, whose order it lacks; else None."""
    names = [name for group in checkpoint["optimiser"]["param_groups"] for name in group["params"]]
    if all(isinstance(name, str) for name in names):
        return None
    return "the run was begun with whole weights; go on with --strategy ddp, or on one device"
