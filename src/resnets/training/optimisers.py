"""The optimiser of a recipe."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from resnets.training.muon import OTHERS, Muon
from resnets.training.recipe import Recipe


def create_optimiser(network: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimiser over the parameters that learn.

    Without `decay_all`, vectors (biases, norms) do not decay. A group's rate is `lr_scale` times the schedule's.
    """
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = []
    if recipe.optimizer == "muon":
        convolutions = [parameter for parameter in parameters if parameter.ndim > 2]
        parameters = [parameter for parameter in parameters if parameter.ndim <= 2]
        groups.append({"params": convolutions, "weight_decay": 0.0, "orthogonal": True, "lr_scale": 1.0})
    decayed = [parameter for parameter in parameters if recipe.decay_all or parameter.ndim > 1]
    spared = [parameter for parameter in parameters if not recipe.decay_all and parameter.ndim <= 1]
    common = {"orthogonal": False, "lr_scale": OTHERS} if recipe.optimizer == "muon" else {"lr_scale": 1.0}
    groups += [
        {"params": decayed, "weight_decay": recipe.weight_decay, **common},
        {"params": spared, "weight_decay": 0.0, **common},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "muon":
        return Muon(groups, recipe.lr, recipe.momentum)
    if recipe.optimizer == "adamw":
        return AdamW(groups, recipe.lr, fused=True)
    return SGD(groups, recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Give every group of parameters `lr_scale` times the rate; written in place where the optimiser keeps tensors."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate * group["lr_scale"])
        else:
            group["lr"] = rate * group["lr_scale"]
