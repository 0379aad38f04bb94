"""Taking blocks out of a network, against networks that were built without them."""

from __future__ import annotations

import pytest
import torch

from resnets.insight.lesions import exchanged, removable, without
from resnets.weights.models import create_model

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet20", "plain20"])
def test_a_network_without_a_block_is_the_network_built_without_it(name):
    torch.manual_seed(0)
    whole, shorter = create_model(name, 10).eval(), create_model(name, 10, depths=(2, 3, 3)).eval()
    tensors = {
        key.replace("layer1.2.", "layer1.1."): value
        for key, value in whole.state_dict().items()
        if "layer1.1." not in key
    }
    shorter.load_state_dict(tensors)
    before = whole(IMAGES)
    with without(whole, ["layer1.1"]), torch.no_grad():
        torch.testing.assert_close(whole(IMAGES), shorter(IMAGES))
    torch.testing.assert_close(whole(IMAGES), before)


def test_only_blocks_that_keep_the_shape_can_go():
    network = create_model("resnet20", 10)
    assert removable(network) == ("layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2")
    with pytest.raises(ValueError, match=r"layer2\.0 cannot be taken out"), without(network, ["layer2.0"]):
        pass


def test_exchanged_blocks_change_the_answer_and_come_back():
    network = create_model("resnet20", 10).eval()
    first, before = network.layer3[1], network(IMAGES)
    with exchanged(network, [("layer3.1", "layer3.2"), ("layer3.1", "layer3.2"), ("layer3.1", "layer3.2")]):
        assert network.layer3[2] is first
        assert not torch.allclose(network(IMAGES), before)
    assert network.layer3[1] is first
