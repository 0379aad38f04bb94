"""VGG against torchvision's, both ways."""

from __future__ import annotations

import pytest
import torch
from torchvision import models

from resnets.networks.catalogue import CATALOGUE, architecture, build
from resnets.networks.vgg import VGG, VGGArchitecture

NAMES = [name for name, declaration in CATALOGUE.items() if isinstance(declaration, VGGArchitecture)]
PARAMETERS = {"vgg11": 132_863_336, "vgg16": 138_357_544, "vgg16_bn": 138_365_992, "vgg19_bn": 143_678_248}


def small(**changes: object) -> VGG:
    return VGG(VGGArchitecture(**{"depths": (1, 2), "widths": (4, 8), "hidden": 16, "num_classes": 5} | changes))


def meta(name: str) -> torch.nn.Module:
    with torch.device("meta"):
        return build(architecture(name))


def test_the_catalogue_has_the_family() -> None:
    assert {"vgg16", "vgg16_bn", "vgg19", "vgg19_bn"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        theirs = models.get_model(name)
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in meta(name).state_dict().items()} == expected


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_parameters_are_as_published(name: str, count: int) -> None:
    assert sum(parameter.numel() for parameter in meta(name).parameters()) == count


@pytest.mark.parametrize(("name", "layers"), {"vgg11": 11, "vgg13": 13, "vgg16_bn": 16, "vgg19": 19}.items())
def test_layers_are_those_of_the_name(name: str, layers: int) -> None:
    assert architecture(name).layers == layers


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("side", [32, 224, 100])
def test_outputs_agree_with_torchvision_both_ways(norm: str, side: int) -> None:
    # torchvision's class, made narrow to be quick
    torch.manual_seed(0)
    depths, widths = (1, 2, 3, 3, 3), (8, 16, 24, 32, 32)
    config = [part for depth, width in zip(depths, widths, strict=True) for part in (*[width] * depth, "M")]
    with torch.device("meta"):  # where its 100 million first weights cost nothing
        theirs = models.VGG(models.vgg.make_layers(config, batch_norm=norm == "batch"), num_classes=10)
        for index, (inputs, outputs) in {0: (32 * 49, 32), 3: (32, 32), 6: (32, 10)}.items():
            theirs.classifier[index] = torch.nn.Linear(inputs, outputs)
    theirs.to_empty(device="cpu")
    ours = VGG(VGGArchitecture(depths=depths, widths=widths, norm=norm, hidden=32, num_classes=10))
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    images = torch.randn(2, 3, side, side)
    for source, target in ((ours, theirs), (theirs, ours)):
        target.load_state_dict(source.state_dict())
        with torch.no_grad():
            difference = (ours.eval()(images) - theirs.eval()(images)).abs().max()
        assert difference <= 1e-5
        for parameter in theirs.parameters():
            parameter.data.mul_(1.01)


def test_initial_weights_have_torchvisions_spread() -> None:
    torch.manual_seed(0)
    ours = VGG(VGGArchitecture(depths=(2,), widths=(64,), hidden=256, num_classes=10))
    assert ours.features[2].weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert ours.classifier[0].weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not any(parameter.any() for name, parameter in ours.named_parameters() if name.endswith("bias"))


def test_features_are_the_declared_maps() -> None:
    net = small()
    images = torch.randn(2, 3, 21, 34)
    maps = net.features(images)
    assert list(maps) == [stage.name for stage in net.stages] == ["stage1", "stage2"]
    for stage in net.stages:
        assert maps[stage.name].shape == (2, stage.channels, 21 // stage.stride, 34 // stage.stride)
    assert torch.equal(net.eval().classify(maps["stage2"]), net(images))


def test_layers_beyond_the_last_stage_asked_for_are_not_computed() -> None:
    net = small()
    net.features[-1].register_forward_hook(lambda *_: pytest.fail("the second stage was computed"))
    assert list(net.features(torch.randn(1, 3, 8, 8), ["stage1"])) == ["stage1"]


def test_levels_hold_every_layer_once() -> None:
    net = small(norm="batch")
    assert [module for level in net.levels() for module in level] == list(net.features)


def test_the_classifier_can_be_replaced_and_removed() -> None:
    net = small().eval()
    images = torch.randn(2, 3, 32, 32)
    net.reset_classifier(7)
    assert net(images).shape == (2, 7)
    assert net.architecture.num_classes == 7
    net.reset_classifier(0)
    assert net(images).shape == (2, 16)
    assert net.architecture.layers == 5


def test_it_learns_from_any_number_of_channels() -> None:
    torch.manual_seed(0)
    net = small(in_channels=5, norm="group")
    net(torch.randn(4, 5, 12, 12)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_declaration_goes_to_json_and_back() -> None:
    for name in NAMES:
        declaration = architecture(name)
        assert VGGArchitecture.from_dict(declaration.to_dict()) == declaration


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (1,)}, r"depths \(1,\) and widths \(4, 8\) must have one number for each stage"),
        ({"depths": (1, 0)}, "depths must be a tuple of whole numbers above 0"),
        ({"norm": "layer"}, "norm must be one of 'batch'"),
        ({"hidden": 0}, "hidden must be a whole number of at least 1"),
        ({"num_classes": -1}, "num_classes must be a whole number of at least 0"),
        ({"dropout": 1.0}, "dropout must be a rate"),
    ],
)
def test_contradictory_declarations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 32, 32), r"images \(N, C, H, W\)"),
        ((1, 1, 32, 32), "3 channels, not 1"),
        ((1, 3, 3, 32), "at least 4x4 pixels"),
    ],
)
def test_images_it_cannot_take_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small()(torch.zeros(shape))


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="no stage layer1; there are stage1, stage2"):
        small().features(torch.zeros(1, 3, 32, 32), ["layer1"])
