"""The optimiser of a recipe."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from resnets.training.recipe import Recipe


def create_optimiser(network: nn.Module, recipe: Recipe) -> Optimizer:
    """SGD or AdamW over the parameters that learn; without `decay_all`, vectors (biases, norms) do not decay."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    spared = [] if recipe.decay_all else [parameter for parameter in parameters if parameter.ndim < 2]
    kept = {id(parameter) for parameter in spared}
    groups = [
        {"params": [p for p in parameters if id(p) not in kept], "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return AdamW(groups, recipe.lr, fused=True)
    return SGD(groups, recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Give every group of parameters the same rate; it is written in place where the optimiser keeps tensors."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
