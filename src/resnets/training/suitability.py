"""What a recipe wants and a task or a network has no use for: an option works or is refused."""

from __future__ import annotations

from resnets.runs.card import Card
from resnets.training.recipe import Recipe


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


def check_progressive(recipe: Recipe, card: Card) -> None:
    """Raise ValueError if pictures cannot begin as small as a recipe wants."""
    if not recipe.progressive:
        return
    if card.task in ("detection", "segmentation", "generation"):
        raise ValueError(f"progressive resizes whole pictures, of which {card.task} has no use; leave it out")
    if recipe.progressive >= min(card.preprocessing.size):
        raise ValueError(
            f"progressive must be below the {min(card.preprocessing.size)} pixels of the network's input, not "
            f"{recipe.progressive}"
        )


def check_embedding(recipe: Recipe) -> None:
    """Raise ValueError for what a recipe wants and a network that gives embeddings has no use for."""
    if useless := [name for name in ("mixup", "cutmix", "head_only", "head_first") if getattr(recipe, name)]:
        raise ValueError(
            "recognition compares pictures of single classes and keeps no classifier, so it has no use for "
            f"{', '.join(useless)}; leave it out"
        )
