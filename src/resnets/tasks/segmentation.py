"""Segmentation: a class for every pixel.

Shapes: N pictures of H x W pixels, K classes. What is kept of a judged picture is a row of counts; see `data.overlap`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from resnets.data.overlap import split_counts
from resnets.heads.pixel_losses import LOSSES, WEIGHTED, parts_of, weight_of
from resnets.tasks import Task
from resnets.types import IGNORED, Batch

AUXILIARY_WEIGHT = 0.5
"""What the loss of an auxiliary classifier counts, as in torchvision's training."""


@dataclass(frozen=True)
class ClassScores:
    """How well one class is found; what cannot be computed without its pixels is None.

    Attributes:
        iou: intersection over union, over the pixels of all pictures.
        recall: the share of its pixels that is found.
        precision: the share of the pixels said to have it that do.
        boundary_f1: of its boundaries, the mean over the pictures that have it.
        pixels: how many it has, those ignored not counted.
    """

    iou: float | None
    recall: float | None
    precision: float | None
    boundary_f1: float | None
    pixels: int


@dataclass(frozen=True)
class Evaluation:
    """A network's answers to every picture of a split, counted in the pictures' own pixels.

    Attributes:
        split: "train", "val" or "test".
        classes: names in the order of their numbers.
        confusion: (K, K) int64 pixels, by their true class (row) and the one found (column).
        picture_ious: (N,) float64: of each picture, the mean IoU over the classes that are there or found.
        names: of the pictures.
        each: the scores of each class.
        metrics: miou (mean intersection over union of the classes that are there or found), accuracy (share of the
            pixels that are right), boundary_f1 (mean over classes), loss (mean cross-entropy of the pixels), count
            (pictures).
    """

    split: str
    classes: tuple[str, ...]
    confusion: Tensor
    picture_ious: Tensor
    names: tuple[str, ...]
    each: dict[str, ClassScores]
    metrics: dict[str, float]

    def details(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """A row for each class, the weakest first, those without pixels last."""
        weakest_first = sorted(self.each.items(), key=lambda item: (item[1].iou is None, item[1].iou))
        rows = [
            (
                name,
                *("-" if v is None else f"{v:.1%}" for v in (s.iou, s.recall, s.precision, s.boundary_f1)),
                f"{s.pixels:,}",
            )
            for name, s in weakest_first
        ]
        return ("Class", "IoU", "Recall", "Precision", "Boundary F1", "Pixels"), rows

    def to_dict(self) -> dict[str, Any]:
        """Metrics, the scores of each class, and the confusion."""
        return {
            "metrics": self.metrics,
            "per_class": {name: vars(scores) for name, scores in self.each.items()},
            "confusion": self.confusion.tolist(),
        }


class Segmentation(Task):
    """Losses over pixels, and metrics from counts that add up over pictures.

    Args:
        classes: names in the order of the network's outputs.
        settings: nothing has to be known beforehand.
        label_smoothing: share of each target that is spread over all classes.
        class_weights: (K,) what a pixel of each class counts.
        loss: a name of `pixel_losses.LOSSES`, or a sum such as "cross_entropy+dice"; "" for cross-entropy.

    Raises:
        ValueError: for an unknown loss, and for weights or smoothing that it has no use for.
    """

    name = "segmentation"
    formats: ClassVar[dict[str, tuple[str, str]]] = {
        "miou": ("mean IoU", "{:.1%}"),
        "accuracy": ("pixel accuracy", "{:.1%}"),
        "boundary_f1": ("boundary F1", "{:.1%}"),
        "loss": ("loss", "{:.4f}"),
    }
    score = "accuracy"
    aim: ClassVar[tuple[str, int]] = ("miou", 1)
    options: ClassVar[tuple[str, ...]] = ("label_smoothing", "class_weights", "loss")

    def __init__(
        self,
        classes: Sequence[str],
        settings: Mapping[str, Any] | None = None,
        *,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        loss: str = "",
    ) -> None:
        self.classes = tuple(classes)
        self.parts = parts_of(loss)
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        if (label_smoothing or class_weights is not None) and not set(self.parts) & set(WEIGHTED):
            raise ValueError(f"the loss {loss} weighs no classes and smooths no labels; add {' or '.join(WEIGHTED)}")

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The sum of the losses of (N, K, H, W) logits; those of an auxiliary classifier, `aux`, count half."""
        if isinstance(outputs, Mapping):
            main, auxiliary = (self._loss(outputs[name], batch.targets) for name in ("out", "aux"))
            return main + AUXILIARY_WEIGHT * auxiliary
        return self._loss(outputs, batch.targets)

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        weights = None if self.class_weights is None else self.class_weights.to(logits.device)
        options: dict[str, Any] = {"weights": weights, "smoothing": self.label_smoothing}
        losses = [LOSSES[part](logits.float(), targets, **options if part in WEIGHTED else {}) for part in self.parts]
        return torch.stack(losses).sum()

    def weight(self, batch: Batch) -> float | Tensor:
        """The pixels that count, each as its class.

        Dice's and Lovasz's losses are no means over pixels: of a batch in parts they are the mean of the parts' own.
        """
        weights = None if self.class_weights is None else self.class_weights.to(batch.targets.device)
        return weight_of(batch.targets, weights)

    def scored(self, outputs: Any, batch: Batch) -> Tensor:
        """The share of the batch's pixels that are right, times the number of pictures, ()."""
        logits = outputs["out"] if isinstance(outputs, Mapping) else outputs
        counted = batch.targets != IGNORED
        right = (logits.argmax(1) == batch.targets) & counted
        return len(batch) * right.sum() / counted.sum().clamp(min=1)

    def answers(self, outputs: Tensor) -> Tensor:
        """Logits (N, K, H, W) to probabilities."""
        return outputs.float().softmax(1)

    def prediction(self, answer: Tensor, top: int | None) -> dict[str, Any]:
        """A mask (h, w) of class numbers, and the shares of the pixels by class, the largest first."""
        counts = answer.flatten().bincount(minlength=len(self.classes))
        shares, order = (counts / answer.numel()).sort(descending=True, stable=True)
        found = zip(order.tolist(), shares.tolist(), strict=True)
        return {"mask": answer, "values": {self.classes[number]: share for number, share in found if share > 0}}

    def evaluation(self, split: str, outputs: Tensor, targets: Any, names: Sequence[str]) -> Evaluation:
        """Judge the counts (N, F) of a whole split; targets are in them.

        Raises:
            ValueError: if no pixel of the split counts.
        """
        confusions, boundaries, losses = split_counts(outputs, len(self.classes))
        total = confusions.sum(0)
        if not total.sum():
            raise ValueError(f"no pixel of the split {split!r} has a class, so there is nothing to judge by")
        ious = intersections_over_unions(total)
        recalls, precisions = (total.diagonal() / total.sum(side) for side in (1, 0))
        edges = boundary_f1(confusions, boundaries)
        scores = torch.stack((ious, recalls, precisions, edges)).T.tolist()
        each = {
            name: ClassScores(known(iou), known(recall), known(precision), known(f1), int(pixels))
            for name, (iou, recall, precision, f1), pixels in zip(
                self.classes, scores, total.sum(1).tolist(), strict=True
            )
        }
        metrics = {
            "miou": ious.nanmean().item(),
            "accuracy": (total.trace() / total.sum()).item(),
            "boundary_f1": edges.nanmean().item(),
            "loss": (losses.sum() / total.sum()).item(),
            "count": float(len(outputs)),
        }
        pictures = intersections_over_unions(confusions).nanmean(1)
        return Evaluation(split, self.classes, total.long(), pictures, tuple(names), each, metrics)


def intersections_over_unions(confusions: Tensor) -> Tensor:
    """(..., K) of confusions (..., K, K): pixels right over those there or found; not a number where there are none."""
    right = confusions.diagonal(dim1=-2, dim2=-1)
    return right / (confusions.sum(-1) + confusions.sum(-2) - right)


def boundary_f1(confusions: Tensor, boundaries: Tensor) -> Tensor:
    """(K,): of each class the mean F1 of its boundaries over the pictures that have it; not a number where none has.

    Where a class fills its picture and so has no boundary, it is right if none was found and the class itself was.

    Args:
        confusions: (N, K, K) of each picture.
        boundaries: (N, 4, K), see `data.overlap.boundaries`.
    """
    true, hit, found, right = boundaries.unbind(1)
    recall, precision = hit / true.clamp(min=1), right / found.clamp(min=1)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    filled = (true == 0) & (found == 0) & (confusions.diagonal(dim1=1, dim2=2) > 0)
    f1 = torch.where(filled, 1.0, f1)
    return torch.where(confusions.sum(2) > 0, f1, torch.nan).nanmean(0)


def known(value: float) -> float | None:
    """The value, or None where it is not a number."""
    return None if math.isnan(value) else value


TASK = Segmentation
