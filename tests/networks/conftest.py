"""Whether two networks are the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def assert_twins() -> Callable[[nn.Module, Callable[[], nn.Module]], None]:
    """Compares a network with what a function makes: weights go both ways, training and evaluation give the same."""
    return _assert_twins


def _disturbed(network: nn.Module) -> nn.Module:
    """The network with random statistics and scales, lest the initial ones hide a difference."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.4 + 0.8)
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return network


def _assert_twins(ours: nn.Module, make_theirs: Callable[[], nn.Module]) -> None:
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    theirs = _disturbed(make_theirs())
    ours.load_state_dict(theirs.state_dict())
    _assert_same(ours, theirs, x)
    ours, theirs = _disturbed(ours), make_theirs()
    theirs.load_state_dict(ours.state_dict())
    _assert_same(ours, theirs, x)
    assert set(dict(ours.named_parameters())) == set(dict(theirs.named_parameters()))


@torch.no_grad()
def _assert_same(ours: nn.Module, theirs: nn.Module, x: torch.Tensor) -> None:
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        torch.manual_seed(2)  # of what is dropped
        expected = theirs(x)
        torch.manual_seed(2)
        assert expected.std() > 1e-3
        assert (ours(x) - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())
