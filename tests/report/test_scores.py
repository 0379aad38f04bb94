from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from resnets.report.scores import class_scores, confidence_bins, confusions, wilson_interval


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (0, 40), (40, 40), (9225, 10000), (3, 7)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_interval_is_scipys(right: int, count: int, confidence: float):
    expected = binomtest(right, count).proportion_ci(confidence, method="wilson")
    assert wilson_interval(right, count, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_class_scores_are_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 7, (500,), generator=generator)
    predictions = torch.where(
        torch.rand(500, generator=generator) < 0.6, targets, torch.randint(0, 7, (500,), generator=generator)
    )
    scores = class_scores(tuple("abcdefg"), targets, predictions)
    for quantity, oracle in [
        ("precision", multiclass_precision),
        ("recall", multiclass_recall),
        ("f1", multiclass_f1_score),
    ]:
        expected = oracle(predictions, targets, num_classes=7, average=None).tolist()
        assert [getattr(score, quantity) for score in scores] == pytest.approx(expected, abs=1e-6)
    assert [score.support for score in scores] == targets.bincount().tolist()


def test_what_is_not_defined_is_none():
    # Class a is never answered, b never shown, c neither.
    a, b, c = class_scores(("a", "b", "c"), torch.tensor([0, 0]), torch.tensor([1, 1]))
    assert (a.precision, a.recall, a.f1, a.support) == (None, 0, 0, 2)
    assert (b.precision, b.recall, b.f1, b.support) == (0, None, 0, 0)
    assert (c.precision, c.recall, c.f1, c.support) == (None, None, None, 0)


def test_confusions_are_the_largest_cells_off_the_diagonal():
    matrix = np.array([[90, 5, 5], [8, 2, 0], [0, 5, 1]])
    found = confusions(("a", "b", "c"), matrix, limit=4)
    assert [(item.true, item.predicted, item.count) for item in found] == [
        ("b", "a", 8),
        ("c", "b", 5),  # five of six before five of a hundred
        ("a", "b", 5),
        ("a", "c", 5),
    ]
    assert [item.share for item in found] == pytest.approx([0.8, 5 / 6, 0.05, 0.05])
    assert len(confusions(("a", "b", "c"), matrix, limit=2)) == 2
    assert confusions(("a", "b", "c"), np.diag([3, 0, 1]), limit=4) == []


@pytest.mark.parametrize("classes", [2, 10, 300])
def test_confidence_bins_add_up_to_torchmetrics_error(classes: int):
    generator = torch.Generator().manual_seed(classes)
    probabilities = (4 * torch.randn(2000, classes, generator=generator)).softmax(1)
    targets = probabilities.multinomial(1, generator=generator).flatten()
    confidences, predictions = probabilities.max(1)
    bins = confidence_bins(confidences, predictions == targets, 15)
    assert sum(item.count for item in bins) == 2000
    assert all(item.low <= item.confidence <= item.high for item in bins)
    assert all(item.interval[0] <= item.accuracy <= item.interval[1] for item in bins)
    error = sum(item.count * abs(item.accuracy - item.confidence) for item in bins) / 2000
    expected = multiclass_calibration_error(probabilities, targets, num_classes=classes, n_bins=15, norm="l1")
    assert error == pytest.approx(expected.item(), abs=1e-5)


def test_certainty_falls_into_the_last_bin():
    (only,) = confidence_bins(torch.ones(3), torch.tensor([True, True, False]), 15)
    assert (only.count, only.high, only.confidence) == (3, 1, 1)
    assert only.accuracy == pytest.approx(2 / 3)
