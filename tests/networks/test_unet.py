"""The U-Net: its declaration, its shapes, what it begins as, and what it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resnets.blocks.conditioned import Conditioned
from resnets.layers.attention import SelfAttention
from resnets.networks.catalogue import GENERATORS, architecture, build, declaration_from_dict, list_models
from resnets.networks.unet import UNetArchitecture, sinusoids

TINY = replace(GENERATORS["flow_unet_tiny"], num_classes=3, in_channels=1)


def inputs(side: int = 8, count: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 1, side, side, generator=generator)
    return x, torch.rand(count, generator=generator), torch.arange(count) % 4


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = build(TINY)
    for parameter in network.parameters():  # some begin as zeros, which would hide what follows them
        nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.mark.parametrize("name", GENERATORS)
def test_a_declaration_survives_a_card(name):
    declaration = architecture(name)
    assert declaration_from_dict(declaration.to_dict()) == declaration
    assert declaration.source
    assert name in list_models("flow*")
    with torch.device("meta"):
        network = build(declaration)
        x = torch.empty(2, 3, 16, 16)
        assert network(x, torch.empty(2), torch.zeros(2, dtype=torch.int64)).shape == x.shape
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == declaration.layers


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_network_may_be_of_any_type(network, dtype):
    x, times, labels = inputs()
    expected = network(x, times, labels)
    found = network.to(dtype)(x.to(dtype), times, labels)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=0.02 * expected.abs().max().item(), rtol=0)


def test_all_parameters_learn_and_the_network_begins_as_zero():
    network = build(TINY)
    x, times, labels = inputs()
    assert not network(x, times, labels).any()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    network(x, times, labels[:1].expand(4)).square().sum().backward()  # one class, so that others are not told
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_time_class_and_picture_all_count(network):
    x, times, labels = inputs()
    with torch.no_grad():
        same, *others = (
            network(*changed)
            for changed in (
                (x, times, labels),
                (x + 1, times, labels),
                (x, times + 0.1, labels),
                (x, times, 3 - labels),
            )
        )
    assert all(not torch.allclose(same, other) for other in others)


def test_a_picture_does_not_depend_on_its_batch(network):
    x, times, labels = inputs()
    with torch.no_grad():
        whole = network(x, times, labels)
        alone = torch.cat([network(x[i : i + 1], times[i : i + 1], labels[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)


def test_stages_are_as_declared(network):
    shapes = {}
    for stage in network.stages:
        network.get_submodule(stage.name).register_forward_hook(
            lambda _, __, output, name=stage.name: shapes.update({name: tuple(output.shape[1:])})
        )
    with torch.no_grad():
        network(*inputs(16))
    assert list(shapes) == [stage.name for stage in network.stages]
    assert shapes == {s.name: (s.channels, 16 // s.stride, 16 // s.stride) for s in network.stages}
    assert len(network.levels()) == len(network.stages)


def test_sides_that_cannot_be_halved_are_refused(network):
    with pytest.raises(ValueError, match="multiples of 4, not 10 x 10"):
        network(*inputs(10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (1, 1)}, "one number for each stage alike"),
        ({"widths": (32, 64, 0)}, "whole numbers above 0"),
        ({"widths": (32, 64, 126)}, "multiples of 4"),
        ({"attention": (4,)}, "levels from 1 to 3"),
        ({"head_channels": 48}, "no multiple of head_channels"),
        ({"dropout": 1.0}, "below 1"),
        ({"in_channels": 0}, "at least 1, not 0"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_attention_is_that_of_the_formula():
    torch.manual_seed(0)
    attention = SelfAttention(16, 8)
    nn.init.normal_(attention.project.weight)
    x = torch.randn(2, 16, 3, 3)
    qkv = attention.qkv(attention.norm(x)).flatten(2)  # (N, 3C, HW)
    query, key, value = (part.view(2, 2, 8, 9) for part in qkv.chunk(3, 1))  # (N, heads, C / heads, HW)
    weights = (torch.einsum("nhci,nhcj->nhij", query, key) / 8**0.5).softmax(-1)
    read = torch.einsum("nhij,nhcj->nhci", weights, value).reshape(2, 16, 3, 3)
    torch.testing.assert_close(attention(x), x + F.conv2d(read, attention.project.weight), rtol=1e-4, atol=1e-4)


def test_a_block_begins_as_its_shortcut():
    x, told = torch.randn(2, 8, 4, 4), torch.randn(2, 5)
    same, wider = Conditioned(8, 8, 5), Conditioned(8, 16, 5)
    assert torch.equal(same(x, told), x)
    assert torch.equal(wider(x, told), wider.downsample(x))


def test_times_are_told_apart():
    told = sinusoids(torch.linspace(0, 1, 101), 32)
    assert told.shape == (101, 32)
    assert torch.pdist(told).min() > 0.1
    assert torch.equal(told[0], torch.tensor([1.0] * 16 + [0.0] * 16))
    assert UNetArchitecture().embedding == 128
