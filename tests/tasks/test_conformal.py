"""Conformal sets of classes, beside the share that they promise."""

from __future__ import annotations

import pytest
import torch

from resnets.tasks.classification import COVERAGES, Classification, conformal_levels

CLASSES = tuple("abcdefgh")


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95, 0.99])
def test_sets_hold_the_right_class_as_often_as_they_promise(coverage):
    """Whatever the probabilities are worth: here they are twice too sure."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(12_000, len(CLASSES), generator=generator)
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    sure = (2 * logits).softmax(1)
    task = Classification(CLASSES, {"conformal": conformal_levels(sure[:2000], targets[:2000])})
    sizes = [task.set_size(row, coverage) for row in sure[2000:]]
    ranked = sure[2000:].argsort(1, descending=True)
    held = [target in row[:size] for target, row, size in zip(targets[2000:], ranked, sizes, strict=True)]
    share = sum(held) / len(held)
    assert coverage - 0.03 < share
    if coverage >= 0.95:  # below it, sets that would be empty name one class all the same
        assert share < coverage + 0.03
        assert sum(sizes) / len(sizes) < len(CLASSES)


def test_few_pictures_promise_nothing_by_leaving_classes_out():
    levels = conformal_levels(torch.eye(4) * 0.8 + 0.05, torch.arange(4))
    assert levels[COVERAGES.index(0.8)] == pytest.approx(0.85)
    assert levels[COVERAGES.index(0.81)] == 0.0


def test_a_coverage_that_is_not_known_is_said():
    with pytest.raises(ValueError, match=r"from 0\.5 to 0\.99, not 1\.0"):
        Classification(CLASSES, {"conformal": [0.1] * 50}).set_size(torch.ones(8), 1.0)
    with pytest.raises(ValueError, match="--val-share"):
        Classification(CLASSES).set_size(torch.ones(8), 0.9)


def test_fitting_gives_levels_of_calibrated_probabilities():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(500, len(CLASSES), generator=generator)
    targets = torch.randint(0, len(CLASSES), (500,), generator=generator)
    settings = Classification(CLASSES).fit(logits, targets)
    expected = conformal_levels((logits / settings["temperature"]).softmax(1), targets)
    assert settings["conformal"] == pytest.approx(expected)
    assert settings["conformal"] == sorted(settings["conformal"], reverse=True)
