"""Our weights in torchvision's and timm's networks, theirs in ours, and the same answers from both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torchvision
from torch import nn

from resnets.weights.models import create_model

AssertTwins = Callable[[nn.Module, Callable[[], nn.Module]], None]

TORCHVISION: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("resnet18", {}, {}),
    ("resnet50", {}, {}),
    ("resnet50", {"output_stride": 8}, {"replace_stride_with_dilation": [False, True, True]}),
    ("resnext50_32x4d", {}, {}),
    ("wide_resnet50_2", {}, {}),
    ("densenet121", {}, {}),
    ("densenet121", {"dropout": 0.3}, {"drop_rate": 0.3}),
    ("efficientnet_b0", {}, {}),
    ("efficientnet_b3", {"dropout": 0.5, "drop_path": 0.5}, {"dropout": 0.5, "stochastic_depth_prob": 0.5}),
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
    ("densenet121", {}, "densenet121", {}),
    ("preresnet34", {"stem": "deep", "shortcut": "D"}, "resnetv2_34d", {}),
]


@pytest.mark.parametrize(("name", "changes", "options"), TORCHVISION)
def test_torchvision(assert_twins: AssertTwins, name: str, changes: dict[str, Any], options: dict[str, Any]) -> None:
    make = getattr(torchvision.models, name)
    ours = create_model(name, num_classes=10, **changes)
    assert list(ours.state_dict()) == list(make().state_dict())
    assert_twins(ours, lambda: make(num_classes=10, **options))


@pytest.mark.parametrize(("name", "changes", "twin", "options"), TIMM)
def test_timm(
    assert_twins: AssertTwins, name: str, changes: dict[str, Any], twin: str, options: dict[str, Any]
) -> None:
    ours = create_model(name, num_classes=10, **changes)
    assert_twins(ours, lambda: timm.create_model(twin, num_classes=10, **options))
