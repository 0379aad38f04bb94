"""The numbers behind a classifier's report: intervals, classes, confusions and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (J. Am. Stat. Assoc. 22:209, 1927), sound near 0 and 1 too.

    Args:
        successes: how many of the trials succeeded.
        trials: at least 1.
        confidence: the share of such intervals that hold the true proportion.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class ClassScore:
    """How one class fares; a figure is None where it is not defined (no such sample, or no such answer)."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def class_scores(classes: Sequence[str], targets: Tensor, predictions: Tensor) -> list[ClassScore]:
    """Precision, recall, F1 and number of samples of every class, in the classes' order."""
    precision, recall, f1, support = precision_recall_fscore_support(
        targets.numpy(), predictions.numpy(), labels=range(len(classes)), zero_division=np.nan
    )
    return [
        ClassScore(name, _defined(precision[i]), _defined(recall[i]), _defined(f1[i]), int(support[i]))
        for i, name in enumerate(classes)
    ]


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


@dataclass(frozen=True)
class Confusion:
    """Samples of one class that were taken for another: how many, and which share of their class."""

    true: str
    predicted: str
    count: int
    share: float


def confusions(classes: Sequence[str], matrix: NDArray[np.int64], limit: int) -> list[Confusion]:
    """The most frequent confusions, largest count first, then largest share, then in the classes' order.

    Args:
        matrix: (K, K) counts; rows are true classes, columns predicted ones.
        limit: how many at most.
    """
    rows, columns = np.nonzero(matrix * (1 - np.eye(len(matrix), dtype=np.int64)))
    counts = matrix[rows, columns]
    shares = counts / matrix.sum(axis=1)[rows]
    order = np.lexsort((columns, rows, -shares, -counts))[:limit]
    return [Confusion(classes[rows[i]], classes[columns[i]], int(counts[i]), float(shares[i])) for i in order]


@dataclass(frozen=True)
class ConfidenceBin:
    """Samples whose confidence lies between `low` and `high`: how many, how sure, how often right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float
    interval: tuple[float, float]


def confidence_bins(confidences: Tensor, correct: Tensor, bins: int) -> list[ConfidenceBin]:
    """The reliability diagram's bins that hold samples, of equal width (Guo et al. 2017, arXiv:1706.04599).

    Args:
        confidences: (N,) the largest probability of each sample.
        correct: (N,) bool, whether that answer is right.
        bins: how many bins divide 0 to 1; each holds its lower edge, the last one both.
    """
    edges = torch.linspace(0, 1, bins + 1, dtype=confidences.dtype)
    places = (torch.bucketize(confidences, edges, right=True) - 1).clamp(0, bins - 1)
    filled = []
    for place in places.unique().tolist():
        inside = places == place
        count, right = int(inside.sum()), int(correct[inside].sum())
        filled.append(
            ConfidenceBin(
                low=float(edges[place]),
                high=float(edges[place + 1]),
                count=count,
                confidence=float(confidences[inside].double().mean()),
                accuracy=right / count,
                interval=wilson_interval(right, count),
            )
        )
    return filled
