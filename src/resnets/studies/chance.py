"""Whether one error is larger than another by more than chance makes it 95 times of 100."""

from __future__ import annotations

from collections.abc import Sequence
from math import atan, cos, pi, sqrt
from statistics import mean, variance

CHANCE = 0.05
STEPS = 20_000

ONE_SEED = "One seed tells what is more than chance in the pictures, not how far trainings differ."
"""What a study says that compares single trainings."""


def surely_larger(errors: Sequence[float], others: Sequence[float], pictures: int) -> bool:
    """Whether the mean of one kind's errors, one a seed, is larger than another's by more than chance.

    With two seeds or more by Welch's test, for which a training is one observation: all of them see the same pictures.
    With one, or where no two trainings of a kind differ, by `exceeds`, which knows the chance in the pictures alone.

    Args:
        errors, others: shares, as many or not.
        pictures: of which they are shares.
    """
    larger = mean(errors) - mean(others)
    if min(len(errors), len(others)) < 2 or variance(errors) == variance(others) == 0:
        return exceeds(mean(errors), mean(others), pictures)
    parts = [(variance(values) / len(values), len(values) - 1) for values in (errors, others)]
    whole = sum(part for part, _ in parts)
    freedom = whole**2 / sum(part**2 / freedom for part, freedom in parts)
    return larger > 0 and as_far(larger / sqrt(whole), freedom) < CHANCE


def as_far(t: float, freedom: float) -> float:
    """How probable a value at least as far from 0 as `t` is by Student's distribution.

    Where t is sqrt(freedom) tan(a), the density of a is as cos(a) to the power of freedom - 1, from -pi / 2 to pi / 2.
    """

    def mass(start: float) -> float:
        width = (pi / 2 - start) / STEPS
        return width * sum(cos(start + (step + 0.5) * width) ** (freedom - 1) for step in range(STEPS))

    return mass(atan(abs(t) / sqrt(freedom))) / mass(0.0)


def exceeds(error: float, other: float, pictures: int) -> bool:
    """Whether one share of as many pictures is larger than another by more than chance makes it 95 times of 100."""
    middle = (error + other) / 2
    return error - other > 1.96 * sqrt(2 * middle * (1 - middle) / pictures)
