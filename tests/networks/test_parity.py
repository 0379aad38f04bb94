"""Our weights in torchvision's and timm's networks, theirs in ours, and the same answers from both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from resnets.weights.models import create_model

TORCHVISION: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("resnet18", {}, {}),
    ("resnet50", {}, {}),
    ("resnet50", {"output_stride": 8}, {"replace_stride_with_dilation": [False, True, True]}),
    ("resnext50_32x4d", {}, {}),
    ("wide_resnet50_2", {}, {}),
]
TIMM: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("seresnet50", {}, "seresnet50", {}),
    ("resnet50d", {}, "resnet50d", {}),
    ("resnet34", {"output_stride": 16}, "resnet34", {"output_stride": 16}),
    (
        "resnet18",
        {"shortcut": "D", "stem": "deep", "activation": "silu"},
        "resnet18d",
        {"act_layer": nn.SiLU},
    ),
    ("resnet18", {"squeeze_excitation": True}, "seresnet18", {}),
    ("preresnet18", {}, "resnetv2_18", {}),
    ("preresnet50", {}, "resnetv2_50", {}),
    ("preresnet50", {"output_stride": 8}, "resnetv2_50", {"output_stride": 8}),
    ("preresnet34", {"stem": "deep", "shortcut": "D"}, "resnetv2_34d", {}),
]


def disturbed(network: nn.Module) -> nn.Module:
    """The network with random statistics and scales, lest the initial ones hide a difference."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.4 + 0.8)
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return network


def assert_twins(ours: nn.Module, make_theirs: Callable[[], nn.Module]) -> None:
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    theirs = disturbed(make_theirs())
    ours.load_state_dict(theirs.state_dict())
    assert_same(ours, theirs, x)
    ours, theirs = disturbed(ours), make_theirs()
    theirs.load_state_dict(ours.state_dict())
    assert_same(ours, theirs, x)
    assert set(dict(ours.named_parameters())) == set(dict(theirs.named_parameters()))


@torch.no_grad()
def assert_same(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        expected = theirs(x)
        assert expected.std() > 1e-3
        assert (ours(x) - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())


@pytest.mark.parametrize(("name", "changes", "options"), TORCHVISION)
def test_torchvision(name: str, changes: dict[str, Any], options: dict[str, Any]) -> None:
    make = getattr(torchvision.models, name)
    ours = create_model(name, num_classes=10, **changes)
    assert list(ours.state_dict()) == list(make().state_dict())
    assert_twins(ours, lambda: make(num_classes=10, **options))


@pytest.mark.parametrize(("name", "changes", "twin", "options"), TIMM)
def test_timm(name: str, changes: dict[str, Any], twin: str, options: dict[str, Any]) -> None:
    ours = create_model(name, num_classes=10, **changes)
    assert_twins(ours, lambda: timm.create_model(twin, num_classes=10, **options))
