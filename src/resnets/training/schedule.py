"""The learning rate as a function of how far the training has come."""

from __future__ import annotations

import math

from resnets.training.recipe import Recipe


def learning_rate(recipe: Recipe, progress: float) -> float:
    """The rate of the step at `progress`, the share of the training that is done, from 0 to below 1."""
    if progress < recipe.warmup:
        return recipe.lr * (progress / recipe.warmup * 0.99 + 0.01)  # a step at rate zero would be wasted
    done = (progress - recipe.warmup) / (1 - recipe.warmup)
    match recipe.schedule:
        case "step":
            return recipe.lr * recipe.gamma ** sum(progress >= share for share in recipe.milestones)
        case "cosine":
            return recipe.lr * (1 + math.cos(math.pi * done)) / 2
        case "linear":
            return recipe.lr * (1 - done)
