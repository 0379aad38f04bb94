"""Blocks that compute their maps twice, against the same blocks that keep them."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from resnets.blocks.residual import Residual
from resnets.blocks.sequence import Blocks
from resnets.layers import native
from resnets.weights.models import create_model

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def stepped(network: nn.Module, segment: int, in_bfloat16: bool = True) -> dict[str, torch.Tensor]:
    """All that a step leaves behind, with random choices in it."""
    for module in network.modules():
        if isinstance(module, Blocks):
            module.segment = segment
    torch.manual_seed(1)
    network.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
        loss = network(IMAGES).square().mean()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return {"loss": loss.detach(), **gradients, **dict(network.named_buffers())}


@pytest.mark.parametrize("segment", [1, 2, 5])
@pytest.mark.parametrize("name", ["resnet20", "preresnet29", "plain20"])
def test_nothing_changes_to_the_bit(name, segment):
    torch.manual_seed(0)
    network = create_model(name, 10, drop_path=0.0 if name == "plain20" else 0.5, dropout=0.1)
    kept, again = stepped(deepcopy(network), 0), stepped(network, segment)
    assert kept.keys() == again.keys()
    for key, value in kept.items():
        assert torch.equal(value, again[key]), key


def test_little_is_kept():
    network, kept = create_model("resnet110", 10).train(), []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.nbytes)
        return tensor

    def bytes_kept(segment: int) -> int:
        kept.clear()
        for module in network.modules():
            if isinstance(module, Blocks):
                module.segment = segment
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            network(IMAGES)
        return sum(kept)

    everything = bytes_kept(0)
    assert bytes_kept(1) < everything / 4
    assert bytes_kept(3) < everything / 10


def test_evaluation_knows_nothing_of_it():
    network = create_model("resnet20", 10).eval()
    expected = network(IMAGES)
    for module in network.modules():
        if isinstance(module, Blocks):
            module.segment = 1
    assert torch.equal(network(IMAGES), expected)


@pytest.mark.parametrize("name", ["resnet50", "resnet20", "plain20", "preresnet29", "iresnet18", "fastresnet8"])
def test_blocks_that_hand_on_both_paths_are_those_that_are_called(name, monkeypatch):
    """As they are where somebody watches: maps are the same to the bit, and gradients no further from float32's."""
    monkeypatch.setattr(native, "SMALLEST", 1)
    torch.manual_seed(0)
    network = create_model(name, 10).to(memory_format=torch.channels_last)
    exact, handed_on, calls = deepcopy(network), deepcopy(network), []
    for module in network.modules():
        if isinstance(module, Residual):
            module.register_forward_hook(lambda *_: calls.append(True))
    of_called, begun, paths = stepped(network, 0), [], Residual.paths
    monkeypatch.setattr(Residual, "paths", lambda block, x: begun.append(block) or paths(block, x))
    of_handed_on = stepped(handed_on, 0)
    assert len(calls) == len(network.blocks())
    assert (len(begun) < len(calls)) == (name != "fastresnet8")  # whose stages begin with what is no residual block
    learnt = dict(network.named_parameters())
    assert all(torch.equal(value, of_handed_on[key]) for key, value in of_called.items() if key not in learnt)
    one, other, expected = (
        torch.cat([each[key].flatten() for key in learnt])
        for each in (of_handed_on, of_called, stepped(exact, 0, in_bfloat16=False))
    )
    assert (one - expected).norm() <= 1.05 * (other - expected).norm()
