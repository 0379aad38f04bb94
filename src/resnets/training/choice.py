"""What `auto` chooses: a network and a recipe by what the pictures are."""

from __future__ import annotations

from dataclasses import replace

from resnets.data.statistics import SMALL
from resnets.training.recipe import Recipe, load_recipe
from resnets.types import Preprocessing

ENOUGH_STEPS = 1_500
"""Optimiser steps that a small set is given at least, as far as `MOST_EPOCHS` allows."""

MOST_EPOCHS = 200
PHOTOGRAPHS_OF_A_LARGE_SET = 100_000


def choose_model(preprocessing: Preprocessing) -> str:
    """CIFAR's ResNet-20 for pictures of up to 64 pixels a side, ResNet-18 for larger ones."""
    return "resnet20" if max(preprocessing.size) <= SMALL else "resnet18"


def choose_recipe(preprocessing: Preprocessing, pictures: int, task: str = "classification") -> Recipe:
    """`quick` for small pictures, `photographs` for larger ones, `paper-imagenet` for a large set of those.

    In a small set the batch is at most a twentieth of the pictures, the learning rate in proportion, targets are
    smoothed by 0.1, and there are so many epochs that 1,500 steps are taken, 200 epochs at most. Crops shift by an
    eighth of a small picture's side.
    Grey pictures are not mirrored, because most of them are of signs that have a direction, such as digits.

    For numbers all of a picture is seen, because a part of it may not have the same. Only single classes are smoothed.

    Args:
        preprocessing: the network's input.
        pictures: how many there are to train on.
        task: what is asked of the network.
    """
    small = max(preprocessing.size) <= SMALL
    if task == "classification" and not small and pictures >= PHOTOGRAPHS_OF_A_LARGE_SET:
        return load_recipe("paper-imagenet")
    recipe = load_recipe("quick" if small else "photographs")
    few = pictures // 20 < recipe.batch_size
    batch_size = min(recipe.batch_size, max(16, 1 << (pictures // 20).bit_length() - 1))
    epochs = max(recipe.epochs, min(MOST_EPOCHS, -(-ENOUGH_STEPS * batch_size // pictures)))
    if task != "classification":
        recipe, few = replace(recipe, label_smoothing=0.0), False
    if task == "regression":
        recipe = replace(recipe, scale=(1.0, 1.0))
    return replace(
        recipe,
        batch_size=batch_size,
        lr=recipe.lr * batch_size / recipe.batch_size,
        epochs=epochs,
        evaluate_every=max(recipe.evaluate_every, epochs // 20),
        label_smoothing=max(recipe.label_smoothing, 0.1) if few else recipe.label_smoothing,
        pad=max(1, min(preprocessing.size) // 8) if small else 0,
        flip=recipe.flip and preprocessing.channels == 3,
    )
