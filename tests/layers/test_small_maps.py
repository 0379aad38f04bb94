"""Convolutions of small maps against PyTorch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from resnets.layers import small_maps
from resnets.layers.small_maps import SmallMapConvolution, side_by_side


@pytest.mark.parametrize("count", [1, 6, 64])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7), (8, 8), (16, 16)])
def test_outputs_and_gradients_are_pytorchs(monkeypatch, count, height, width):
    monkeypatch.setattr(small_maps, "has_matrix_unit", lambda: True)
    torch.manual_seed(0)
    ours = SmallMapConvolution(3, 5)
    reference = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    reference.load_state_dict(copy.deepcopy(ours.state_dict()))
    given = torch.randn(count, 3, height, width).to(memory_format=torch.channels_last)
    upstream = torch.randn(count, 5, height, width)
    found = []
    for network in (ours, reference):
        x = given.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(x)
        outputs.backward(upstream.to(outputs.dtype))
        found.append((outputs, x.grad, network.weight.grad))
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, atol=0.02 * other.abs().max().item(), rtol=0)


def test_maps_side_by_side_have_zeros_between_them():
    maps = torch.arange(1.0, 1 + 6 * 2 * 2 * 3).view(6, 2, 2, 3)
    rows = side_by_side(maps)
    assert rows.shape == (3, 2, 2, 8)
    assert not rows[..., 3::4].any()
    for number, one in enumerate(maps):
        start = 4 * (number % 2)
        assert torch.equal(rows[number // 2, :, :, start : start + 3], one)


def test_only_training_in_bfloat16_is_computed_otherwise(monkeypatch):
    """In float32 there is nothing to gain, and without gradients nothing to compute."""
    monkeypatch.setattr(small_maps, "has_matrix_unit", lambda: True)
    convolution, x, calls = SmallMapConvolution(3, 5), torch.randn(8, 3, 4, 4), []
    whole = small_maps._Convolution.apply
    monkeypatch.setattr(small_maps._Convolution, "apply", lambda *given: calls.append(given) or whole(*given))
    convolution(x)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            convolution(x)
        assert not calls
        convolution(x)
    assert len(calls) == 1
