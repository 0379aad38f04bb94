"""Initial weights, against the formulas of their papers."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console
from torch import nn

from resnets.training.train import train
from resnets.weights.models import create_model


def spread(weight: torch.Tensor) -> float:
    return weight.double().std().item()


def fans(convolution: nn.Conv2d) -> tuple[int, int]:
    area = convolution.kernel_size[0] * convolution.kernel_size[1]
    return convolution.in_channels * area, convolution.out_channels * area


@pytest.mark.parametrize("init", ["he", "glorot"])
def test_the_variance_is_that_of_the_paper(init):
    torch.manual_seed(0)
    convolution = create_model("resnet56", 10, init=init).get_submodule("layer3.4.conv1")
    fan_in, fan_out = fans(convolution)
    expected = {"he": 2 / fan_out, "glorot": 2 / (fan_in + fan_out)}[init]
    assert spread(convolution.weight) == pytest.approx(expected**0.5, rel=0.03)


def test_fixup_is_section_2_of_its_paper():
    torch.manual_seed(0)
    network = create_model("resnet56", 10, norm="none", init="fixup")
    first, last = (network.get_submodule(f"layer3.4.conv{number}") for number in (1, 2))
    assert spread(first.weight) == pytest.approx((2 / fans(first)[1]) ** 0.5 * 27**-0.5, rel=0.03)  # L = 27, m = 2
    assert not last.weight.any()
    assert not network.fc.weight.any()
    assert all(block.scale == 1 for block in network.blocks().values())


@pytest.mark.parametrize("init", ["fixup", "skipinit"])
@pytest.mark.parametrize("name", ["resnet20", "preresnet29", "resnet50"])
def test_blocks_begin_as_their_shortcut_and_every_weight_then_learns(name, init):
    network = create_model(name, 10, norm="none", init=init)
    x = torch.randn(2, 3, 32, 32)
    for block in network.blocks().values():
        block.register_forward_hook(lambda module, inputs, output: module.__dict__.update(seen=(inputs[0], output)))
    network(x)
    for block in network.blocks().values():
        before, after = block.seen
        expected = block.shortcut(before) if name.startswith("pre") else block.shortcut(before).relu()
        torch.testing.assert_close(after, expected)
    optimiser = torch.optim.SGD(network.parameters(), 0.1)
    for _ in range(4):  # what begins at zero hides the gradient of what comes before it for a step
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x), torch.tensor([0, 1])).backward()
        optimiser.step()
    assert all(parameter.grad.any() for name, parameter in network.named_parameters() if "bias" not in name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": "fixup"}, "takes the place of a normalisation; it needs norm='none'"),
        ({"init": "skipinit", "norm": "none", "shortcut": "none"}, "plain network"),
        ({"norm": "none", "zero_init_last": True}, "use init='skipinit'"),
        ({"init": "best"}, "init must be one of 'he', 'glorot', 'fixup', 'skipinit'"),
    ],
)
def test_what_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        create_model("resnet20", 10, **changes)


def test_a_network_without_normalisation_trains(tmp_path):
    options = {"model": "resnet8", "epochs": 30, "size": 8}
    run = train("digits", run=tmp_path / "run", norm="none", init="fixup", console=Console(quiet=True), **options)
    assert run.card().architecture["norm"] == "none"
    assert run.card().recipe["reasons"]["optimizer"] == "Muon cannot turn weights of zero"
    assert run.card().metrics["accuracy"] > 0.9
    assert not any("running" in name for name in run.network().state_dict())
