"""Temperature scaling against a grid, and from the training to the answers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from resnets.tasks.classification import fit_temperature


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_is_the_one_that_made_the_labels(true):
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(20_000, 5, generator=generator)
    targets = torch.multinomial((logits / true).softmax(1), 1, generator=generator).flatten()
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(true, rel=0.05)
    grid = [found * factor for factor in (0.9, 0.97, 1.03, 1.1)]
    assert F.cross_entropy(logits / found, targets) < min(F.cross_entropy(logits / t, targets) for t in grid)


def test_answers_that_are_all_right_leave_it_at_one():
    assert fit_temperature(torch.eye(4), torch.arange(4)) == 1.0


def test_answers_that_are_all_wrong_end_at_the_hottest():
    assert fit_temperature(torch.eye(4) * 9, torch.tensor([1, 2, 3, 0])) == 20.0
