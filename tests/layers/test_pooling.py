"""Max-pooling against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from resnets.layers import pooling
from resnets.layers.native import library
from resnets.layers.pooling import MaxPool

requires_compiler = pytest.mark.skipif(library(pooling.SOURCE, torch.float32) is None, reason="there is no C compiler")


def pooled(pool: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Its output, and the gradient of its input."""
    x = x.clone().requires_grad_()
    y = pool(x)
    y.backward(torch.arange(y.numel(), dtype=y.dtype).view_as(y) % 7)
    return y, x.grad


@requires_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("window", [(2,), (3, 2, 1), (3, 1, 1), (5, 3, 2), (16, 16)])
@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (3, 5, 17, 31), (2, 130, 19, 18)])
def test_outputs_and_gradients_are_pytorchs_to_the_bit(shape, window, dtype, monkeypatch):
    calls, whole = [], pooling.call
    monkeypatch.setattr(pooling, "call", lambda *given: calls.append(given[1]) or whole(*given))
    torch.manual_seed(0)
    x = torch.randint(-9, 9, shape).to(dtype).contiguous(memory_format=torch.channels_last)  # with many that are equal
    for one, other in zip(pooled(MaxPool(*window), x), pooled(nn.MaxPool2d(*window), x), strict=True):
        assert torch.equal(one, other)
        assert one.is_contiguous(memory_format=torch.channels_last)
    assert calls == ["pool", "distribute"]


@requires_compiler
def test_what_is_not_a_number_is_the_largest():
    x = torch.randn(2, 3, 6, 6).contiguous(memory_format=torch.channels_last)
    x[0, 1, 2, 3] = x[1, 2, 0, 0] = torch.nan
    one, other = (pooled(pool, x)[0] for pool in (MaxPool(2), nn.MaxPool2d(2)))
    torch.testing.assert_close(one, other, equal_nan=True, rtol=0, atol=0)
    assert one.isnan().sum() == 2


def test_all_else_is_left_to_pytorch(monkeypatch):
    monkeypatch.setattr(pooling, "call", None)
    x = torch.randn(2, 3, 40, 40).contiguous(memory_format=torch.channels_last)
    assert torch.equal(MaxPool(3, 2, 1)(x), nn.MaxPool2d(3, 2, 1)(x))  # no gradient is wanted
    x.requires_grad_()
    with torch.no_grad():
        MaxPool(2)(x)
    MaxPool(17)(x)
    MaxPool(2)(x.double())
    MaxPool(2)(x.contiguous())
    for pool, message in ((MaxPool(2), "too small"), (MaxPool(2, 2, 2), "half of")):
        with pytest.raises(RuntimeError, match=message):
            pool(x[:, :, :1, :1])
