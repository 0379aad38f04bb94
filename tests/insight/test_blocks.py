"""What blocks add, against computing their two paths by hand."""

from __future__ import annotations

import pytest
import torch

from resnets.insight.blocks import block_parts
from resnets.insight.lesions import removable, without
from resnets.weights.models import create_model

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("resnet8", {}),
        ("resnet14", {"shortcut": "B"}),
        ("preresnet20", {}),
        ("resnet20", {"norm": "none", "init": "skipinit"}),
    ],
)
@torch.no_grad()
def test_ratios_by_hand(name, changes):
    torch.manual_seed(0)
    network = create_model(name, 10, **changes).eval()
    if name == "resnet20":
        for block in network.blocks().values():
            block.scale.fill_(0.3)
    found = block_parts(network, IMAGES)
    assert [part.block for part in found] == list(network.blocks())
    inputs = {}
    for key, block in network.blocks().items():
        block.register_forward_pre_hook(lambda _module, args, key=key: inputs.update({key: args[0].clone()}))
    network(IMAGES)
    for part in found:
        block, x = network.blocks()[part.block], inputs[part.block]
        added = block.residual(x) * (1 if block.scale is None else block.scale)
        ratio = added.flatten(1).norm(dim=1) / block.shortcut(x).flatten(1).norm(dim=1)
        torch.testing.assert_close(part.ratio, ratio)


@torch.no_grad()
def test_a_plain_network_is_measured_against_its_inputs():
    torch.manual_seed(0)
    network = create_model("plain8", 10).eval()
    first = block_parts(network, IMAGES)[0]
    x = network.features(IMAGES, ["stem"])["stem"]
    expected = network.layer1[0].residual(x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)
    torch.testing.assert_close(first.ratio, expected)
    assert first.outputs is not None


@torch.no_grad()
def test_outputs_without_a_block():
    torch.manual_seed(0)
    network = create_model("resnet14", 10).eval()
    before = network(IMAGES)
    for part in block_parts(network, IMAGES):
        if part.block not in removable(network):
            assert part.outputs is None
            continue
        with without(network, [part.block]):
            assert torch.equal(part.outputs, network(IMAGES))
        assert not torch.allclose(part.outputs, before)
    assert torch.equal(network(IMAGES), before)


def test_a_network_without_blocks():
    with pytest.raises(ValueError, match="VGG has no residual blocks"):
        block_parts(create_model("vgg11", 10, hidden=8), IMAGES)
