from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from resnets.weights.files import write_tensors
from resnets.weights.loading import load_tensors
from resnets.weights.models import create_model


def test_the_defaults_are_imagenets_classes_and_colour() -> None:
    network = create_model("resnet20")
    assert network.fc.out_features == 1000
    assert network.conv1.in_channels == 3
    assert create_model("resnet20", 10, 1).architecture.in_channels == 1


def test_changes_reach_the_declaration() -> None:
    network = create_model("resnet20", 10, shortcut="C", depths=(1, 2, 1), activation="silu")
    assert network.architecture.shortcut == "C"
    assert len(network.layer2) == 2
    with pytest.raises(
        ValueError, match="resnet20 has no colour to change; there are num_classes, in_channels, source, depths"
    ):
        create_model("resnet20", colour="blue")
    with pytest.raises(ValueError, match="shortcut must be one of"):
        create_model("resnet20", shortcut="Z")
    with pytest.raises(ValueError, match="did you mean resnet18"):
        create_model("resnet_18")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file_of_torchvisions(tmp_path: Path, suffix: str) -> None:
    theirs = torchvision.models.resnet18(num_classes=4).eval()
    path = tmp_path / f"resnet18{suffix}"
    if suffix == ".pth":
        torch.save(theirs.state_dict(), path)
    else:
        write_tensors(theirs.state_dict(), path)
    ours = create_model("resnet18", num_classes=4, weights=path).eval()
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)
    assert create_model("resnet18", weights=path).fc.out_features == 4
    with pytest.warns(UserWarning, match=r"not all of the .*replaced fc: 4 outputs by 7 new ones"):
        create_model("resnet18", num_classes=7, weights=path)
    with pytest.raises(ValueError, match=r"layer1\.0\.bn3\.bias.* more missing"):
        create_model("resnet50", num_classes=4, weights=path)


def test_weights_of_batch_norm_load_into_a_frozen_network_and_back() -> None:
    usual = create_model("resnet20", 10)
    for module in usual.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
    frozen = create_model("resnet20", 10, norm="frozen")
    load_tensors(frozen, usual.state_dict(), "usual")
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(frozen(x), usual.eval()(x), rtol=1e-4, atol=1e-5)
    again = create_model("resnet20", 10)
    load_tensors(again, frozen.state_dict(), "frozen")
    torch.testing.assert_close(again.eval()(x), frozen(x), rtol=1e-4, atol=1e-5)
