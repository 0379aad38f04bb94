"""ArcFace's networks: insightface's names and sizes, and the paper's formulas written out by hand."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from resnets.networks.catalogue import architecture, build, declaration_from_dict
from resnets.networks.iresnet import IResNet, IResNetArchitecture
from resnets.weights.loading import load_weights

PARAMETERS = {"iresnet18": 24_025_600, "iresnet34": 34_139_328, "iresnet50": 43_590_848, "iresnet100": 65_156_160}
"""Of insightface's networks, whose last normalisation has a scale of 512 numbers that is never learnt."""

BLOCK = ("bn1", "conv1", "bn2", "prelu", "conv2", "bn3")


def small(**changes: object) -> IResNet:
    torch.manual_seed(0)
    options = {"depths": (1, 2), "widths": (8, 12), "num_classes": 6} | changes
    return IResNet(IResNetArchitecture(**options))


def names_of_insightface(depths: tuple[int, ...]) -> set[str]:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {"conv1.weight", "prelu.weight", "fc.weight", "fc.bias"}
    names |= {f"{module}.{tensor}" for module in ("bn1", "bn2", "features") for tensor in norm}
    for stage, depth in enumerate(depths, 1):
        for block in range(depth):
            for module in BLOCK:
                tensors = norm if module.startswith("bn") else ("weight",)
                names |= {f"layer{stage}.{block}.{module}.{tensor}" for tensor in tensors}
        names |= {f"layer{stage}.0.downsample.0.weight"} | {f"layer{stage}.0.downsample.1.{tensor}" for tensor in norm}
    return names


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_names_and_sizes_are_insightfaces(name: str, count: int) -> None:
    declaration = architecture(name)
    with torch.device("meta"):
        network = build(declaration)
    tensors = network.state_dict()
    assert set(tensors) == names_of_insightface(declaration.depths)
    assert sum(parameter.numel() for parameter in network.parameters()) + 512 == count
    assert tensors["fc.weight"].shape == (512, 512 * 49)
    assert tensors["layer1.0.prelu.weight"].shape == (64,)
    assert declaration.layers == int(name.removeprefix("iresnet"))
    assert declaration_from_dict(declaration.to_dict()) == declaration


def written_out(tensors: dict[str, torch.Tensor], x: torch.Tensor, depths: tuple[int, ...]) -> torch.Tensor:
    """insightface's forward pass in evaluation, by its tensors' names alone."""

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        parts = (tensors[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    x = F.prelu(norm("bn1", F.conv2d(x, tensors["conv1.weight"], padding=1)), tensors["prelu.weight"])
    for stage, depth in enumerate(depths, 1):
        for number in range(depth):
            block, stride = f"layer{stage}.{number}", 2 if number == 0 else 1
            y = F.conv2d(norm(f"{block}.bn1", x), tensors[f"{block}.conv1.weight"], padding=1)
            y = F.prelu(norm(f"{block}.bn2", y), tensors[f"{block}.prelu.weight"])
            y = norm(f"{block}.bn3", F.conv2d(y, tensors[f"{block}.conv2.weight"], stride=stride, padding=1))
            if number == 0:
                x = norm(f"{block}.downsample.1", F.conv2d(x, tensors[f"{block}.downsample.0.weight"], stride=2))
            x = x + y
    x = F.linear(norm("bn2", x).flatten(1), tensors["fc.weight"], tensors["fc.bias"])
    return norm("features", x)


def test_answers_are_those_of_the_formulas(disturbed_norms) -> None:
    network = disturbed_norms(small()).eval()
    images = torch.randn(2, 3, 28, 28)  # two stages bring it to the 7x7 of 112 after four
    with torch.no_grad():
        expected = written_out(network.state_dict(), images, (1, 2))
        torch.testing.assert_close(network(images), expected)
        torch.testing.assert_close(deepcopy(network)(images), expected)
        maps = network.features(images)
    assert [tuple(value.shape[1:]) for value in maps.values()] == [(8, 28, 28), (8, 14, 14), (12, 7, 7)]


@pytest.fixture
def disturbed_norms():
    def disturb(network: IResNet) -> IResNet:
        generator = torch.Generator().manual_seed(1)
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.4 + 0.8)
            elif tensor.ndim == 1:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
        network.features.weight.fill_(1.0)
        return network

    return disturb


def test_weights_of_insightface_are_loaded_below_any_prefix(disturbed_norms) -> None:
    source, target = disturbed_norms(small()), small()
    account = load_weights(target, {f"module.{name}": value for name, value in source.state_dict().items()}, "a file")
    assert account.complete
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in target.state_dict().items())


def test_the_scale_of_the_embedding_is_not_learnt() -> None:
    network = small()
    assert "features.weight" not in dict(network.named_parameters())
    network.train()
    embedding = network(torch.randn(64, 3, 28, 28))
    torch.testing.assert_close(embedding.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(embedding.std(0, correction=0), torch.ones(6), atol=1e-3, rtol=0)


def test_without_a_classifier_it_gives_its_normalised_map() -> None:
    network = small(num_classes=0).eval()
    images = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        expected = network.bn2(network.features(images)["layer2"]).flatten(1)
        torch.testing.assert_close(network(images), expected)
    assert network(images).shape[1] == network.architecture.hidden
    assert not any(name.startswith(("fc", "features")) for name in network.state_dict())
    network.reset_classifier(5)
    both = network(images)
    torch.testing.assert_close(network(images[:1]), both[:1])  # in evaluation still, as the rest of it


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (1, 0)}, "depths must be a tuple of whole numbers"),
        ({"widths": (8,)}, "one number for each stage alike"),
        ({"dropout": 1.0}, "dropout must be a rate"),
        ({"num_classes": -1}, "num_classes must be a whole number"),
    ],
)
def test_a_wrong_declaration_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)
