"""Whether one error is larger than another by more than chance makes it 95 times of 100."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev

from scipy.stats import ttest_ind_from_stats

CHANCE = 0.05

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
    if min(len(errors), len(others)) < 2 or stdev(errors) == stdev(others) == 0:
        return exceeds(mean(errors), mean(others), pictures)
    told = (figure for values in (errors, others) for figure in (mean(values), stdev(values), len(values)))
    return larger > 0 and bool(ttest_ind_from_stats(*told, equal_var=False).pvalue < CHANCE)


def exceeds(error: float, other: float, pictures: int) -> bool:
    """Whether one share of as many pictures is larger than another by more than chance makes it 95 times of 100."""
    middle = (error + other) / 2
    return error - other > 1.96 * sqrt(2 * middle * (1 - middle) / pictures)
