"""What a recipe wants and a task or a network has no use for: an option works or is refused."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from resnets.data.opening import Data
from resnets.networks.network import Network
from resnets.runs.card import Card
from resnets.tasks import task_class
from resnets.training.freezing import frozen_stages
from resnets.training.recipe import Recipe


def check_suited(recipe: Recipe, card: Card, network: Network, data: Data) -> None:
    """Raise ValueError for what a recipe wants and the card's task, the network or the data has no use for."""
    check_balance(recipe, card.task)
    if task_class(card.task).embeds:
        check_embedding(recipe)
    for split, pictures in data.splits.items():
        if split != "train":
            task_class(card.task).check_split(split, pictures.targets)
    if recipe.cutmix and card.task == "regression":
        raise ValueError("cutmix would mix numbers by areas, which mean nothing to them; use mixup, or leave it out")
    check_augmentation(recipe, card.task)
    check_sizes(recipe, card)
    if recipe.optimizer == "muon" and card.task == "detection":
        raise ValueError(
            "optimizer muon keeps the length of weights, and a detector's heads must grow; use adamw or sgd"
        )
    if card.task != "classification" and (recipe.head_first or recipe.head_only == "logistic"):
        raise ValueError(
            f"logistic regression is for classes, not for {card.task}; leave head_first out, and use --head-only sgd"
        )
    frozen_stages(network, recipe)
    if recipe.freeze_norm and not has_norm(network, _BatchNorm):
        raise ValueError(f"freeze_norm keeps batch norm, and {card.model} has none as it is asked for; leave it out")
    if recipe.norm_bias_lr != 1 and not has_norm(network, _BatchNorm, nn.GroupNorm):
        raise ValueError(
            f"norm_bias_lr is of normalisations, and {card.model} has none as it is asked for; leave it out"
        )


def has_norm(network: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a network has a normalisation of one of some kinds."""
    return any(isinstance(module, kinds) for module in network.modules())


def check_balance(recipe: Recipe, task: str) -> None:
    """Raise ValueError if classes are to be evened out and a task has no such classes."""
    if recipe.balance and task not in ("classification", "recognition", "segmentation"):
        raise ValueError(f"balance and per_class even out single classes, and {task} has none; leave them out")
    if recipe.per_class and task not in ("classification", "recognition"):
        raise ValueError(f"per_class evens out classes of pictures, and {task} has none; leave it out")


def check_augmentation(recipe: Recipe, task: str) -> None:
    """Raise ValueError for what a recipe wants and a task has no use for."""
    if task == "generation":
        spoils = ("pad", "mixup", "cutmix", "erasing")
        idle = ("head_only", "head_first", "freeze_norm", "recompute_bn")
        if wrong := [name for name in spoils if getattr(recipe, name)]:
            raise ValueError(f"generation would learn to make what {', '.join(wrong)} does to pictures; leave it out")
        if wrong := [name for name in idle if getattr(recipe, name)]:
            raise ValueError(f"generation has no use for {', '.join(wrong)}; leave it out")
    others: tuple[str, ...] = ("pad", "mixup", "cutmix", "erasing", "flip_alternately", "head_only", "head_first")
    if task == "detection" and recipe.recompute_bn:
        raise ValueError(
            "recompute_bn shows a network pictures alone, and a detector in training needs their objects; leave it out"
        )
    cutting = {"detection": ("zoom", "mosaic"), "segmentation": ("zoom", "window")}
    if task in cutting:
        others += tuple(name for name in ("mosaic", "window", "scale") if name not in cutting[task])
        if wrong := [name for name in others if getattr(recipe, name) != getattr(Recipe(), name)]:
            raise ValueError(
                f"{task} has no use for {', '.join(wrong)}; leave it out ({' and '.join(cutting[task])} cut pictures)"
            )
    elif recipe.mosaic or tuple(recipe.zoom) != (1.0, 1.0) or recipe.window != 1:
        raise ValueError(
            f"zoom, mosaic and window are of detection and segmentation, and the task is {task}; leave them out, or "
            "use scale"
        )


def check_sizes(recipe: Recipe, card: Card) -> None:
    """Raise ValueError if pictures cannot be padded as far, or begin as small, as a recipe wants."""
    side = min(card.preprocessing.size)
    if recipe.progressive:
        if card.task in ("detection", "segmentation", "generation"):
            raise ValueError(f"progressive resizes whole pictures, of which {card.task} has no use; leave it out")
        if recipe.progressive >= side:
            raise ValueError(
                f"progressive must be below the {side} pixels of the network's input, not {recipe.progressive}"
            )
        if not recipe.steps and recipe.epochs < 2:
            raise ValueError("progressive lets pictures grow from one epoch to the next; it needs two epochs or more")
    smallest = recipe.progressive or side
    if recipe.pad_mode == "reflect" and recipe.pad >= smallest:
        raise ValueError(f"pad_mode reflect has no more to show than the picture: pad must be below {smallest} pixels")


def check_embedding(recipe: Recipe) -> None:
    """Raise ValueError for what a recipe wants and a network that gives embeddings has no use for."""
    if useless := [name for name in ("mixup", "cutmix", "head_only", "head_first") if getattr(recipe, name)]:
        raise ValueError(
            "recognition compares pictures of single classes and keeps no classifier, so it has no use for "
            f"{', '.join(useless)}; leave it out"
        )
