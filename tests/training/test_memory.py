"""Training in little memory is the same training."""

from __future__ import annotations

import pytest
import torch


def test_the_same_weights_to_the_bit(train_digits):
    options = {"model": "resnet8", "steps": 3, "recompute_bn": False}
    kept, again = train_digits("high", **options), train_digits("low", memory="low", **options)
    assert again.card().provenance["memory"] == "low"
    expected = kept.network().state_dict()
    for key, value in again.network().state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_a_network_without_residual_blocks_is_refused(train_digits):
    with pytest.raises(ValueError, match="residual blocks again, and this network has none"):
        train_digits("vgg", model="vgg11", hidden=8, memory="low", steps=1)
