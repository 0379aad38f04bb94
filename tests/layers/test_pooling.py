"""Max-pooling against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from resnets.layers import native, pooling
from resnets.layers.native import library
from resnets.layers.pooling import MaxPool

requires_compiler = pytest.mark.skipif(library(pooling.SOURCE) is None, reason="there is no C compiler")


@pytest.fixture(autouse=True)
def _of_any_size(monkeypatch):
    monkeypatch.setattr(native, "SMALLEST", 1)


def maps(*shape) -> Tensor:
    """With many values that are equal."""
    torch.manual_seed(0)
    return torch.randint(-9, 9, shape).bfloat16().contiguous(memory_format=torch.channels_last)


def pooled(pool: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Its output, and the gradient of its input."""
    x = x.clone().requires_grad_()
    y = pool(x)
    y.backward(torch.arange(y.numel()).view_as(y).to(y.dtype) % 7)
    return y, x.grad


@requires_compiler
@pytest.mark.parametrize("window", [(2,), (3, 2, 1), (3, 1, 1), (5, 3, 2), (16, 16)])
@pytest.mark.parametrize("shape", [(1, 32, 16, 16), (3, 64, 17, 31), (2, 160, 19, 18)])
def test_outputs_and_gradients_are_pytorchs_to_the_bit(shape, window, monkeypatch):
    calls, whole, x = [], pooling.call, maps(*shape)
    monkeypatch.setattr(pooling, "call", lambda *given: calls.append(given[1]) or whole(*given))
    for one, other in zip(pooled(MaxPool(*window), x), pooled(nn.MaxPool2d(*window), x), strict=True):
        assert torch.equal(one, other)
        assert one.is_contiguous(memory_format=torch.channels_last)
    assert calls == ["pool", "distribute"]


@requires_compiler
def test_what_is_not_a_number_is_the_largest():
    x = maps(2, 32, 6, 6)
    x[0, 1, 2, 3] = x[1, 2, 0, 0] = torch.nan
    one, other = (pooled(pool, x)[0] for pool in (MaxPool(2), nn.MaxPool2d(2)))
    torch.testing.assert_close(one, other, equal_nan=True, rtol=0, atol=0)
    assert one.isnan().sum() == 2


def test_all_else_is_left_to_pytorch(monkeypatch):
    monkeypatch.setattr(pooling, "call", None)
    x = maps(2, 32, 40, 40)
    assert torch.equal(MaxPool(3, 2, 1)(x), nn.MaxPool2d(3, 2, 1)(x))  # no gradient is wanted
    x.requires_grad_()
    with torch.no_grad():
        MaxPool(2)(x)
    for pool, given in (
        (MaxPool(17), x),
        (MaxPool(2), x.float()),
        (MaxPool(2), x.contiguous()),
        (MaxPool(2), x[:, :24].contiguous(memory_format=torch.channels_last)),
    ):
        assert torch.equal(pool(given), nn.MaxPool2d(pool.kernel_size)(given))
    changed = MaxPool(3, 2)
    changed.ceil_mode = True
    assert changed(x).shape[2:] == (20, 20)
    small = x[:, :, :1, :1].contiguous(memory_format=torch.channels_last)
    for pool, message in ((MaxPool(2), "too small"), (MaxPool(2, 2, 2), "half of")):
        with pytest.raises(RuntimeError, match=message):
            pool(small)
