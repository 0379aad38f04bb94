"""EfficientNet against torchvision's and the paper."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

from resnets.insight.profile import totals
from resnets.networks.catalogue import CATALOGUE, architecture, build
from resnets.networks.efficientnet import EfficientNet, EfficientNetArchitecture

NAMES = [name for name in CATALOGUE if name.startswith("efficientnet")]


def small(**changes: object) -> EfficientNet:
    return EfficientNet(EfficientNetArchitecture(**({"width": 0.25, "depth": 0.5, "num_classes": 5} | changes)))


def test_the_catalogue_has_the_family() -> None:
    assert [f"efficientnet_b{number}" for number in range(5)] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_names_shapes_and_rates_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = build(architecture(name)), torchvision.models.get_model(name)
    expected = [(key, value.shape) for key, value in theirs.state_dict().items()]
    assert [(key, value.shape) for key, value in ours.state_dict().items()] == expected
    assert rates(ours) == rates(theirs)
    assert norms(ours) == norms(theirs)


def rates(network: nn.Module) -> list[float]:
    kinds = (nn.Dropout, torchvision.ops.StochasticDepth)
    return [module.p for module in network.modules() if isinstance(module, kinds)]


def norms(network: nn.Module) -> set[tuple[float, float | None]]:
    return {(module.eps, module.momentum) for module in network.modules() if isinstance(module, nn.BatchNorm2d)}


def test_maps_have_the_sizes_and_channels_of_table_1() -> None:
    with torch.device("meta"):
        maps = build(architecture("efficientnet_b0")).features(torch.empty(1, 3, 224, 224))
    assert [tuple(m.shape[1:]) for m in maps.values()] == [
        (16, 112, 112),
        (24, 56, 56),
        (40, 28, 28),
        (112, 14, 14),
        (1280, 7, 7),
    ]


def test_sizes_are_the_papers() -> None:
    # the resolutions in the authors' table of coefficients
    assert [architecture(name).published_size[0] for name in NAMES] == [224, 240, 260, 300, 380]
    assert architecture("efficientnet_b4").published_size == (380, 380)
    assert replace(architecture("efficientnet_b4"), stem="cifar").published_size == (32, 32)
    assert replace(architecture("efficientnet_b4"), width=1.5).published_size == (224, 224)


def test_the_stem_for_small_pictures_keeps_their_size() -> None:
    usual, kept = small(), small(stem="cifar")
    assert {key: value.shape for key, value in kept.state_dict().items()} == {
        key: value.shape for key, value in usual.state_dict().items()
    }
    assert [stage.stride for stage in kept.stages] == [1, 2, 4, 8, 16]
    assert [side.shape[-1] for side in kept.features(torch.randn(2, 3, 32, 32)).values()] == [32, 16, 8, 4, 2]


def test_width_and_depth_choose_the_cost() -> None:
    def multiply_adds(width: float, depth: float) -> int:
        declaration = replace(architecture("efficientnet_b0"), width=width, depth=depth, stem="cifar", num_classes=10)
        return totals(declaration, (32, 32))[1]

    quarter, half, whole = (multiply_adds(width, 1.0) for width in (0.25, 0.5, 1.0))
    assert half > 2.5 * quarter  # near the square, for a 1x1 convolution is wider on both sides
    assert whole > 3 * half
    assert multiply_adds(0.5, 0.5) < 0.75 * half


def test_a_block_adds_to_what_it_reads() -> None:
    net = small(depth=1.0).eval()
    first, second = net.features[3]
    assert (first.use_shortcut, second.use_shortcut) == (False, True)
    x = torch.randn(2, 8, 8, 8)
    y = first(x)
    assert torch.equal(y, first.block(x))
    assert torch.equal(second(y), y + second.block(y))


def test_stochastic_depth_skips_whole_pictures_in_training() -> None:
    net = small(depth=1.0, drop_path=0.9).train()
    block = net.features[6][-1]
    p = block.stochastic_depth.p
    assert p == pytest.approx(0.9 * 14 / 16)  # 16 blocks of B0, of which this is number 14 from 0
    torch.manual_seed(0)
    x = torch.randn(64, block.block[0][0].in_channels, 4, 4)
    skipped = (block(x) == x).flatten(1).all(1)
    assert 0.7 < skipped.float().mean() < 0.98


def test_initial_weights_have_torchvisions_spread() -> None:
    torch.manual_seed(0)
    ours, theirs = build(architecture("efficientnet_b0")), torchvision.models.efficientnet_b0()
    for name, value in ours.state_dict().items():
        expected = theirs.state_dict()[name]
        if value.ndim == 4 and value.numel() > 10_000:
            assert value.std().item() == pytest.approx(expected.std().item(), rel=0.05), name
        elif value.ndim == 1:
            assert torch.equal(value, expected), name
    classifiers = (network.classifier[1].weight for network in (ours, theirs))
    a, b = ((weight.std().item(), weight.abs().max().item()) for weight in classifiers)
    assert a == pytest.approx(b, rel=0.01)


def test_features_end_in_the_map_that_is_classified() -> None:
    net = small().eval()
    images = torch.randn(2, 3, 32, 64)
    maps = net.features(images)
    assert list(maps) == [stage.name for stage in net.stages] == [f"stage{number}" for number in range(1, 6)]
    assert torch.equal(net.classify(maps["stage5"]), net(images))
    net.features[3].register_forward_hook(lambda *_: pytest.fail("the third stage was computed"))
    assert list(net.features(images, ["stage2"])) == ["stage2"]


@pytest.mark.parametrize("norm", ["group", "frozen", "none"])
def test_it_learns_with_any_norm_and_any_number_of_channels(norm: str) -> None:
    torch.manual_seed(0)
    net = small(in_channels=5, norm=norm, drop_path=0.0)
    net(torch.randn(4, 5, 64, 64)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


def test_it_compiles_without_breaks_and_exports_with_any_size() -> None:
    net = small(depth=0.2).eval()  # a block a stage
    x = torch.randn(2, 3, 64, 64)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), net(x))
    auto = torch.export.Dim.AUTO
    exported = torch.export.export(net, (x,), dynamic_shapes=({0: auto, 2: auto, 3: auto},))
    other = torch.randn(3, 3, 96, 64)
    torch.testing.assert_close(exported.module()(other), net(other))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width must be a factor above 0, not 0"),
        ({"depth": float("inf")}, "depth must be a factor above 0, not inf"),
        ({"depth": (1, 2)}, r"depth must be a factor above 0, not \(1, 2\)"),
        ({"stem": "deep"}, "stem must be one of 'imagenet', 'cifar', not 'deep'"),
        ({"norm": "layer"}, "norm must be one of"),
        ({"drop_path": 1.0}, "drop_path must be a rate"),
        ({"dropout": -0.1}, "dropout must be a rate"),
        ({"in_channels": 0}, "in_channels must be a whole number of at least 1"),
    ],
)
def test_contradictory_declarations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)
