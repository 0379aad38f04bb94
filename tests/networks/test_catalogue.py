"""The contract of every network in the catalogue, and the figures of the papers."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from timm.layers import BatchNormAct2d, create_conv2d
from timm.models.resnetv2 import ResNetV2
from torch import nn

from resnets.networks.architecture import Architecture
from resnets.networks.catalogue import CATALOGUE, GENERATORS, architecture, build, list_models
from resnets.networks.declaration import Declaration
from resnets.weights.files import read_tensors, write_tensors

RESIDUAL = [name for name, declaration in CATALOGUE.items() if isinstance(declaration, Architecture)]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def count(declaration: Declaration) -> int:
    with torch.device("meta"):
        return parameters(build(declaration))


@pytest.fixture(scope="module", params=CATALOGUE)
def network(request: pytest.FixtureRequest) -> nn.Module:
    declaration = architecture(request.param)
    if any(field.name == "hidden" for field in fields(declaration)):
        declaration = replace(declaration, hidden=64)  # VGG's two hidden layers weigh half a gigabyte
    torch.manual_seed(0)
    return build(replace(declaration, num_classes=5))


def picture(network: nn.Module, channels: int = 3) -> torch.Tensor:
    side = max(network.stages[-1].stride, 8)
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_stages_are_as_declared(network: nn.Module) -> None:
    x = picture(network)
    network.eval()
    with torch.no_grad():
        maps = network.features(x)
    assert list(maps) == [stage.name for stage in network.stages]
    for stage in network.stages:
        side = x.shape[-1] // stage.stride
        assert maps[stage.name].shape == (2, stage.channels, side, side)


def test_forward_and_backward(network: nn.Module) -> None:
    network.train()
    logits = network(picture(network))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()
    logits.logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    network.zero_grad()


def test_weights_survive_a_file_bit_for_bit(network: nn.Module, tmp_path: Path) -> None:
    tensors = network.state_dict()
    write_tensors(tensors, tmp_path / "model.safetensors")
    read = read_tensors(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[key], value) and read[key].dtype == value.dtype for key, value in tensors.items())


def test_classifier_can_be_replaced_and_removed(network: nn.Module) -> None:
    network.eval()
    x = picture(network)
    units = getattr(network.architecture, "hidden", network.stages[-1].channels)
    for num_classes, shape in ((7, (2, 7)), (0, (2, units))):
        network.reset_classifier(num_classes)
        assert network.architecture.num_classes == num_classes
        with torch.no_grad():
            assert network(x).shape == shape
    network.reset_classifier(5)


TIMM = {
    "resnet200": "resnet200",
    "seresnet50": "seresnet50",
    "resnet50d": "resnet50d",
    **{f"preresnet{depth}": f"resnetv2_{depth}" for depth in (18, 34, 50, 101, 152)},
}


@pytest.mark.parametrize("name", [name for name in CATALOGUE if hasattr(torchvision.models, name)])
def test_parameters_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        expected = parameters(getattr(torchvision.models, name)())
    assert count(architecture(name)) == expected


@pytest.mark.parametrize("name", TIMM)
def test_parameters_are_timms(name: str) -> None:
    with torch.device("meta"):
        expected = parameters(timm.create_model(TIMM[name]))
    assert count(architecture(name)) == expected


def test_parameters_of_preresnet200_are_those_of_timms_class() -> None:
    with torch.device("meta"):
        twin = ResNetV2([3, 24, 36, 3], conv_layer=create_conv2d, norm_layer=BatchNormAct2d)
    assert count(architecture("preresnet200")) == parameters(twin)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        *{"resnet20": 0.27, "resnet32": 0.46, "resnet44": 0.66, "resnet56": 0.85}.items(),
        *{"resnet110": 1.7, "resnet1202": 19.4}.items(),  # arXiv:1512.03385, table 6
        *{"preresnet110": 1.7, "preresnet164": 1.7}.items(),  # arXiv:1603.05027
        *{"wrn16_8": 11.0, "wrn28_10": 36.5, "wrn40_4": 8.9}.items(),  # arXiv:1605.07146, table 4
        *{"densenet40_12": 1.0, "densenet100_12": 7.0, "densenet100_24": 27.2}.items(),  # arXiv:1608.06993, table 2
        *{"densenetbc100_12": 0.8, "densenetbc250_24": 15.3, "densenetbc190_40": 25.6}.items(),
    ],
)
def test_parameters_of_cifars_networks_are_the_papers(name: str, millions: float) -> None:
    places = len(str(millions).split(".")[1])
    assert round(count(architecture(name)) / 1e6, places) == millions


def test_preresnet1001_has_the_papers_convolutions() -> None:
    with torch.device("meta"):
        network = build(architecture("preresnet1001"))
    weights = sum(parameter.numel() for parameter in network.parameters() if parameter.dim() == 4)
    assert round(weights / 1e6, 1) == 10.2  # arXiv:1603.05027; normalisations have another 0.15


@pytest.mark.parametrize("name", [name for name in RESIDUAL if name.startswith("plain")])
def test_a_plain_network_has_the_parameters_of_its_twin_with_option_a(name: str) -> None:
    twin = replace(architecture(name.replace("plain", "resnet")), shortcut="A")
    plain = architecture(name)
    assert count(plain) == count(twin)
    assert replace(plain, shortcut="A") == twin


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet20", "preresnet50"])
def test_options_a_b_c_grow_as_in_table_3(name: str) -> None:
    a, b, c, d = (count(replace(architecture(name), shortcut=kind)) for kind in "ABCD")
    assert a < b < c
    assert d == b


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_maps_have_the_sizes_of_table_1(name: str) -> None:
    with torch.device("meta"):
        maps = build(architecture(name)).features(torch.empty(1, 3, 224, 224))
    assert [m.shape[-1] for m in maps.values()] == [112, 56, 28, 14, 7]


def test_any_depth_of_cifars_families() -> None:
    assert architecture("resnet68").depths == (11, 11, 11)
    assert architecture("plain14").shortcut == "none"
    assert architecture("preresnet29").depths == (3, 3, 3)
    assert architecture("wrn22_2").widths == (32, 64, 128)
    for depth in (50, 152, 200):  # of the form 6n + 2 as well, but the catalogue goes first
        assert architecture(f"resnet{depth}").stem == "imagenet"
    assert architecture("preresnet110").block == "basic"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet51", "no network named 'resnet51': .* the nearest are 50 and 56"),
        ("resnet2", "no network named 'resnet2': .* the nearest are 8 and 14"),
        ("preresnet100", "depths of 9n . 2, so not 100; the nearest are 92 and 101"),
        ("wrn28_0", "no network named 'wrn28_0': widths"),
        ("resnext", "did you mean resnext50_32x4d or resnext101_32x8d"),
        ("densenet41_12", "no network named 'densenet41_12': .* 3n . 4, so not 41; the nearest are 40 and 43"),
        ("densenetbc40_0", "no network named 'densenetbc40_0': growth"),
        ("efficientnet_b9", "did you mean efficientnet_b"),
        ("ResNet18", "did you mean resnet18"),
        ("seresnet5O", "did you mean seresnet50"),
        ("transformer", "`resnets models` lists the names"),
    ],
)
def test_a_wrong_name_is_told_the_nearest(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        architecture(name)


def test_list_models_takes_a_pattern() -> None:
    assert list_models() == [*CATALOGUE, *GENERATORS]
    assert list_models("wrn*") == ["wrn16_8", "wrn28_10", "wrn40_4"]
    assert list_models("nothing") == []


def test_every_declaration_says_where_it_was_published() -> None:
    assert all(declaration.source for declaration in CATALOGUE.values())
