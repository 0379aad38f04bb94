"""The metrics of classification, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, recall_score, top_k_accuracy_score
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from resnets.tasks import create_task
from resnets.tasks.classification import Classification
from resnets.training.balance import inverse_class_sizes
from resnets.types import Batch

CLASSES = tuple("abcdefgh")


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) * 2


@pytest.fixture
def targets() -> torch.Tensor:
    return torch.arange(500) % 8


def test_metrics_are_scikit_learns(logits, targets):
    evaluation = Classification(CLASSES).evaluation("test", logits, targets, [""] * 500)
    probabilities, metrics = evaluation.probabilities.numpy().astype(np.float64), evaluation.metrics
    probabilities /= probabilities.sum(1, keepdims=True)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(targets, probabilities.argmax(1)))
    assert metrics["top5"] == pytest.approx(top_k_accuracy_score(targets, probabilities, k=5))
    assert metrics["loss"] == pytest.approx(log_loss(targets, probabilities), rel=1e-5)
    assert metrics["count"] == 500
    recalls = recall_score(targets, probabilities.argmax(1), average=None)
    assert list(evaluation.per_class().values()) == pytest.approx(list(recalls))


def test_calibration_error_is_the_gap_of_fifteen_bins(logits, targets):
    evaluation = Classification(CLASSES).evaluation("test", logits, targets, [""] * 500)
    confidences, answers = evaluation.probabilities.max(1)
    right, error = (answers == targets).double(), 0.0
    for number in range(15):
        inside = (confidences > number / 15) & (confidences <= (number + 1) / 15)
        if inside.any():
            error += inside.double().mean() * (right[inside].mean() - confidences[inside].double().mean()).abs()
    assert evaluation.metrics["ece"] == pytest.approx(float(error), abs=1e-5)


def test_two_classes_have_a_top_two():
    evaluation = Classification(("no", "yes")).evaluation("test", torch.eye(2), torch.tensor([1, 0]), ["", ""])
    assert evaluation.metrics["accuracy"] == 0
    assert evaluation.metrics["top5"] == 1


def test_a_class_without_pictures_has_no_accuracy():
    evaluation = Classification(("a", "b", "c")).evaluation("test", torch.eye(3)[:2], torch.tensor([0, 1]), ["", ""])
    assert evaluation.per_class() == {"a": 1.0, "b": 1.0, "c": None}


def test_smoothed_targets_are_pytorchs(logits, targets):
    batch = Batch(torch.empty(500), targets, torch.arange(500))
    shares = 0.9 * F.one_hot(targets, 8) + 0.1 / 8
    found = Classification(CLASSES, label_smoothing=0.1).loss(logits, batch)
    torch.testing.assert_close(found, -(shares * logits.log_softmax(1)).sum(1).mean())


def test_the_score_of_mixed_targets_counts_the_larger_share():
    batch = Batch(torch.empty(2), torch.tensor([[0.7, 0.3], [0.4, 0.6]]), torch.arange(2))
    assert Classification(("a", "b")).scored(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), batch) == 1


def test_what_a_task_refuses():
    with pytest.raises(ValueError, match="there is no task 'guessing'; there is classification"):
        create_task("guessing", CLASSES)
    with pytest.raises(ValueError, match="at least two classes"):
        Classification(("alone",))
    with pytest.raises(ValueError, match="the split 'test' has no pictures"):
        Classification(CLASSES).evaluation("test", torch.empty(0, 8), torch.empty(0, dtype=torch.int64), [])


def test_class_weights_are_those_of_scikit_learn():
    targets = torch.tensor([0] * 8 + [1] * 2 + [2] * 5)
    weights = inverse_class_sizes(targets, 3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets.numpy())
    torch.testing.assert_close(weights.double(), torch.from_numpy(expected), rtol=1e-6, atol=0)
    outputs = torch.randn(15, 3, generator=torch.Generator().manual_seed(0))
    task = Classification(("a", "b", "c"), class_weights=weights)
    each = torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
    by_class = torch.stack([each[targets == label].mean() for label in range(3)])
    batch = Batch(torch.empty(15), targets, torch.arange(15))
    torch.testing.assert_close(task.loss(outputs, batch), by_class.mean())
