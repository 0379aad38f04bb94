"""Convolutions of small maps against PyTorch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from resnets.layers import native, small_maps
from resnets.layers.small_maps import SmallMapConvolution, side_by_side


@pytest.fixture(autouse=True)
def _of_any_size_on_any_processor(monkeypatch):
    monkeypatch.setattr(native, "SMALLEST", 1)
    monkeypatch.setattr(small_maps, "FEWEST", 1)
    monkeypatch.setattr(small_maps, "has_matrix_unit", lambda: True)


def maps(*shape: int) -> Tensor:
    return torch.randn(shape).bfloat16().to(memory_format=torch.channels_last)


@pytest.mark.parametrize("count", [1, 6, 64])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 7), (8, 8), (16, 16)])
def test_outputs_and_gradients_are_pytorchs(count, height, width):
    torch.manual_seed(0)
    ours = SmallMapConvolution(32, 5)
    reference = nn.Conv2d(32, 5, 3, padding=1, bias=False)
    reference.load_state_dict(copy.deepcopy(ours.state_dict()))
    given, upstream = maps(count, 32, height, width), maps(count, 5, height, width)
    found = []
    for network in (ours, reference):
        x = given.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = network(x)
        outputs.backward(upstream)
        found.append((outputs, x.grad, network.weight.grad))
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, atol=0.02 * other.abs().max().item(), rtol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_gradient_of_maps_lies_in_memory_as_they_do(memory_format):
    convolution, seen = SmallMapConvolution(32, 64).to(memory_format=memory_format), []
    x = maps(8, 32, 4, 4).requires_grad_()
    x.register_hook(lambda gradient: seen.append(gradient.is_contiguous(memory_format=torch.channels_last)))
    with torch.autocast("cpu", torch.bfloat16):
        convolution(x).float().square().sum().backward()
    assert seen == [True]


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
    convolution, x, calls = SmallMapConvolution(32, 5), maps(8, 32, 4, 4), []
    whole = small_maps._Convolution.apply
    monkeypatch.setattr(small_maps._Convolution, "apply", lambda *given: calls.append(given) or whole(*given))
    convolution(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        convolution(maps(8, 32, 16, 16))
        with torch.no_grad():
            convolution(x)
        assert not calls
        convolution(x)
    assert len(calls) == 1


def test_types_that_do_not_fit_are_refused_as_pytorch_does():
    with pytest.raises(RuntimeError, match="same"):
        SmallMapConvolution(32, 5)(maps(8, 32, 4, 4))
