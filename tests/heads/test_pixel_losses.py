"""Losses over pixels, against closed forms, PyTorch and segmentation_models_pytorch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.heads.pixel_losses import LOSSES, cross_entropy, dice, focal, lovasz, parts_of
from resnets.types import IGNORED


@pytest.fixture
def pixels() -> tuple[Tensor, Tensor]:
    """Logits of four classes, and targets of which some are ignored and the last class is none."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 4, 5, 7, generator=generator)
    targets = torch.randint(3, (2, 5, 7), generator=generator).to(torch.uint8)
    targets[0, :2] = IGNORED
    return logits, targets


def test_cross_entropy_is_pytorchs(pixels: tuple[Tensor, Tensor]) -> None:
    logits, targets = pixels
    weights = torch.tensor([1.0, 3.0, 0.5, 2.0])
    expected = F.cross_entropy(logits, targets.long(), weights, ignore_index=IGNORED, label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy(logits, targets, weights, 0.1), expected)


def test_focal_weighs_by_what_is_missing(pixels: tuple[Tensor, Tensor]) -> None:
    logits = torch.tensor([0.0, math.log(3.0)]).view(1, 2, 1, 1)  # probabilities 1/4 and 3/4
    loss = focal(logits, torch.ones(1, 1, 1, dtype=torch.uint8))
    assert loss.item() == pytest.approx(-(0.25**2) * math.log(0.75))
    logits, targets = pixels
    counted = targets != IGNORED
    likely = logits.softmax(1).gather(1, targets.long().clamp(max=3)[:, None])[:, 0][counted]
    torch.testing.assert_close(focal(logits, targets), -((1 - likely) ** 2 * likely.log()).mean())


def test_dice_of_known_overlaps() -> None:
    logits = torch.full((1, 2, 1, 4), -50.0)
    for column, label in enumerate((0, 0, 1, 1)):
        logits[0, label, 0, column] = 50.0
    targets = torch.tensor([[[0, 1, 1, 1]]], dtype=torch.uint8)
    # Class 0: 2 * 1 / (2 + 1); class 1: 2 * 2 / (2 + 3).
    assert dice(logits, targets).item() == pytest.approx(1 - (2 / 3 + 4 / 5) / 2, abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_lovasz_is_segmentation_models_pytorchs(pixels: tuple[Tensor, Tensor]) -> None:
    peers = pytest.importorskip("segmentation_models_pytorch")
    logits, targets = pixels
    expected = peers.losses.LovaszLoss("multiclass", ignore_index=IGNORED, from_logits=True)(logits, targets.long())
    torch.testing.assert_close(lovasz(logits, targets), expected)


def test_lovasz_of_sure_answers_is_one_less_the_iou() -> None:
    logits = torch.full((1, 2, 1, 4), -50.0)
    for column, label in enumerate((0, 0, 1, 1)):
        logits[0, label, 0, column] = 50.0
    targets = torch.tensor([[[0, 1, 1, 1]]], dtype=torch.uint8)
    assert lovasz(logits, targets).item() == pytest.approx(1 - (1 / 2 + 2 / 3) / 2, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_have_no_part_in_a_loss(name: str, pixels: tuple[Tensor, Tensor]) -> None:
    logits, targets = pixels
    changed = logits + torch.where(targets == IGNORED, 7.0, 0.0)[:, None] * torch.randn_like(logits)
    torch.testing.assert_close(LOSSES[name](changed, targets), LOSSES[name](logits, targets))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("classes", [1, 3])
def test_without_any_pixel_or_with_one_class_a_loss_is_a_number(name: str, classes: int) -> None:
    for value in (IGNORED, 0):
        logits = torch.randn(2, classes, 3, 3, requires_grad=True)
        loss = LOSSES[name](logits, torch.full((2, 3, 3), value, dtype=torch.uint8))
        loss.backward()
        assert loss.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        if value == IGNORED or classes == 1:
            assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_sums_are_named_with_a_plus() -> None:
    assert parts_of("") == ("cross_entropy",)
    assert parts_of("cross_entropy+dice") == ("cross_entropy", "dice")
    for wrong in ("dice+dice", "hinge", "dice+"):
        with pytest.raises(ValueError, match="loss must be"):
            parts_of(wrong)
