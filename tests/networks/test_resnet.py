from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from resnets.blocks.residual import Residual
from resnets.types import Stage
from resnets.weights.models import create_model

SMALL = {
    "post": ("resnet50", {"depths": (1, 2, 1, 1), "widths": (8, 8, 16, 32), "stem_width": 8}),
    "pre": ("preresnet50", {"depths": (1, 2, 1, 1), "widths": (8, 8, 16, 32), "stem_width": 8}),
    "cifar": ("resnet20", {"depths": (1, 1, 1)}),
}


def small(kind: str, num_classes: int = 5, **changes: Any) -> nn.Module:
    name, reduced = SMALL[kind]
    return create_model(name, num_classes, **(reduced | changes))


@pytest.fixture(params=SMALL)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def test_stages_are_known_before_any_picture() -> None:
    assert tuple(create_model("resnet20").stages) == (
        Stage("stem", 16, 1),
        Stage("layer1", 16, 1),
        Stage("layer2", 32, 2),
        Stage("layer3", 64, 4),
    )
    with torch.device("meta"):
        for name in ("resnet50", "preresnet50"):
            stages = create_model(name).stages
            assert [stage.channels for stage in stages] == [64, 256, 512, 1024, 2048]
            assert [stage.stride for stage in stages] == [2, 4, 8, 16, 32]
            assert stages[-1].name == "layer4"
            assert stages[1:3] == tuple(stages)[1:3]


@pytest.mark.parametrize("kind", ["post", "pre"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_output_stride_keeps_weights_and_enlarges_maps(kind: str, output_stride: int) -> None:
    dense, usual = small(kind, output_stride=output_stride).eval(), small(kind).eval()
    dense.load_state_dict(usual.state_dict())
    x = torch.randn(1, 3, 64, 64)
    maps, usual_maps = dense.features(x), usual.features(x)
    assert [stage.stride for stage in dense.stages] == [min(s.stride, output_stride) for s in usual.stages]
    for stage in dense.stages:
        assert maps[stage.name].shape == (1, stage.channels, 64 // stage.stride, 64 // stage.stride)
        if stage.stride < output_stride:
            assert torch.equal(maps[stage.name], usual_maps[stage.name])


def test_features_gives_what_is_asked_and_computes_no_more(kind: str) -> None:
    network = small(kind).eval()
    x = torch.randn(2, 3, 64, 64)
    everything = network.features(x)
    called = []
    for name, block in network.blocks().items():
        block.register_forward_hook(lambda *_, name=name: called.append(name))
    maps = network.features(x, ["layer1"])
    assert list(maps) == ["layer1"]
    assert torch.equal(maps["layer1"], everything["layer1"])
    assert len(called) == 1
    assert list(network.features(x, ("layer3", "stem"))) == ["stem", "layer3"]
    assert network.features(x, []) == {}
    with pytest.raises(ValueError, match="no stage layer9; there are stem, layer1"):
        network.features(x, ["layer9"])


def test_logits_are_classified_from_the_last_map(kind: str) -> None:
    network = small(kind).eval()
    x = torch.randn(2, 3, 64, 64)
    last = network.features(x)[network.stages[-1].name]
    logits = network(x)
    network.reset_classifier(0)
    torch.testing.assert_close(network(x), last.mean((2, 3)))
    assert logits.shape == (2, 5)


def test_a_new_classifier_has_the_networks_precision(kind: str) -> None:
    network = small(kind).to(torch.float64)
    network.reset_classifier(3)
    assert {p.dtype for p in network.parameters()} == {torch.float64}
    with pytest.raises(ValueError, match="num_classes"):
        network.reset_classifier(-1)


@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_input_channels(kind: str, channels: int) -> None:
    network = small(kind, in_channels=channels)
    assert network(torch.randn(2, channels, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 1, 64, 64), "images of 3 channels, not 1"),
        ((3, 64, 64), "not a tensor of shape"),
        ((2, 3, 64, 31), "at least 32x32 pixels.* not 64x31"),
    ],
)
@pytest.mark.parametrize("kind", ["post", "pre"])
def test_wrong_pictures_are_told_what_was_expected(kind: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(kind)(torch.randn(shape))


@pytest.mark.parametrize("kind", ["post", "pre"])
def test_the_smallest_picture_and_odd_ones_work(kind: str) -> None:
    network = small(kind).eval()
    assert network(torch.randn(1, 3, 32, 32)).shape == (1, 5)
    for shortcut in "ABCD":
        odd = small(kind, shortcut=shortcut)
        assert odd(torch.randn(2, 3, 45, 67)).shape == (2, 5)


def test_initialisation_is_hes_by_fan_out() -> None:
    torch.manual_seed(0)
    network = create_model("resnet34")
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 30_000:
            fan_out = module.out_channels * math.prod(module.kernel_size)
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.03), name
            assert module.weight.mean().item() == pytest.approx(0, abs=0.01), name
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all((n.weight == 1).all() and not n.bias.any() for n in norms)


def test_zero_init_last_makes_every_residual_zero(kind: str) -> None:
    network = small(kind, zero_init_last=True, norm="batch").eval()
    x = torch.randn(2, 3, 64, 64)
    residuals = []
    for block in network.blocks().values():
        block.drop_path.register_forward_hook(lambda *call: residuals.append(call[2]))
    network(x)
    assert len(residuals) == sum(network.architecture.depths)
    assert not any(residual.any() for residual in residuals)


def test_the_rate_of_drop_path_rises_linearly_to_its_value(kind: str) -> None:
    network = small(kind, drop_path=0.4)
    rates = [block.drop_path.p for block in network.blocks().values()]
    assert rates == pytest.approx([0.4 * (i + 1) / len(rates) for i in range(len(rates))])


def test_lesions_of_a_whole_network() -> None:
    """A plain network is the residual one with all its shortcuts off."""
    residual, plain = small("cifar").eval(), small("cifar", shortcut="none").eval()
    plain.load_state_dict(residual.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert not torch.allclose(residual(x), plain(x))
    for block in residual.blocks().values():
        block.use_shortcut = False
    assert torch.equal(residual(x), plain(x))


def test_blocks_are_reachable_by_their_names(kind: str) -> None:
    network = small(kind)
    blocks = network.blocks()
    assert len(blocks) == sum(network.architecture.depths)
    assert all(network.get_submodule(name) is block for name, block in blocks.items())
    assert all(isinstance(block, Residual) for block in blocks.values())


@pytest.mark.parametrize("norm", ["batch", "group", "frozen"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "gelu", "silu"])
def test_every_norm_with_every_activation_learns(kind: str, norm: str, activation: str) -> None:
    network = small(kind, norm=norm, activation=activation)
    network(torch.randn(2, 3, 32, 32)).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_frozen_normalisation_keeps_its_statistics() -> None:
    network = small("post", norm="frozen")
    before = copy.deepcopy(network.state_dict())
    network(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any("bn" in name for name, _ in network.named_parameters())


def test_group_normalisation_treats_each_picture_alone(kind: str) -> None:
    network = small(kind, norm="group")
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-4, atol=1e-5)


def test_an_identity_network() -> None:
    network = create_model("resnet20", 5, depths=(3,), widths=(16,), shortcut="identity")
    assert all(isinstance(block.downsample, nn.Identity) for block in network.blocks().values())
    assert network(torch.randn(2, 3, 8, 8)).shape == (2, 5)


def test_channels_last_stays_so(kind: str) -> None:
    network = small(kind).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    for name, feature in network.features(x).items():
        assert feature.is_contiguous(memory_format=torch.channels_last), name


def test_compile_without_breaks(kind: str) -> None:
    network = small(kind, depths=(1, 1), widths=(16, 32), drop_path=0.1, dropout=0.1).eval()
    x = torch.randn(2, 3, 64, 64)
    expected = network(x)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), expected)
    network.train()
    compiled(x).sum().backward()


def test_export_with_any_batch_and_size(kind: str) -> None:
    network = small(kind).eval()
    auto = torch.export.Dim.AUTO
    exported = torch.export.export(network, (torch.randn(2, 3, 64, 64),), dynamic_shapes=({0: auto, 2: auto, 3: auto},))
    x = torch.randn(3, 3, 96, 80)
    torch.testing.assert_close(exported.module()(x), network(x))


def test_the_same_seed_gives_the_same_network(kind: str) -> None:
    torch.manual_seed(3)
    first = small(kind).state_dict()
    torch.manual_seed(3)
    second = small(kind).state_dict()
    assert all(torch.equal(second[key], value) for key, value in first.items())
