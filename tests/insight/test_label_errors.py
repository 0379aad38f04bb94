"""Wrong labels, against cleanlab and against errors that were planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cleanlab.count import compute_confident_joint
from cleanlab.filter import find_label_issues
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from resnets.insight.label_errors import find_label_errors


@pytest.fixture(scope="module")
def planted():
    """Out-of-sample probabilities of digits of which 5 % got a wrong label, the labels, and which are wrong."""
    data, random = load_digits(), np.random.default_rng(0)
    labels = data.target.copy()
    wrong = random.choice(len(labels), len(labels) // 20, replace=False)
    labels[wrong] = (labels[wrong] + random.integers(1, 10, len(wrong))) % 10
    model = KNeighborsClassifier(10)
    probabilities = cross_val_predict(model, data.data / 16, labels, cv=5, method="predict_proba")
    return torch.from_numpy(probabilities), torch.from_numpy(labels), set(wrong.tolist())


def test_planted_errors_are_found(planted):
    probabilities, labels, wrong = planted
    found = [error.index for error in find_label_errors(probabilities, labels).errors]
    right = len(wrong.intersection(found))
    assert right / len(found) > 0.9  # precision, 0.91
    assert right / len(wrong) > 0.75  # recall, 0.80
    assert len(wrong.intersection(found[:40])) >= 39  # the surest first


def test_a_suggestion_is_the_true_class(planted):
    probabilities, labels, wrong = planted
    truth = load_digits().target
    errors = [error for error in find_label_errors(probabilities, labels).errors if error.index in wrong]
    assert np.mean([truth[error.index] == error.suggested for error in errors]) > 0.9
    assert all(error.given == labels[error.index] for error in errors)


def test_the_same_as_cleanlab(planted):
    probabilities, labels, _ = planted
    quality = find_label_errors(probabilities, labels)
    arrays = {"labels": labels.numpy(), "pred_probs": probabilities.numpy()}
    joint = compute_confident_joint(**arrays, calibrate=False)
    assert np.array_equal(joint, quality.joint.numpy())
    theirs = find_label_issues(**arrays, filter_by="confident_learning", n_jobs=1)
    assert set(np.flatnonzero(theirs)) == {error.index for error in quality.errors}


def test_a_class_without_pictures_is_never_suggested():
    probabilities = torch.tensor([[0.1, 0.2, 0.7], [0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    quality = find_label_errors(probabilities, torch.tensor([0, 0, 1]))
    assert quality.thresholds[:2].tolist() == pytest.approx([0.5, 0.8])
    assert quality.thresholds[2].isnan()
    assert quality.errors == ()
    assert quality.joint.sum() == 2  # the first reaches no threshold
