"""Batch norm, sum and ReLU at once, against PyTorch's modules."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from resnets.layers import fused
from resnets.layers.fused import InTurn, normalised
from resnets.layers.native import library

requires_compiler = pytest.mark.skipif(library(fused.SOURCE, torch.float32) is None, reason="there is no C compiler")


def maps(*shape, offset=0.0, dtype=torch.float32):
    return (torch.randn(shape) + offset).to(dtype).contiguous(memory_format=torch.channels_last)


def made(norm, x, activation, shortcut, upstream):
    """Output, gradients and statistics of one pass, and back."""
    leaves = [x.clone().requires_grad_(), None if shortcut is None else shortcut.clone().requires_grad_()]
    y = normalised(norm, leaves[0], activation, leaves[1])
    y.backward(upstream.to(y.dtype))
    gradients = [leaf.grad for leaf in leaves if leaf is not None]
    return [y, *gradients, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]


def network_of(channels):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@requires_compiler
@pytest.mark.parametrize("shape", [(2, 1, 3, 3), (4, 3, 5, 7), (3, 64, 14, 14), (2, 2048, 2, 1), (9, 37, 16, 16)])
@pytest.mark.parametrize("activates", [False, True])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_outputs_gradients_and_statistics_are_pytorchs(shape, activates, adds, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(fused, "SMALLEST", 1)
    ours = network_of(shape[1])
    exact = copy.deepcopy(ours).double()
    x, shortcut, upstream = maps(*shape, offset=2), maps(*shape) if adds else None, maps(*shape)
    activation = nn.ReLU() if activates else None
    assert fused._fuses(ours, x, activation, shortcut)
    found = made(ours, x, activation, shortcut, upstream)
    expected = made(exact, x.double(), activation, None if shortcut is None else shortcut.double(), upstream)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-5 * other.abs().max().item(), rtol=1e-5)
    assert ours.num_batches_tracked == exact.num_batches_tracked == 1


@requires_compiler
@pytest.mark.parametrize("activates", [False, True])
@pytest.mark.parametrize("adds", [False, True])
def test_in_bfloat16_it_is_no_less_exact_than_pytorch(activates, adds):
    ours, shape = network_of(48), (16, 48, 9, 9)
    x, shortcut, upstream = (maps(*shape, dtype=torch.bfloat16) for _ in range(3))
    shortcut = shortcut if adds else None
    activation = nn.ReLU() if activates else None
    results = []
    for fuses in (True, False):
        norm = copy.deepcopy(ours)
        if not fuses:
            norm.register_forward_hook(lambda *_: None)
        results.append(made(norm, x, activation, shortcut, upstream))
    exact = made(
        copy.deepcopy(ours).double(),
        x.double(),
        activation,
        None if shortcut is None else shortcut.double(),
        upstream,
    )
    for one, pytorchs, expected in zip(*results, exact, strict=True):
        assert one.dtype == pytorchs.dtype
        error = (one.double() - expected).norm() / expected.norm()
        assert error < max(1.1 * (pytorchs.double() - expected).norm() / expected.norm(), 1e-6)


@requires_compiler
def test_a_mean_far_from_zero_leaves_the_variance_its_digits():
    norm, x = network_of(8), maps(8, 8, 32, 32, offset=1000)
    normalised(norm, x)
    torch.testing.assert_close(norm.running_var.double(), 0.9 + 0.1 * x.double().var((0, 2, 3)), rtol=1e-5, atol=0)


@requires_compiler
def test_what_is_not_a_number_is_not_clipped_away():
    x = maps(2, 3, 4, 4)
    x[0, 1, 2, 3] = torch.nan
    y = normalised(network_of(3), x, nn.ReLU(), maps(2, 3, 4, 4))
    assert y[:, 1].isnan().all()
    assert not y[:, [0, 2]].isnan().any()


@requires_compiler
def test_the_same_bits_every_time():
    x = maps(8, 64, 28, 28, dtype=torch.bfloat16)
    first, second = (made(network_of(64), x, nn.ReLU(), x, x) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@requires_compiler
@pytest.mark.parametrize(
    ("norm", "x"),
    [
        (nn.BatchNorm2d(3).eval(), maps(2, 3, 4, 4)),
        (nn.BatchNorm2d(3, affine=False), maps(2, 3, 4, 4)),
        (nn.BatchNorm2d(3, momentum=None), maps(2, 3, 4, 4)),
        (nn.BatchNorm2d(3, track_running_stats=False), maps(2, 3, 4, 4)),
        (nn.BatchNorm2d(3).double(), maps(2, 3, 4, 4).double()),
        (nn.BatchNorm2d(3), torch.randn(2, 3, 4, 4)),
        (nn.GroupNorm(1, 3), maps(2, 3, 4, 4)),
    ],
    ids=["evaluation", "no scale", "cumulative", "no statistics", "float64", "memory of rows", "another norm"],
)
def test_all_else_is_left_to_the_modules(norm, x, monkeypatch):
    monkeypatch.setattr(fused, "_normalised", None)
    expected = copy.deepcopy(norm)(x)
    assert torch.equal(normalised(norm, x, nn.ReLU()), expected.relu())


def test_a_batch_of_one_value_is_refused_as_by_pytorch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        normalised(nn.BatchNorm2d(3), maps(1, 3, 1, 1))


def test_modules_that_are_watched_are_called():
    norm, activation, seen = nn.BatchNorm2d(3), nn.ReLU(), []
    activation.register_forward_hook(lambda module, *_: seen.append(module))
    x = maps(2, 3, 4, 4)
    normalised(norm, x, activation)
    handle = norm.register_full_backward_hook(lambda module, *_: seen.append(module))
    normalised(norm, x.requires_grad_(), None).sum().backward()
    assert seen == [activation, norm]
    handle.remove()


def test_in_turn_each_module_is_used_once(monkeypatch):
    modules = InTurn(nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.ReLU(), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    x = maps(2, 3, 4, 4)
    expected = nn.Sequential(*copy.deepcopy(modules))(x)
    pairs, whole = [], fused.normalised
    monkeypatch.setattr(fused, "normalised", lambda *given: pairs.append(given[2]) or whole(*given))
    torch.testing.assert_close(modules(x), expected)
    assert pairs == [None, modules[2], None]


def test_without_a_compiler_all_is_pytorchs(monkeypatch):
    monkeypatch.setattr(fused, "library", lambda *_: None)
    norm, x = network_of(3), maps(2, 3, 4, 4)
    expected = copy.deepcopy(norm)(x).relu()
    assert torch.equal(normalised(norm, x, nn.ReLU()), expected)
