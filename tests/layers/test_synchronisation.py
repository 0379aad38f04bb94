"""Batch norm over processes: which networks it is for. That it is right is tested where two processes train."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from resnets.layers.synchronisation import SynchronisedBatchNorm2d, synchronise
from resnets.networks.catalogue import architecture, build


@pytest.mark.parametrize("on_gpu", [False, True])
def test_every_batch_norm_is_synchronised_and_keeps_its_tensors(on_gpu):
    network = build(architecture("resnet8"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    synchronise(network, on_gpu)
    kind = nn.SyncBatchNorm if on_gpu else SynchronisedBatchNorm2d
    assert sum(isinstance(module, kind) for module in network.modules()) == count
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_alone_it_is_batch_norm():
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain, synchronised = (build(architecture("resnet8")) for _ in range(2))
    synchronised.load_state_dict(plain.state_dict())
    synchronise(synchronised, on_gpu=False)
    assert torch.equal(plain(images), synchronised(images))
    assert torch.equal(plain.bn1.running_var, synchronised.bn1.running_var)


def test_networks_that_it_is_not_for_are_refused():
    with pytest.raises(ValueError, match="sync_bn has nothing to synchronise"):
        synchronise(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)), on_gpu=False)
    with pytest.raises(ValueError, match="sync_bn cannot synchronise BatchNorm3d"):
        synchronise(nn.Sequential(nn.BatchNorm3d(3)), on_gpu=False)
