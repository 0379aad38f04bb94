"""Segmentation: metrics against torchmetrics, and every decoder learning two pictures by heart."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from resnets.data.overlap import counts_of
from resnets.networks.architecture import Architecture
from resnets.networks.catalogue import build
from resnets.networks.segmenter import DECODERS, segmenter_architecture
from resnets.tasks.segmentation import Evaluation, Segmentation
from resnets.types import IGNORED, Batch

CLASSES = ("sky", "road", "car")
SMALL = Architecture(depths=(1, 1, 1, 1), widths=(16, 16, 32, 32), block="basic", stem_width=16)


def judge(logits: Tensor, masks: Tensor, classes: tuple[str, ...] = CLASSES) -> Evaluation:
    """The evaluation of (N, K, H, W) logits against (N, H, W) masks."""
    rows = torch.stack([counts_of(own, true) for own, true in zip(logits, masks, strict=True)])
    names = [f"{number}.jpg" for number in range(len(rows))]
    return Segmentation(classes).evaluation("val", rows, None, names)


@pytest.fixture
def answers() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(3, (4, 12, 16), generator=generator).to(torch.uint8)
    masks[:, :3] = IGNORED
    return torch.randn(4, 3, 12, 16, generator=generator), masks


def test_metrics_are_torchmetrics(answers: tuple[Tensor, Tensor]) -> None:
    logits, masks = answers
    evaluation = judge(logits, masks)
    options = {"num_classes": 3, "ignore_index": IGNORED}
    ious = multiclass_jaccard_index(logits, masks.long(), average=None, **options)
    assert [scores.iou for scores in evaluation.each.values()] == pytest.approx(ious.tolist())
    assert evaluation.metrics["miou"] == pytest.approx(ious.mean().item())
    accuracy = multiclass_accuracy(logits, masks.long(), average="micro", **options)
    assert evaluation.metrics["accuracy"] == pytest.approx(accuracy.item())
    loss = torch.nn.functional.cross_entropy(logits, masks.long(), ignore_index=IGNORED)
    assert evaluation.metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)
    first = multiclass_jaccard_index(logits[:1], masks[:1].long(), **options)
    assert evaluation.picture_ious[0].item() == pytest.approx(first.item())


def test_boundaries_that_are_off_by_a_little_are_right() -> None:
    masks = torch.zeros(1, 300, 400, dtype=torch.uint8)
    masks[:, :, 200:] = 1
    for shift, expected in ((0, 1.0), (3, 1.0), (10, 0.0)):  # the tolerance is 3.75 pixels
        found = torch.zeros(1, 3, 300, 400)
        found[:, 0, :, : 200 + shift] = 9
        found[:, 1, :, 200 + shift :] = 9
        assert judge(found, masks).metrics["boundary_f1"] == pytest.approx(expected)


def test_a_class_that_fills_its_picture_is_right_only_where_it_was_found() -> None:
    masks = torch.zeros(1, 40, 40, dtype=torch.uint8)
    for found, expected in ((0, 1.0), (1, 0.0)):
        logits = torch.zeros(1, 3, 40, 40)
        logits[:, found] = 9
        assert judge(logits, masks).metrics["boundary_f1"] == expected


def test_classes_that_are_nowhere_are_left_out_of_the_mean() -> None:
    masks = torch.zeros(1, 4, 4, dtype=torch.uint8)
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 0] = 5
    logits[:, 1, 0] = 9  # a quarter is taken for road, which is nowhere: its IoU is 0
    evaluation = judge(logits, masks)
    assert evaluation.metrics["miou"] == pytest.approx((0.75 + 0) / 2)
    assert evaluation.each["car"].iou is None
    assert evaluation.details()[1][-1] == ("car", "-", "-", "-", "-", "0")


def test_one_class_is_always_right() -> None:
    evaluation = judge(torch.randn(2, 1, 5, 7), torch.zeros(2, 5, 7, dtype=torch.uint8), ("all",))
    assert evaluation.metrics["miou"] == evaluation.metrics["accuracy"] == evaluation.metrics["boundary_f1"] == 1


def test_a_split_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixel of the split 'val' has a class"):
        judge(torch.randn(1, 3, 4, 4), torch.full((1, 4, 4), IGNORED, dtype=torch.uint8))


def test_losses_add_up_and_the_auxiliary_one_counts_half(answers: tuple[Tensor, Tensor]) -> None:
    logits, masks = answers
    batch = Batch(torch.zeros(4, 3, 12, 16), masks, torch.arange(4))
    single = [Segmentation(CLASSES, loss=name).loss(logits, batch) for name in ("cross_entropy", "dice")]
    torch.testing.assert_close(Segmentation(CLASSES, loss="cross_entropy+dice").loss(logits, batch), sum(single))
    both = Segmentation(CLASSES).loss({"out": logits, "aux": logits}, batch)
    torch.testing.assert_close(both, 1.5 * single[0])
    with pytest.raises(ValueError, match="weighs no classes"):
        Segmentation(CLASSES, loss="dice", class_weights=torch.ones(3))


def test_a_prediction_names_classes_by_their_share() -> None:
    mask = torch.tensor([[1, 1, 1, 0]], dtype=torch.uint8)
    assert Segmentation(CLASSES).prediction(mask, None)["values"] == {"road": 0.75, "sky": 0.25}


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_learns_two_pictures_by_heart(decoder: str) -> None:
    torch.manual_seed(0)
    masks = torch.zeros(2, 49, 65, dtype=torch.uint8)  # sides that are no multiples of 32
    masks[0, :, 32:], masks[0, 24:, :32], masks[1, :24], masks[1, 24:, 24:48] = 1, 2, 1, 2
    masks[:, :2] = IGNORED
    images = torch.randn(2, 3, 49, 65) + 2 * masks.clamp(max=2)[:, None] - 2
    declaration = segmenter_architecture(decoder, SMALL)  # type: ignore[arg-type]
    width = {"unet": 8, "fcn": 0}.get(decoder, 32)
    network = build(replace(declaration, num_classes=3, decoder_width=width))
    task = Segmentation(CLASSES, loss="cross_entropy+dice")
    optimiser = torch.optim.AdamW(network.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 60)
    for _ in range(60):
        optimiser.zero_grad()
        task.loss(network(images), Batch(images, masks, torch.arange(2))).backward()
        optimiser.step()
        schedule.step()
    with torch.inference_mode():
        assert judge(network.eval()(images), masks).metrics["miou"] > 0.95
