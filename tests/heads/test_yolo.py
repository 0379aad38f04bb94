"""The parts of the one-stage head, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical

from resnets.heads.yolo import (
    ASSIGNED,
    BINS,
    CLASS_WEIGHT,
    Head,
    Outputs,
    assign,
    distribution_cross_entropy,
    grid_points,
    losses,
)


def outputs(boxes: torch.Tensor, points: torch.Tensor, strides: torch.Tensor, classes: int = 2) -> Outputs:
    """Outputs that say these boxes (A, 4) with all certainty; whole numbers of strides only."""
    reach = torch.cat((points - boxes[:, :2], boxes[:, 2:] - points), 1) / strides[:, None]
    logits = torch.nn.functional.one_hot(reach.round().long(), BINS).float() * 50
    return Outputs(torch.zeros(1, len(points), classes), logits[None], points, strides)


def test_points_are_the_centres_of_the_pixels_of_each_map():
    head = Head(8, (8, 16), 3)
    found = head([torch.rand(2, 8, 2, 3), torch.rand(2, 8, 1, 2)])
    assert found.points.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12], [8, 8], [24, 8]]
    assert found.strides.tolist() == [8] * 6 + [16] * 2
    assert found.logits.shape == (2, 8, 3)
    assert found.distances.shape == (2, 8, 4, BINS)
    assert found.logits.sigmoid().mean().item() == pytest.approx(0.01, rel=0.3)


def test_a_box_is_where_its_distances_say():
    boxes = torch.tensor([[8.0, 0.0, 40.0, 48.0]])
    found = outputs(boxes, torch.tensor([[24.0, 24.0]]), torch.tensor([8.0]))
    torch.testing.assert_close(found.boxes()[0], boxes, atol=1e-3, rtol=0)


def test_distribution_loss_is_the_cross_entropy_with_two_neighbours():
    logits = torch.randn(5, BINS, generator=torch.Generator().manual_seed(0))
    values = torch.tensor([0.0, 2.25, 7.5, 3.0, 99.0])
    aims = torch.zeros(5, BINS)
    aims[0, 0] = aims[3, 3] = 1.0
    aims[1, 2], aims[1, 3], aims[2, 7], aims[2, 8], aims[4, 14], aims[4, 15] = 0.75, 0.25, 0.5, 0.5, 0.001, 0.999
    expected = -(aims * logits.log_softmax(1)).sum(1)
    torch.testing.assert_close(distribution_cross_entropy(logits, values), expected, atol=1e-4, rtol=1e-4)
    spread = Categorical(logits=aims[1:2].clamp(min=1e-9).log())  # at its best where the weight is so shared
    least = distribution_cross_entropy(spread.logits, values[1:2])
    assert least.item() == pytest.approx(spread.entropy().item(), abs=1e-5)


@pytest.fixture
def grid() -> tuple[torch.Tensor, torch.Tensor]:
    points = torch.cartesian_prod(torch.arange(8) * 8.0 + 4, torch.arange(8) * 8.0 + 4).flip(1)
    return points, torch.full((64,), 8.0)


def test_the_best_aligned_points_inside_an_object_are_assigned(grid):
    points, strides = grid
    target = {"boxes": torch.tensor([[0.0, 0.0, 48.0, 48.0]]), "labels": torch.tensor([1])}
    scores, boxes = torch.full((64, 2), 0.5), torch.tensor([[0.0, 0.0, 40.0, 48.0]]).repeat(64, 1)
    boxes[20] = torch.tensor([0.0, 0.0, 48.0, 48.0])
    chosen, objects, aims = assign(scores, boxes, points, strides, target)
    assert len(chosen) == ASSIGNED
    assert (points[chosen] < 48).all()
    assert objects.tolist() == [0] * ASSIGNED
    assert aims[chosen == 20].item() == pytest.approx(1.0)  # the largest IoU among the object's points
    others = aims[chosen != 20]
    torch.testing.assert_close(others, torch.full_like(others, (40 / 48) ** 6))


def test_a_point_has_one_object_at_most_and_a_tiny_object_has_a_point(grid):
    points, strides = grid
    target = {
        "boxes": torch.tensor([[0.0, 0.0, 32.0, 32.0], [0.0, 0.0, 32.0, 32.0], [33.0, 33.0, 34.0, 34.0]]),
        "labels": torch.tensor([0, 1, 1]),
    }
    boxes = torch.cat((points - 10, points + 10), 1)
    chosen, objects, aims = assign(torch.full((64, 2), 0.5), boxes, points, strides, target)
    assert len(chosen.unique()) == len(chosen)
    assert {0, 2} <= set(objects.tolist())
    assert ((aims >= 0) & (aims <= 1)).all()


def test_no_objects_and_a_thousand(grid):
    points, strides = grid
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    corners = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) * 50
    many = {"boxes": torch.cat((corners, corners + 8), 1), "labels": torch.arange(1000) % 2}
    found = Outputs(
        torch.zeros(2, 64, 2, requires_grad=True), torch.zeros(2, 64, 4, BINS, requires_grad=True), points, strides
    )
    apart = losses(found, [nothing, many])
    assert all(math.isfinite(loss.item()) for loss in apart.values())
    sum(apart.values()).backward()
    assert found.distances.grad[0].abs().sum() == 0
    assert found.distances.grad[1].abs().sum() > 0
    empty = losses(found, [nothing, nothing])
    assert empty["box"].item() == 0
    assert empty["class"].item() == pytest.approx(CLASS_WEIGHT * 2 * 64 * 2 * math.log(2))


@pytest.mark.parametrize("side", [2.0, 6.0, 8.0])
@pytest.mark.parametrize("centre", [(32.0, 32.0), (32.0, 20.0), (64.0, 96.0)])
def test_a_small_object_between_the_points_of_every_map_is_learnt(side, centre):
    points, strides = grid_points([(16, 16), (8, 8), (4, 4)], (8, 16, 32))
    x, y = centre
    box = torch.tensor([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]])
    target = {"boxes": box, "labels": torch.tensor([0])}
    chosen, _, _ = assign(torch.rand(len(points), 1), box.expand(len(points), 4), points, strides, target)
    assert len(chosen) >= 4
