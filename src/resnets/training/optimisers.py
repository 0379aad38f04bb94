"""The optimiser of a recipe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from resnets.training.muon import OTHERS, Muon
from resnets.training.recipe import Recipe


def create_optimiser(
    network: nn.Module,
    recipe: Recipe,
    rates: Mapping[str, float] | None = None,
    fused: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Optimizer:
    """The recipe's optimiser over the parameters that learn.

    Without `decay_all`, vectors (biases, norms) do not decay. A group's rate is `lr_scale` times the schedule's.

    Args:
        network: whose parameters learn, as far as they require a gradient.
        recipe: the optimiser and its numbers.
        rates: by the names of parameters, shares of the rate at which they learn; 1 where nothing is said.
        fused: step all parameters in one call, which PyTorch's SGD cannot where they are dealt out to processes, nor
            Fabric where gradients in float16 are clipped.
        dtype: in which Muon makes its directions orthogonal.
    """
    alike: dict[tuple[bool, float, float], list[nn.Parameter]] = defaultdict(list)
    turned = convolutions_to_turn(network) if recipe.optimizer == "muon" else set()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            orthogonal = name in turned
            decays = not orthogonal and (recipe.decay_all or parameter.ndim > 1)
            scale = (rates or {}).get(name, 1.0) * (OTHERS if recipe.optimizer == "muon" and not orthogonal else 1.0)
            alike[orthogonal, recipe.weight_decay if decays else 0.0, scale].append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": parameters, "weight_decay": decay, "lr_scale": scale}
        | ({"orthogonal": orthogonal} if recipe.optimizer == "muon" else {})
        for (orthogonal, decay, scale), parameters in alike.items()
    ]
    if recipe.optimizer == "muon":
        return Muon(groups, recipe.lr, recipe.momentum, dtype)
    if recipe.optimizer == "adamw":
        return AdamW(groups, recipe.lr, fused=fused)
    return SGD(groups, recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=fused)


def convolutions_to_turn(network: nn.Module) -> set[str]:
    """The names of the convolutions' weights whose length does not matter, as a normalisation follows.

    They are all but those that give the logits, and those of 1x1 with a bias, as squeeze-and-excitation has them.
    """
    logits = [getattr(module, "logits_layer", "") for module in network.modules()]
    return {
        f"{name}.weight".removeprefix(".")
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
        and not (module.bias is not None and module.kernel_size == (1, 1))
        and not any(layer and f".{name}".endswith(f".{layer}") for layer in logits)
    }


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Give every group of parameters `lr_scale` times the rate; written in place where the optimiser keeps tensors."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate * group["lr_scale"])
        else:
            group["lr"] = rate * group["lr_scale"]
