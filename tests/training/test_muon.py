"""Muon against the singular value decomposition and PyTorch's SGD."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from resnets.networks.catalogue import architecture, build
from resnets.training.muon import Muon, orthogonalise
from resnets.training.optimisers import convolutions_to_turn, create_optimiser, set_learning_rate
from resnets.training.recipe import Recipe

DEPTHS = {1: 3, 2: 4, 3: 6, 4: 3}
RECIPE = Recipe(optimizer="muon", lr=0.05, momentum=0.6, weight_decay=5e-4, decay_all=False)


@pytest.mark.parametrize("shape", [(16, 144), (64, 27)], ids=["wide", "tall"])
def test_orthogonalised_matrices_keep_their_singular_vectors(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ orthogonalise(matrices) @ right.mT
    values = inner.diagonal(dim1=1, dim2=2)
    assert 0.65 < values.min() < values.max() < 1.25
    torch.testing.assert_close(inner, torch.diag_embed(values), atol=1e-4, rtol=0)


def test_bfloat16_serves_as_well():
    matrices = torch.randn(3, 32, 288, generator=torch.Generator().manual_seed(0))
    found = orthogonalise(matrices, torch.bfloat16)
    assert found.dtype == torch.float32
    values = torch.linalg.svdvals(found)
    assert 0.6 < values.min() < values.max() < 1.3
    assert torch.cosine_similarity(found.flatten(1), orthogonalise(matrices).flatten(1)).min() > 0.999


def test_a_matrix_of_zeros_stays_one():
    assert not orthogonalise(torch.zeros(1, 4, 9)).any()


def test_a_convolution_without_a_gradient_stays_as_it_is():
    """As behind a scale of zero, where a block's last normalisation begins."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(3, 8, 3, bias=False))
    before = copy.deepcopy(network)
    optimiser = create_optimiser(network, RECIPE)
    network[0].weight.grad = torch.zeros_like(network[0].weight)
    network[1].weight.grad = torch.randn_like(network[1].weight)
    optimiser.step()
    assert torch.equal(network[0].weight, before[0].weight)
    assert network[1].weight.isfinite().all()
    assert not torch.equal(network[1].weight, before[1].weight)


def test_convolutions_are_turned_and_the_others_take_steps_of_sgd():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 2)
    )
    before, twin = copy.deepcopy(network), copy.deepcopy(network)
    optimiser = create_optimiser(network, RECIPE)
    set_learning_rate(optimiser, RECIPE.lr)
    oracle = torch.optim.SGD(
        [
            {"params": [p for p in twin.parameters() if p.ndim == 2], "weight_decay": 5e-4},
            {"params": [p for p in twin.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=10 * RECIPE.lr,
        momentum=RECIPE.momentum,
        nesterov=True,
    )
    for _ in range(3):
        for parameter, other in zip(network.parameters(), twin.parameters(), strict=True):
            parameter.grad = torch.randn_like(parameter)
            other.grad = parameter.grad.clone()
        optimiser.step()
        oracle.step()
    for old, new, other in zip(before.parameters(), network.parameters(), twin.parameters(), strict=True):
        if new.ndim == 4:
            assert new.norm().item() == pytest.approx(old.norm().item(), rel=1e-5)
            angle = torch.cosine_similarity(old.flatten(), new.flatten(), dim=0).acos().item()
            assert 0.05 < angle < 3 * math.asin(RECIPE.lr)
        else:
            assert torch.equal(new, other)


def test_frozen_and_unused_convolutions_stay_as_they_are():
    network = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)])
    network[0].requires_grad_(False)
    before = copy.deepcopy(network)
    optimiser = create_optimiser(network, RECIPE)
    network[2](torch.randn(1, 3, 8, 8)).sum().backward()
    optimiser.step()
    assert torch.equal(before[0].weight, network[0].weight)
    assert torch.equal(before[1].weight, network[1].weight)
    assert not torch.equal(before[2].weight, network[2].weight)


def test_a_weight_of_zeros_is_refused():
    network = nn.Conv2d(3, 4, 3)
    nn.init.zeros_(network.weight)
    with pytest.raises(ValueError, match="none may begin as zeros"):
        create_optimiser(network, RECIPE)


@pytest.mark.parametrize(
    ("model", "lengthened"),
    [
        ("wrn10_1", {"head.fc.weight"}),
        ("seresnet50", {f"layer{s}.{b}.se.fc{n}.weight" for s, d in DEPTHS.items() for b in range(d) for n in (1, 2)}),
        ("vgg11_bn", set()),
        ("unet_resnet18", {"classifier.logits.weight"}),
    ],
)
def test_what_no_normalisation_follows_may_grow(model, lengthened):
    with torch.device("meta"):
        network = build(architecture(model))
    convolutions = {name for name, parameter in network.named_parameters() if parameter.ndim > 2}
    assert convolutions - convolutions_to_turn(network) == lengthened


def test_all_of_a_muon_network_may_be_convolutions():
    assert isinstance(create_optimiser(nn.Conv2d(3, 4, 3, bias=False), RECIPE), Muon)
