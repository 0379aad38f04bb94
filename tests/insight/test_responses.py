"""Responses of layers, against what the layers give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resnets.insight.responses import responding, response_deviations
from resnets.weights.models import create_model


@pytest.mark.parametrize(
    ("name", "layers"), [("resnet20", 19), ("plain20", 19), ("preresnet29", 10), ("resnet50", 17), ("resnet50d", 19)]
)
def test_every_3x3_layer_responds_once(name, layers):
    network = create_model(name, 10)
    found = response_deviations(network, torch.randn(2, 3, 32, 32))
    assert len(found) == layers
    assert all(value > 0 for value in found.values())
    kind = nn.Conv2d if name.startswith("pre") else nn.BatchNorm2d
    assert all(isinstance(module, kind) for module in responding(network).values())


def test_the_response_is_what_stands_before_the_sum():
    network = create_model("resnet8", 10).eval()
    images = torch.randn(4, 3, 16, 16)
    block = network.layer1[0]
    with torch.no_grad():
        x = network.features(images, ["stem"])["stem"]
        expected = block.residual(x).double().std().item()
    assert response_deviations(network, images)["layer1.0.conv2"] == pytest.approx(expected, rel=1e-5)
