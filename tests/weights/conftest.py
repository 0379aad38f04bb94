"""Random weights that tests look for again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn


@pytest.fixture(scope="session")
def disturbed() -> Callable[[nn.Module], nn.Module]:
    """Gives a network statistics and scales that no initialisation has."""
    return _disturbed


@pytest.fixture(scope="session")
def theirs() -> nn.Module:
    """torchvision's ResNet-18 of 4 classes, disturbed."""
    return _disturbed(torchvision.models.resnet18(num_classes=4)).eval()


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def _disturbed(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.4 + 0.8)
        elif tensor.ndim == 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return network
