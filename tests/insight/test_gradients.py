"""Gradients at each layer, against a network whose gradients are known in closed form."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from resnets.insight.gradients import layer_gradients
from resnets.weights.models import create_model


def test_a_chain_of_linear_layers_multiplies_the_gradient():
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    first.weight.data, second.weight.data = torch.eye(2), 0.5 * torch.eye(2)
    images, targets = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    found = layer_gradients(nn.Sequential(OrderedDict(first=first, second=second)), images, targets)
    share = torch.tensor([1.0, 0.0]).softmax(0)[1].item()  # of the wrong class
    last = (2 * share**2) ** 0.5
    assert [layer.layer for layer in found] == ["first", "second"]
    assert found[1].output == pytest.approx(last)
    assert found[0].output == pytest.approx(0.5 * last)
    assert found[0].weight == pytest.approx(0.5 * last * 2)
    assert first.weight.grad is None


def test_shortcuts_carry_the_gradient_where_nothing_is_normalised():
    images = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(16) % 10
    shares = {}
    for kind in ("plain", "resnet"):
        torch.manual_seed(0)
        network = create_model(f"{kind}56", 10, norm="none", init="glorot")
        found = layer_gradients(network, images, targets)
        assert len(found) == 56
        shares[kind] = found[0].output / found[-1].output
    assert shares["plain"] < 1e-4
    assert shares["resnet"] > 1e-2
