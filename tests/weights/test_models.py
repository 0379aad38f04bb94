from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from resnets.networks.catalogue import architecture, build
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.types import Preprocessing
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


def run_of(folder: Path, name: str, disturbed: Callable[[nn.Module], nn.Module], **changes: object) -> Run:
    declaration = replace(architecture(name), num_classes=3, **changes)
    run = Run(folder)
    seen = Preprocessing((32, 32), 3, (0.5,) * 3, (0.5,) * 3)
    run.write_card(Card(name, "classification", declaration.to_dict(), ("a", "b", "c"), seen))
    run.write_network(disturbed(build(declaration)))
    return run


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("resnet8", {"activation": "silu"}),
        ("resnet8", {"shortcut": "none"}),
        ("resnet18", {"output_stride": 8, "depths": (1, 1, 1, 1)}),
        ("resnet50", {"stride_at": "1x1", "depths": (1, 1, 1, 1)}),
    ],
)
def test_a_runs_network_is_the_one_that_its_card_declares(tmp_path, disturbed, images, name, changes) -> None:
    run = run_of(tmp_path / "run", name, disturbed, **changes)
    with torch.inference_mode():
        expected = run.network()(images)
        torch.testing.assert_close(create_model(name, weights=run.folder).eval()(images), expected)


def test_what_is_asked_for_goes_before_what_the_card_declares(tmp_path, disturbed) -> None:
    run = run_of(tmp_path / "run", "resnet8", disturbed, activation="silu")
    declared = create_model("resnet8", weights=run.folder, activation="gelu", dropout=0.1).architecture
    assert (declared.activation, declared.dropout, declared.num_classes) == ("gelu", 0.1, 3)


def test_a_detector_stands_on_the_very_network_of_a_run(tmp_path, disturbed) -> None:
    run = run_of(tmp_path / "run", "resnet8", disturbed, activation="silu")
    with pytest.warns(UserWarning, match="all but the backbone: begins anew"):
        network = create_model("unet_resnet8", weights=run.folder)
    assert network.architecture.backbone.activation == "silu"


def test_weights_of_a_network_of_another_name_are_told(tmp_path, disturbed) -> None:
    run = run_of(tmp_path / "run", "plain8", disturbed)
    with pytest.warns(UserWarning, match="run says that it is of plain8, not of resnet8"):
        create_model("resnet8", weights=run.folder)


@pytest.mark.parametrize(
    "name", ["unet_resnet8", "fcn_resnet8", "yolo_resnet18", "fasterrcnn_resnet18", "locate_resnet8"]
)
def test_a_file_says_by_its_last_layer_how_many_classes_it_is_for(tmp_path, name) -> None:
    network = create_model(name, num_classes=7)
    write_tensors(network.state_dict(), tmp_path / "seven.safetensors")
    assert create_model(name, weights=tmp_path / "seven.safetensors").architecture.num_classes == 7


def test_anchors_are_not_taken_for_classes(tmp_path) -> None:
    write_tensors(create_model("retinanet_resnet18_fpn", 2).state_dict(), tmp_path / "two.safetensors")
    assert create_model("retinanet_resnet18_fpn", weights=tmp_path / "two.safetensors").architecture.num_classes == 2
