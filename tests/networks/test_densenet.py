"""DenseNet against torchvision's and the paper."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.densenet import DenseNet as Theirs

from resnets.networks.catalogue import CATALOGUE, architecture, build
from resnets.networks.densenet import DenseNet, DenseNetArchitecture

PUBLISHED = [name for name in CATALOGUE if name.startswith("densenet") and hasattr(torchvision.models, name)]


def small(**changes: object) -> DenseNet:
    declared = {"depths": (2, 3), "growth": 4, "stem_width": 8, "num_classes": 5}
    return DenseNet(DenseNetArchitecture(**(declared | changes)))


def meta(name: str) -> nn.Module:
    with torch.device("meta"):
        return build(architecture(name))


def test_the_catalogue_has_the_family() -> None:
    assert PUBLISHED == ["densenet121", "densenet161", "densenet169", "densenet201"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name)
    expected = [(key, value.shape) for key, value in theirs.state_dict().items()]
    assert [(key, value.shape) for key, value in meta(name).state_dict().items()] == expected


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_outputs_agree_with_torchvisions(assert_twins, dropout: float) -> None:
    torch.manual_seed(0)
    ours = small(depths=(2, 3, 2), dropout=dropout)
    assert_twins(ours, lambda: Theirs(4, (2, 3, 2), 8, drop_rate=dropout, num_classes=5))


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        *((f"densenet{layers}", layers) for layers in (121, 161, 169, 201)),
        *{"densenet40_12": 40, "densenet100_24": 100, "densenetbc100_12": 100, "densenetbc250_24": 250}.items(),
    ],
)
def test_layers_are_those_of_the_name(name: str, layers: int) -> None:
    assert architecture(name).layers == layers


@pytest.mark.parametrize("name", ["densenet40_12", "densenetbc100_12"])
def test_maps_of_cifars_networks_have_the_papers_sizes(name: str) -> None:
    maps = meta(name).features(torch.empty(1, 3, 32, 32, device="meta"))  # section 3, "Implementation Details"
    assert {stage: side.shape[-1] for stage, side in maps.items()} == {
        "stem": 32,
        "denseblock1": 32,
        "denseblock2": 16,
        "denseblock3": 8,
    }


def test_channels_are_those_of_the_paper() -> None:
    # "16 (or twice the growth rate for DenseNet-BC) output channels"; k of each layer; half of them between BC's blocks
    assert [stage.channels for stage in meta("densenet40_12").stages] == [16, 160, 304, 448]
    assert [stage.channels for stage in meta("densenetbc100_12").stages] == [24, 216, 300, 342]
    assert architecture("densenet22_8").depths == (6, 6, 6)
    assert architecture("densenetbc40_36").stem_width == 72


def test_a_layer_appends_to_what_it_reads() -> None:
    net = small().eval()
    block = net.features.denseblock1
    x = torch.randn(2, 8, 6, 6)
    y = block(x)
    assert torch.equal(y[:, :8], x)
    assert torch.equal(y[:, 8:12], block.denselayer1(x))
    assert torch.equal(y[:, 12:], block.denselayer2(y[:, :12]))


def test_features_end_in_the_normalised_map_that_is_classified() -> None:
    net = small().eval()
    images = torch.randn(2, 3, 32, 48)
    maps = net.features(images)
    assert list(maps) == [stage.name for stage in net.stages] == ["stem", "denseblock1", "denseblock2"]
    assert maps["denseblock2"].min() == 0
    assert torch.equal(net.classify(maps["denseblock2"]), net(images))
    net.features.denseblock2.register_forward_hook(lambda *_: pytest.fail("the second block was computed"))
    assert list(net.features(images, ["denseblock1"])) == ["denseblock1"]


def test_initial_weights_have_torchvisions_spread() -> None:
    torch.manual_seed(0)
    ours, theirs = build(architecture("densenet121")), torchvision.models.densenet121()
    for name, value in ours.state_dict().items():
        expected = theirs.state_dict()[name]
        if value.ndim == 4 and value.numel() > 10_000:
            assert value.std().item() == pytest.approx(expected.std().item(), rel=0.05), name
        elif value.ndim == 1:
            assert torch.equal(value, expected), name
    assert ours.classifier.weight.std().item() == pytest.approx(theirs.classifier.weight.std().item(), rel=0.02)


@pytest.mark.parametrize("norm", ["group", "frozen", "none"])
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_it_learns_with_any_norm_and_any_number_of_channels(norm: str, stem: str) -> None:
    torch.manual_seed(0)
    net = small(in_channels=5, norm=norm, stem=stem, bottleneck=0, compression=1.0)
    net(torch.randn(4, 5, 16, 16)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_a_bottleneck_of_one_growth_is_a_1x1() -> None:
    layer = small(bottleneck=1).features.denseblock1.denselayer1
    shapes = OrderedDict((name, tuple(value.shape)) for name, value in layer.named_parameters() if value.ndim == 4)
    assert shapes == {"conv1.weight": (4, 8, 1, 1), "conv2.weight": (4, 4, 3, 3)}


def test_it_compiles_without_breaks_and_exports_with_any_size() -> None:
    net = small().eval()
    x = torch.randn(2, 3, 32, 32)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), net(x))
    auto = torch.export.Dim.AUTO
    exported = torch.export.export(net, (x,), dynamic_shapes=({0: auto, 2: auto, 3: auto},))
    other = torch.randn(3, 3, 48, 64)
    torch.testing.assert_close(exported.module()(other), net(other))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": ()}, "depths must be a tuple of whole numbers above 0"),
        ({"depths": (1, 0)}, "depths must be a tuple of whole numbers above 0"),
        ({"growth": 0}, "growth must be a whole number of at least 1"),
        ({"stem_width": 1.5}, "stem_width must be a whole number of at least 1"),
        ({"bottleneck": -1}, "bottleneck must be a whole number of at least 0"),
        ({"stem": "deep"}, "stem must be one of 'imagenet', 'cifar', not 'deep'"),
        ({"norm": "layer"}, "norm must be one of"),
        ({"compression": 0}, "compression must be a share, above 0 and at most 1, not 0"),
        ({"compression": 0.01}, r"compression=0\.01 leaves a block without channels"),
        ({"dropout": 1.0}, "dropout must be a rate"),
        ({"num_classes": -1}, "num_classes must be a whole number of at least 0"),
    ],
)
def test_contradictory_declarations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)
