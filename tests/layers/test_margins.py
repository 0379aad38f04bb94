"""Margins against their formulas, with angles in place of cosines."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from resnets.layers.margins import Centres, MarginNetwork, with_margin


@pytest.fixture
def cosines() -> torch.Tensor:
    return torch.rand(200, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.98 - 0.99


@pytest.fixture
def targets() -> torch.Tensor:
    return torch.randint(7, (200,), generator=torch.Generator().manual_seed(1))


def test_arcface_adds_to_the_angle_of_the_right_class(cosines, targets):
    found = with_margin(cosines, targets, "arcface", 0.5)
    for row, target in enumerate(targets.tolist()):
        theta = math.acos(cosines[row, target])
        if theta + 0.5 <= math.pi:
            assert found[row, target].item() == pytest.approx(math.cos(theta + 0.5), abs=1e-6)
        else:
            assert found[row, target].item() == pytest.approx(math.cos(theta) - 0.5 * math.sin(0.5))
    others = ~F.one_hot(targets, 7).bool()
    assert torch.equal(found[others], cosines[others])


def test_a_margin_never_makes_a_class_easier():
    right = torch.linspace(-1, 1, 1001, dtype=torch.float64)[:, None]
    targets = torch.zeros(1001, dtype=torch.int64)
    for margin, size in (("arcface", 0.5), ("cosface", 0.35)):
        harder = with_margin(right, targets, margin, size)
        assert (harder < right).all()
        assert (harder.diff(dim=0) >= 0).all()
    assert with_margin(right, targets, "softmax", 0.0) is right


def test_cosface_subtracts_from_the_cosine_of_the_right_class(cosines, targets):
    expected = cosines - 0.35 * F.one_hot(targets, 7)
    torch.testing.assert_close(with_margin(cosines, targets, "cosface", 0.35), expected)


def test_the_slope_is_finite_where_an_embedding_is_its_centre():
    cosines = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], requires_grad=True)
    for targets in (torch.tensor([0, 1]), torch.tensor([1, 0])):
        with_margin(cosines, targets, "arcface", 0.5).sum().backward()
    assert cosines.grad is not None
    assert cosines.grad.isfinite().all()


def test_centres_give_cosines_in_float32_whatever_the_lengths():
    torch.manual_seed(0)
    centres = Centres(16, 5)
    embeddings = torch.randn(9, 16)
    expected = F.cosine_similarity(embeddings[:, None], centres.weight[None], dim=2)
    torch.testing.assert_close(centres(embeddings), expected)
    torch.testing.assert_close(centres(30 * embeddings), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert centres(embeddings).dtype == torch.float32
        torch.testing.assert_close(centres(embeddings), expected)


def test_what_is_trained_holds_the_network_as_it_is():
    network = torch.nn.Linear(4, 16)
    trained = MarginNetwork(network, 16, 5)
    assert trained.module is network
    assert trained(torch.randn(3, 4)).shape == (3, 5)
    assert {name for name, _ in trained.named_parameters()} == {"module.weight", "module.bias", "centres.weight"}
    projected = MarginNetwork(network, 16, 5, projection=3)
    images = torch.randn(8, 4)
    seen = F.linear(network(images), projected.projection[0].weight, projected.projection[0].bias)
    seen = (seen - seen.mean(0)) / (seen.var(0, correction=0) + 1e-5).sqrt()
    expected = F.cosine_similarity(seen[:, None], projected.centres.weight[None], dim=2)
    torch.testing.assert_close(projected(images), expected, atol=1e-5, rtol=1e-4)
