"""Fine-tuning by stages: what stays as the given weights have it, and how fast each of the others learns.

The stages are the network's own ("stem", "layer1"...; of VGG "stage1"...); what comes after them is the classifier.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnets.networks.network import Network
from resnets.training.recipe import Recipe

ALL = "all"
"""The name for all stages, so that only the classifier learns."""

ALL_BUT_LAST = "all-but-last"
"""The name for all stages but the last."""


def frozen_stages(network: Network, recipe: Recipe, epoch: int = 0) -> tuple[str, ...]:
    """The names of the stages that stay in an epoch: those up to `freeze`, less one every `unfreeze_every` epochs.

    Raises:
        ValueError: if the network has no stage of that name.
    """
    names = [stage.name for stage in network.stages]
    if recipe.head_only:
        return tuple(names)
    if not recipe.freeze:
        return ()
    if recipe.freeze not in (*names, ALL, ALL_BUT_LAST):
        raise ValueError(
            f"there is no stage {recipe.freeze!r} to freeze up to; "
            f"there are {', '.join(names)}, {ALL_BUT_LAST} and {ALL}"
        )
    last = {ALL: names[-1], ALL_BUT_LAST: names[-2]}.get(recipe.freeze, recipe.freeze)
    count = names.index(last) + 1
    released = epoch // recipe.unfreeze_every if recipe.unfreeze_every else 0
    return tuple(names[: max(count - released, 0)])


def freeze(network: Network, stages: Iterable[str], norms: bool = False) -> None:
    """Put a network into training mode but for some stages, which keep their weights, statistics and no dropout.

    Args:
        network: without what a strategy puts around it.
        stages: names of those that stay as they are.
        norms: whether all batch norm, wherever it is, keeps its statistics, scales and biases.
    """
    network.train().requires_grad_(True)
    stages = set(stages)
    for stage, modules in zip(network.stages, network.levels(), strict=True):
        if stage.name in stages:
            for module in modules:
                module.eval().requires_grad_(False)
    if norms:
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval().requires_grad_(False)


def rate_scales(network: Network, recipe: Recipe) -> dict[str, float]:
    """By the names of all parameters, the share of the rate that each learns at: 1 of the classifier.

    The last stage learns at `backbone_lr` of the rate, and each one before at `layer_decay` of the next; the biases of
    normalisations at `norm_bias_lr` of that.
    """
    scales = {name: 1.0 for name, _ in network.named_parameters()}
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    levels = network.levels()
    for distance, modules in enumerate(reversed(levels)):
        for module in modules:
            for parameter in module.parameters():
                scales[names[id(parameter)]] = recipe.backbone_lr * recipe.layer_decay**distance
    for module in network.modules():
        if isinstance(module, _BatchNorm | nn.GroupNorm) and module.bias is not None:
            scales[names[id(module.bias)]] *= recipe.norm_bias_lr
    return scales
