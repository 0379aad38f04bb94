"""The loss on a plane, against a loss that is known everywhere."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from resnets.insight.landscape import loss_surface, random_direction
from resnets.weights.models import create_model


def test_directions_have_the_lengths_of_the_filters():
    network = create_model("resnet8", 10)
    direction = random_direction(network, 0)
    weights = {name: weight for name, weight in network.named_parameters() if weight.dim() > 1}
    assert direction.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(direction[name].flatten(1).norm(dim=1), weight.detach().flatten(1).norm(dim=1))
    assert not torch.equal(direction["conv1.weight"], random_direction(network, 1)["conv1.weight"])


def test_the_surface_of_a_linear_classifier():
    torch.manual_seed(0)
    network = nn.Linear(3, 4)
    images, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])
    directions = random_direction(network, 0), random_direction(network, 1)
    surface = loss_surface(network, images, targets, directions, [-0.5, 0.0, 2.0])
    before = network.weight.clone()
    for row, a in enumerate([-0.5, 0.0, 2.0]):
        for column, b in enumerate([-0.5, 0.0, 2.0]):
            weight = network.weight + a * directions[0]["weight"] + b * directions[1]["weight"]
            expected = F.cross_entropy((images @ weight.T + network.bias).double(), targets)
            torch.testing.assert_close(surface[row, column], expected.detach())
    assert torch.equal(network.weight, before)
