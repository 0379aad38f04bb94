"""The network that is quickly trained: its layers written out by hand, and the whitening against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from resnets.layers.whitening import LEAST_VARIANCE, Whitening
from resnets.networks.catalogue import architecture, build, declaration_from_dict
from resnets.networks.fastresnet import FastResNet, FastResNetArchitecture


def small(**changes: object) -> FastResNet:
    torch.manual_seed(0)
    options = {"depths": (1, 2), "widths": (8, 12), "num_classes": 5} | changes
    return FastResNet(FastResNetArchitecture(**options))


def test_it_is_its_layers_one_after_another():
    network = small().eval()
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    tensors, x = network.state_dict(), torch.randn(2, 3, 16, 20)

    def act(name: str, x: torch.Tensor) -> torch.Tensor:
        parts = (tensors[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.gelu(F.batch_norm(x, *parts))

    def conv(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, tensors[f"{name}.weight"], padding=1)

    y = F.gelu(F.conv2d(F.pad(x, (0, 1, 0, 1)), tensors["whiten.weight"], tensors["whiten.bias"]))
    for layer, depth in (("layer1", 1), ("layer2", 2)):
        y = act(f"{layer}.0.bn", F.max_pool2d(conv(f"{layer}.0.conv", y), 2))
        for block in range(1, depth + 1):
            y = y + act(f"{layer}.{block}.bn1", conv(f"{layer}.{block}.conv1", y))
    expected = y.amax((2, 3)) @ tensors["fc.weight"].T / 9
    torch.testing.assert_close(network(x), expected)
    assert [(stage.name, stage.channels, stage.stride) for stage in network.stages] == [
        ("stem", 24, 1),
        ("layer1", 8, 2),
        ("layer2", 12, 4),
    ]
    assert network.features(x)["layer2"].shape == (2, 12, 4, 5)
    assert list(network.blocks()) == ["layer1.1", "layer2.1", "layer2.2"]


def test_the_catalogues_has_the_layers_of_airbench94():
    """arXiv:2404.00498, listing of section 3: widths 64, 256 and 256, 24 filters in front, 1.97 million parameters."""
    declaration = architecture("fastresnet8")
    network = build(declaration)
    assert declaration.layers == 8
    assert declaration_from_dict(declaration.to_dict()) == declaration
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    norms, biases = 2 * (2 * 64 + 4 * 256), 24
    assert sum(parameter.numel() for parameter in network.parameters()) == convolutions + norms + biases + 2560
    assert network.whiten.weight.shape == (24, 3, 2, 2)
    with pytest.raises(ValueError, match="output_scale must be above 0"):
        FastResNetArchitecture(output_scale=0)


def test_without_a_classifier_it_gives_what_that_would_read():
    network, x = small().eval(), torch.randn(2, 3, 16, 16)
    network.reset_classifier(0)
    torch.testing.assert_close(network(x), network.features(x)["layer2"].amax((2, 3)))
    torch.testing.assert_close(small(num_classes=0).eval()(x).shape, torch.Size([2, 12]))


def test_a_stage_begins_by_passing_channels_on():
    weight = small(widths=(32, 40)).layer2[0].conv.weight
    images = torch.randn(1, 32, 6, 6)
    torch.testing.assert_close(F.conv2d(images, weight, padding=1)[:, :32], images)
    assert weight[32:].std() > 0.01


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_whitened_is_uncorrelated_and_of_equal_variance(channels: int):
    images = torch.randn(200, channels, 9, 9, generator=torch.Generator().manual_seed(0)).cumsum(2).cumsum(3)
    layer = Whitening(channels)
    layer.fit([images[:120], images[120:]])
    with torch.no_grad():
        maps = layer(images)
    half = 4 * channels
    assert maps.shape == (200, 2 * half, 9, 9)
    maps = maps[:, :, :-1, :-1]
    torch.testing.assert_close(maps[:, half:], -maps[:, :half], atol=1e-5, rtol=0)
    covariance = np.cov(maps.transpose(0, 1).reshape(2 * half, -1)[:half].numpy())
    assert abs(covariance - np.eye(half)).max() < 0.01 + LEAST_VARIANCE


def test_the_filters_are_the_datas_and_nothing_learns_them():
    network = small()
    assert "whiten.weight" not in dict(network.named_parameters())
    assert "whiten.weight" in network.state_dict()
