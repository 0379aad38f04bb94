"""How faithful a map is, for networks whose answer is known while squares go."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resnets.insight.attributions import one_output
from resnets.insight.faithfulness import STEPS, chance, faithfulness


class Corner(nn.Module):
    """1 where the picture's upper left square of 4x4 of 32x32 is there, else 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :, :4, :4].abs().sum((1, 2, 3)) > 0).float()[:, None]


def test_the_right_map_and_the_wrong_one():
    image, importance = torch.ones(1, 3, 32, 32), torch.zeros(32, 32)
    importance[:4, :4] = 1
    right = faithfulness(Corner(), image, importance, one_output(0))
    assert right.deletion == pytest.approx(0.5 / STEPS)  # of the trapezoid in which it falls
    assert right.insertion == pytest.approx(1 - 0.5 / STEPS)
    wrong = faithfulness(Corner(), image, -importance, one_output(0))
    assert wrong.deletion == pytest.approx(1 - 0.5 / STEPS)
    assert wrong.insertion == pytest.approx(0.5 / STEPS)
    random = chance(Corner(), image, one_output(0))
    assert right.deletion < random.deletion < wrong.deletion
    assert random == chance(Corner(), image, one_output(0))


def test_of_the_mean_of_all_pixels_every_order_keeps_half():
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2, 3))[:, None]

    found = faithfulness(Mean(), torch.ones(1, 1, 8, 8), torch.randn(8, 8), one_output(0))
    assert (found.deletion, found.insertion) == (pytest.approx(0.5), pytest.approx(0.5))
