"""Batch norm, sum and ReLU at once, against PyTorch's modules."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

from resnets.layers import fused, native
from resnets.layers.fused import InTurn, fork, normalised, normalised_for_two
from resnets.layers.native import library

requires_compiler = pytest.mark.skipif(library(fused.SOURCE) is None, reason="there is no C compiler")
SHAPE = (2, 32, 4, 4)


@pytest.fixture(autouse=True)
def _of_any_size(monkeypatch):
    monkeypatch.setattr(native, "SMALLEST", 1)


def maps(*shape, offset=0.0) -> Tensor:
    return (torch.randn(shape) + offset).bfloat16().contiguous(memory_format=torch.channels_last)


def batch_norm(channels=32, **options) -> nn.BatchNorm2d:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels, **options)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def made(norm, x, activation, shortcut, upstream) -> list[Tensor]:
    """Output, gradients and statistics of one pass, and back."""
    leaves = [x.clone().requires_grad_(), None if shortcut is None else shortcut.clone().requires_grad_()]
    y = normalised(norm, leaves[0], activation, leaves[1])
    y.backward(upstream.to(y.dtype))
    gradients = [leaf.grad for leaf in leaves if leaf is not None]
    return [y, *gradients, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]


def without_fusing(norm, *given):
    """What PyTorch's modules give."""
    norm.register_forward_hook(lambda *_: None)
    return made(norm, *given)


@requires_compiler
@pytest.mark.parametrize("shape", [(2, 32, 3, 3), (4, 96, 5, 7), (3, 64, 14, 14), (2, 2048, 2, 1), (9, 32, 16, 16)])
@pytest.mark.parametrize("activates", [False, True])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_outputs_gradients_and_statistics_are_right(shape, activates, adds, threads, monkeypatch):
    """No further from those of float64 than PyTorch's in bfloat16; what is no map is in float32, and exact."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    norm = batch_norm(shape[1])
    x, shortcut, upstream = maps(*shape, offset=2), maps(*shape) if adds else None, maps(*shape)
    activation = nn.ReLU() if activates else None
    assert fused._fuses(norm, x, shortcut)
    found = made(norm, x, activation, shortcut, upstream)
    pytorchs = without_fusing(batch_norm(shape[1]), x, activation, shortcut, upstream)
    wide = None if shortcut is None else shortcut.double()
    exact = made(batch_norm(shape[1]).double(), x.double(), activation, wide, upstream)
    for one, other, expected in zip(found, pytorchs, exact, strict=True):
        assert one.dtype == other.dtype
        error, allowed = ((each.double() - expected).norm() / expected.norm() for each in (one, other))
        assert error <= max(1.05 * allowed, 2e-6)
    assert norm.num_batches_tracked == 1


@requires_compiler
@pytest.mark.parametrize(("offset", "outlier"), [(50, 0), (0, 1000)])
def test_numbers_far_from_zero_leave_the_variance_its_digits(offset, outlier):
    norm, x = batch_norm(), maps(8, 32, 32, 32, offset=offset)
    x[0, :, 0, 0] += outlier
    normalised(norm, x)
    expected = 0.9 + 0.1 * x.double().var((0, 2, 3))
    torch.testing.assert_close(norm.running_var.double(), expected, rtol=2e-5, atol=0)


@requires_compiler
def test_what_is_not_a_number_is_not_clipped_away():
    norm, x = batch_norm(), maps(*SHAPE)
    x[0, 1, 2, 3] = torch.nan
    with torch.no_grad():
        norm.weight.view(torch.int32)[5] = 0x7FFFFFFF  # rounding would carry into the sign
    found = made(norm, x, nn.ReLU(), maps(*SHAPE), maps(*SHAPE))
    for maps_of in found[:2]:
        assert maps_of[:, [1, 5]].isnan().all()
        assert not maps_of[:, [0, 2, 3, 4, 6]].isnan().any()


@requires_compiler
def test_the_same_bits_every_time():
    x = maps(8, 64, 28, 28)
    first, second = (made(batch_norm(64), x, nn.ReLU(), x, x) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@requires_compiler
def test_gradients_that_nobody_wants_change_nothing_in_the_others():
    x, shortcut, upstream = (maps(*SHAPE) for _ in range(3))
    _, of_x, of_shortcut, of_weight, of_bias, *_ = made(batch_norm(), x, nn.ReLU(), shortcut, upstream)

    norm = batch_norm()
    normalised(norm, x, nn.ReLU(), shortcut).backward(upstream)  # neither of which asks for its own
    assert torch.equal(norm.weight.grad, of_weight)
    assert torch.equal(norm.bias.grad, of_bias)

    norm, leaves = batch_norm().requires_grad_(False), [x.clone().requires_grad_(), shortcut.clone().requires_grad_()]
    normalised(norm, leaves[0], nn.ReLU(), leaves[1]).backward(upstream)
    assert norm.weight.grad is None
    assert torch.equal(leaves[0].grad, of_x)
    assert torch.equal(leaves[1].grad, of_shortcut)


@requires_compiler
@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.Identity(), nn.SiLU()], ids=str)
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("used", [(0,), (1,), (0, 1)])
def test_of_a_map_for_two_the_gradients_are_added(activation, adds, used):
    """No further from those of float64 than where the map is forked."""
    x, shortcut, *upstream = (maps(*SHAPE) for _ in range(4))

    def gradients(dtype, of_two):
        norm = batch_norm().to(torch.float64 if dtype == torch.float64 else torch.float32)
        leaves = [each.to(dtype, copy=True).requires_grad_() for each in (x, shortcut)]
        given = (norm, leaves[0], activation, leaves[1] if adds else None)
        paths = normalised_for_two(*given) if of_two else fork(normalised(*given))
        torch.autograd.backward([paths[i] for i in used], [upstream[i].to(dtype) for i in used])
        return [*paths, leaves[0].grad, *([leaves[1].grad] if adds else []), norm.weight.grad, norm.bias.grad]

    of_two, forked = gradients(torch.bfloat16, True), gradients(torch.bfloat16, False)
    for one, other, exact in zip(of_two, forked, gradients(torch.float64, False), strict=True):
        error, allowed = ((each.double() - exact).norm() / exact.norm() for each in (one, other))
        assert error <= max(1.02 * allowed, 2e-6)


@requires_compiler
@pytest.mark.parametrize("kind", [nn.ReLU, nn.Identity])
def test_for_two_a_watched_activation_is_called(kind):
    activation, calls = kind(), []
    activation.register_forward_hook(lambda *_: calls.append(True))
    normalised_for_two(batch_norm(), maps(*SHAPE), activation)
    assert calls == [True]


@requires_compiler
@pytest.mark.parametrize("kept", [(0,), (1,), (0, 1)])
def test_a_forked_map_gets_the_gradients_of_both_paths(kept):
    x = maps(*SHAPE).requires_grad_()
    weights = torch.randn(2, *x.shape).bfloat16()
    paths = fork(x)
    assert paths[0] is not x
    sum((weights[i] * paths[i]).sum() for i in kept).backward()
    assert torch.equal(x.grad, weights[list(kept)].sum(0))


def test_where_nothing_is_gained_a_map_is_not_forked():
    for x in (maps(*SHAPE), maps(*SHAPE).float().requires_grad_(), maps(*SHAPE).contiguous().requires_grad_()):
        assert all(path is x for path in fork(x))


@requires_compiler
def test_a_batch_is_counted_as_the_norm_says():
    norm, x = batch_norm(momentum=0), maps(*SHAPE)
    norm.num_batches_tracked = None
    normalised(norm, x)
    assert norm.num_batches_tracked is None
    assert torch.equal(norm.running_mean, torch.zeros(32))


@requires_compiler
def test_an_activation_of_another_kind_follows():
    x = maps(*SHAPE)
    expected = nn.functional.gelu(normalised(batch_norm(), x, None, x))
    assert torch.equal(normalised(batch_norm(), x, nn.GELU(), x), expected)
    assert torch.equal(normalised(batch_norm(), x, nn.Identity()), normalised(batch_norm(), x))


@requires_compiler
@pytest.mark.parametrize(
    ("norm", "x"),
    [
        (batch_norm().eval(), maps(*SHAPE)),
        (nn.BatchNorm2d(32, affine=False), maps(*SHAPE)),
        (nn.BatchNorm2d(32, bias=False), maps(*SHAPE)),
        (batch_norm(momentum=None), maps(*SHAPE)),
        (batch_norm(track_running_stats=False), maps(*SHAPE)),
        (batch_norm().double(), maps(*SHAPE).double()),
        (batch_norm(), maps(*SHAPE).float()),
        (batch_norm(), maps(*SHAPE).contiguous()),
        (batch_norm(24), maps(2, 24, 4, 4)),
        (nn.GroupNorm(1, 32).bfloat16(), maps(*SHAPE)),
    ],
    ids=lambda given: type(given).__name__,
)
def test_all_else_is_left_to_the_modules(norm, x, monkeypatch):
    monkeypatch.setattr(fused, "_normalised", None)
    expected = copy.deepcopy(norm)(x)
    assert torch.equal(normalised(norm, x, nn.ReLU()), expected.relu())


@requires_compiler
def test_scales_that_lie_otherwise_in_memory_are_left_to_the_modules():
    norm, x = batch_norm(), maps(*SHAPE)
    norm.weight = nn.Parameter(torch.arange(64.0)[::2])
    expected = copy.deepcopy(norm)
    assert not fused._fuses(norm, x, None)
    norm.weight = nn.Parameter(torch.ones(2))
    with pytest.raises(RuntimeError, match="weight"):
        normalised(norm, x)
    assert torch.equal(normalised(expected, x), copy.deepcopy(expected)(x))


@requires_compiler
def test_a_default_device_and_a_whole_number_as_epsilon_do_no_harm():
    x, expected = maps(*SHAPE), batch_norm(eps=1)
    expected = copy.deepcopy(expected)(x)
    with torch.device("meta"):
        found = normalised(batch_norm(eps=1).to_empty(device="cpu"), x)
    assert found.device.type == "cpu"
    torch.testing.assert_close(normalised(batch_norm(eps=1), x), expected)


@requires_compiler
def test_a_network_can_be_traced():
    modules, x = InTurn(nn.Conv2d(32, 32, 1), batch_norm(), nn.ReLU()).bfloat16(), maps(*SHAPE)
    modules[1].float()
    with warnings.catch_warnings(action="ignore"):  # tracing is deprecated
        traced = torch.jit.trace(modules, x, check_trace=False)
    assert traced(x).shape == x.shape


def test_a_batch_of_one_value_is_refused_as_by_pytorch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        normalised(batch_norm(), maps(1, 32, 1, 1))


@requires_compiler
def test_modules_that_are_watched_are_called():
    norm, activation, x, seen = batch_norm(), nn.ReLU(), maps(*SHAPE), []
    activation.register_forward_hook(lambda module, *_: seen.append(module))
    normalised(norm, x, activation)
    norm.register_full_backward_hook(lambda module, *_: seen.append(module))
    normalised(norm, x.requires_grad_()).sum().backward()
    assert seen == [activation, norm]
    norm, activation = batch_norm(), nn.ReLU()
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    normalised(norm, x, activation)
    handle.remove()
    assert seen[2:] == [norm, activation]


def test_in_turn_each_module_is_used_once(monkeypatch):
    modules = InTurn(batch_norm(), batch_norm(), nn.ReLU(), nn.ReLU(), nn.Conv2d(32, 64, 1).bfloat16(), batch_norm(64))
    x = maps(*SHAPE)
    expected = nn.Sequential(*copy.deepcopy(modules))(x)
    pairs, whole = [], fused.normalised
    monkeypatch.setattr(fused, "normalised", lambda *given: pairs.append(given[2:]) or whole(*given))
    torch.testing.assert_close(modules(x), expected, atol=0.05, rtol=0.02)
    assert pairs == [(None,), (modules[2],), (None,)]


def test_without_a_compiler_all_is_pytorchs(monkeypatch):
    monkeypatch.setattr(fused, "library", lambda _: None)
    norm, x = batch_norm(), maps(*SHAPE)
    expected = copy.deepcopy(norm)(x).relu()
    assert torch.equal(normalised(norm, x, nn.ReLU()), expected)
