"""Detection: what is where in a picture, judged as COCO does.

Shapes: N pictures, D rows of detections, K classes, M objects of a picture. A row is left, top, right, bottom, score,
class, and with masks 28 x 28 cells more; a score of 0 stands for none. See `networks.detector.Detector`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import box_area, box_iou

from resnets.tasks import Task
from resnets.types import Batch, Exact, Objects

THRESHOLD = 0.5
"""The score from which a detection is told, unless a validation split has chosen another."""

IOU = 0.5
"""Overlap from which a detection counts as found, where one number is to be chosen (Pascal VOC's)."""

_FIELDS = 6
_MASK = 28


@dataclass(frozen=True)
class ClassScores:
    """How one class is found.

    Attributes:
        ap: mean average precision over IoU from 0.5 to 0.95; None where no picture has the class.
        ap50: average precision at IoU 0.5.
        recall: largest recall, mean over IoU from 0.5 to 0.95.
        objects: how many there are, those to be ignored not counted.
        precisions: at IoU 0.5, the precision at recalls of 0, 0.01... 1.
    """

    ap: float | None
    ap50: float | None
    recall: float | None
    objects: int
    precisions: tuple[float, ...]


@dataclass(frozen=True)
class Evaluation:
    """A detector's answers to every picture of a split, in the split's order.

    Attributes:
        split: "train", "val" or "test".
        classes: names in the order of their numbers.
        detections: (N, D, 6 and more), in the pixels of each picture.
        targets: what is where, in the same pixels.
        names: of the pictures.
        metrics: map (mean average precision over classes and over IoU from 0.5 to 0.95), map50, map75, recall (largest,
            of 100 detections a picture); where there are such objects, map_small, map_medium, map_large (areas below
            32 x 32, to 96 x 96, and above); with masks the same with mask_ before the name; localisation (share of the
            pictures whose surest box has the right class and an IoU of 0.5) and localisation5 (of which one of the five
            surest has), where each picture has one object; count (pictures).
        each: the scores of each class.
        threshold: the score from which a detection is told.
    """

    split: str
    classes: tuple[str, ...]
    detections: Tensor
    targets: Sequence[Objects]
    names: tuple[str, ...]
    metrics: dict[str, float]
    each: dict[str, ClassScores]
    threshold: float

    def details(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """A row for each class, the weakest first, those without objects last."""
        weakest_first = sorted(self.each.items(), key=lambda item: (item[1].ap is None, item[1].ap))
        rows = [
            (name, *("no objects" if value is None else f"{value:.1%}" for value in (s.ap, s.ap50)), f"{s.objects:,}")
            for name, s in weakest_first
        ]
        return ("Class", "AP", "AP at 0.5", "Objects"), rows

    def to_dict(self) -> dict[str, Any]:
        """Metrics, and those of each class that has objects."""
        per_class = {
            name: {"ap": scores.ap, "ap50": scores.ap50, "recall": scores.recall, "objects": scores.objects}
            for name, scores in self.each.items()
            if scores.ap is not None
        }
        return {"metrics": self.metrics, "per_class": per_class}


class Detection(Task):
    """A detector's losses and COCO's metrics.

    Args:
        classes: names in the order of the network's class numbers.
        settings: `threshold`, the score from which a detection is told; 0.5 unless given.
    """

    name = "detection"
    formats: ClassVar[dict[str, tuple[str, str]]] = {
        "map": ("mAP", "{:.1%}"),
        "map50": ("mAP at 0.5", "{:.1%}"),
        "map75": ("mAP at 0.75", "{:.1%}"),
        "recall": ("recall", "{:.1%}"),
    }
    score = "map50"
    aim: ClassVar[tuple[str, int]] = ("map", 1)

    def __init__(self, classes: Sequence[str], settings: Mapping[str, Any] | None = None) -> None:
        if not classes:
            raise ValueError("detection needs a class of objects")
        self.classes = tuple(classes)
        self.threshold = float((settings or {}).get("threshold", THRESHOLD))

    @staticmethod
    def settings_of(targets: Tensor) -> dict[str, Any]:
        """Nothing has to be known beforehand.

        Raises:
            ImportError: without the extra `detect`, before there is anything to judge.
        """
        judge("bbox")
        return {}

    def fit(self, outputs: Tensor, targets: Sequence[Objects]) -> dict[str, Any]:
        """The threshold at which most is found and least is made up."""
        return {"threshold": fit_threshold(outputs, targets)}

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """Pictures, and of each the objects that count."""
        return batch.images, Exact([objects.subset(~objects.ignored) for objects in batch.objects])

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The sum of the network's losses."""
        return torch.stack(list(outputs.values())).sum()

    def scored(self, outputs: Any, batch: Batch) -> Tensor:
        """Not a number: what is found is not counted during training."""
        return torch.full((), torch.nan, device=batch.images.device)

    def answers(self, outputs: Tensor) -> Tensor:
        """The detections as they are."""
        return outputs.float()

    def prediction(self, answer: Tensor, top: int | None) -> dict[str, Any]:
        """The boxes (D, 6 and more) from the threshold up, the surest first; all of them, whatever `top` is."""
        told = answer[answer[:, 4] >= max(self.threshold, 1e-9)]
        return {
            "classes": tuple(self.classes[number] for number in told[:, 5].long().tolist()),
            "probabilities": tuple(told[:, 4].tolist()),
            "boxes": tuple(tuple(box) for box in told[:, :4].tolist()),
            "masks": told[:, _FIELDS:].view(-1, _MASK, _MASK) if told.shape[1] > _FIELDS else None,
        }

    def evaluation(self, split: str, outputs: Tensor, targets: Sequence[Objects], names: Sequence[str]) -> Evaluation:
        """Judge the detections (N, D, 6 and more) in a whole split, in the pixels of the pictures as the targets are.

        Raises:
            ValueError: if the split is empty.
            ImportError: without the extra `detect`.
        """
        if not len(targets):
            raise ValueError(f"the split {split!r} has no pictures to evaluate on")
        boxes, extras = coco_metrics(outputs, targets)
        metrics = {name: value for name, value in boxes.items() if value >= 0}  # -1 where there is nothing to judge
        for name in ("map", "map50", "map75", "recall"):
            metrics.setdefault(name, 0.0)
        if outputs.shape[2] > _FIELDS and any(objects.outlines for objects in targets):
            of_masks, _ = coco_metrics(outputs, targets, of_masks=True)
            metrics |= {f"mask_{name}": value for name, value in of_masks.items() if value >= 0}
        if all(len(objects) == 1 for objects in targets):
            metrics |= {"localisation": localised(outputs, targets, 1), "localisation5": localised(outputs, targets, 5)}
        metrics["count"] = float(len(targets))
        counted = torch.cat([objects.labels[~objects.ignored] for objects in targets])
        numbers = counted.bincount(minlength=len(self.classes)).tolist()
        nothing = ClassScores(None, None, None, 0, ())
        each = {
            name: extras[label](numbers[label]) if label in extras else nothing
            for label, name in enumerate(self.classes)
        }
        return Evaluation(split, self.classes, outputs, targets, tuple(names), metrics, each, self.threshold)


def coco_metrics(
    detections: Tensor, targets: Sequence[Objects], of_masks: bool = False
) -> tuple[dict[str, float], dict[int, Any]]:
    """COCO's metrics by torchmetrics and faster-coco-eval, and for each class a function from its count to its scores.

    Raises:
        ImportError: without the extra `detect`.
    """
    metric = judge("segm" if of_masks else "bbox")
    for rows, objects in zip(detections, targets, strict=True):
        found = rows[rows[:, 4] > 0]
        guess = {"scores": found[:, 4], "labels": found[:, 5].long(), "boxes": found[:, :4]}
        truth = {"labels": objects.labels, "iscrowd": objects.ignored.int(), "boxes": objects.boxes}
        truth["area"] = areas(objects)
        if of_masks:  # where there is no outline, nobody knows whether a mask is right
            guess["masks"], truth["masks"] = pasted(found, objects.size), objects.masks().bool()
            truth["iscrowd"] = (objects.ignored | ~objects.outlined).int()
        metric.update([guess], [truth])
    result = metric.compute()
    if "precision" not in result:  # torchmetrics leaves it out where no mask is found
        return dict.fromkeys(("map", "map50", "map75", "recall"), 0.0), {}
    overall = {
        name: float(result[theirs])
        for name, theirs in {
            "map": "map",
            "map50": "map_50",
            "map75": "map_75",
            "recall": "mar_100",
            "map_small": "map_small",
            "map_medium": "map_medium",
            "map_large": "map_large",
        }.items()
    }
    precision = torch.as_tensor(result["precision"])[:, :, :, 0, -1]  # (10 IoUs, 101 recalls, classes seen)
    recall = torch.as_tensor(result["recall"])[:, :, 0, -1]  # (10 IoUs, classes seen)

    def scores_of(column: int) -> Any:
        own = precision[:, :, column]
        if own.min() < 0:  # found somewhere, but never there
            return lambda objects: ClassScores(None, None, None, objects, ())
        return lambda objects: ClassScores(
            own.mean().item(), own[0].mean().item(), recall[:, column].mean().item(), objects, tuple(own[0].tolist())
        )

    labels = torch.as_tensor(result["classes"]).flatten().tolist()
    return overall, {int(label): scores_of(column) for column, label in enumerate(labels)}


def judge(kind: Literal["bbox", "segm"]) -> Any:
    """torchmetrics' judge of boxes or masks, which reads COCO's metrics from faster-coco-eval.

    The thresholds are COCO's to the last bit; torchmetrics' own are rounded, and a recall of 0.1 falls below 0.1.

    Raises:
        ImportError: without the extra `detect`.
    """
    try:
        from torchmetrics.detection import MeanAveragePrecision

        metric = MeanAveragePrecision(
            iou_type=kind,
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
            rec_thresholds=np.linspace(0, 1, 101).tolist(),
            class_metrics=True,
            extended_summary=True,
            backend="faster_coco_eval",
        )
    except ImportError as error:
        raise ImportError("detectors are judged by faster-coco-eval: pip install 'resnets[detect]'") from error
    metric.warn_on_many_detections = False
    return metric


def pasted(found: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, height, width) bool: the masks of detections (n, 6 + 784), in a picture of that size."""
    if not len(found):
        return torch.zeros(0, *size, dtype=torch.bool)
    cells = found[:, _FIELDS:].view(-1, 1, _MASK, _MASK)
    return paste_masks_in_image(cells, found[:, :4], size)[:, 0] >= 0.5


def localised(detections: Tensor, targets: Sequence[Objects], answers: int) -> float:
    """The share of pictures with one object of which one of the surest detections has its class and an IoU of 0.5.

    It is 1 less the localisation error of ILSVRC (arXiv:1409.0575, section 4.2), which allows five answers.
    """
    right = 0
    for rows, objects in zip(detections, targets, strict=True):
        first = rows[rows[:, 4].argsort(descending=True, stable=True)[:answers]]
        covered = box_iou(first[:, :4], objects.boxes)[:, 0] >= IOU
        right += bool(((first[:, 4] > 0) & covered & (first[:, 5] == objects.labels[0])).any())
    return right / len(targets)


def fit_threshold(detections: Tensor, targets: Sequence[Objects]) -> float:
    """The score at which F1 is highest, of detections that cover an object of their class by half (IoU).

    Objects are given to detections in the order of their scores. THRESHOLD where nothing is found.
    """
    scores, hits = [], []
    for rows, objects in zip(detections, targets, strict=True):
        for score, hit in matched(rows[rows[:, 4] > 0], objects):
            scores.append(score)
            hits.append(hit)
    total = sum(int((~objects.ignored).sum()) for objects in targets)
    if not any(hits):
        return THRESHOLD
    order = torch.tensor(scores).argsort(descending=True, stable=True)
    right = torch.tensor(hits, dtype=torch.float64)[order].cumsum(0)
    f1 = 2 * right / (torch.arange(1, len(right) + 1) + total)
    return math.floor(scores[int(order[int(f1.argmax())])] * 1e4) / 1e4  # never above that score


def matched(found: Tensor, objects: Objects) -> list[tuple[float, bool]]:
    """The score of each detection (n, 6 and more), surest first, and whether it finds an object that was free.

    Those of which half lies in an ignored object of their class count neither way and are left out, as in COCO's
    metrics, where such objects are crowds.
    """
    free = torch.ones(len(objects), dtype=torch.bool)
    result = []
    overlap = box_iou(found[:, :4], objects.boxes)
    within = shares_within(found[:, :4], objects.boxes)
    for row, own, inside in zip(found[:, 4:6].tolist(), overlap, within, strict=True):
        same = objects.labels == int(row[1])
        choice = torch.where(same & free & ~objects.ignored & (own >= IOU), own, 0.0)
        if choice.any():
            free[choice.argmax()] = False
            result.append((row[0], True))
        elif not (same & objects.ignored & (inside >= IOU)).any():
            result.append((row[0], False))
    return result


def shares_within(boxes: Tensor, others: Tensor) -> Tensor:
    """(n, m): the share of each of n boxes that lies within each of m others."""
    low = torch.maximum(boxes[:, None, :2], others[:, :2])
    high = torch.minimum(boxes[:, None, 2:], others[:, 2:])
    return (high - low).clamp(min=0).prod(2) / box_area(boxes).clamp(min=1e-9)[:, None]


def areas(objects: Objects) -> Tensor:
    """(M,) of what each object covers, its outlines' where it has some, by which COCO calls it small or large."""
    own = box_area(objects.boxes)
    if objects.outlines:
        for number, polygons in enumerate(objects.outlines):
            if polygons:
                own[number] = sum(area_of(polygon) for polygon in polygons)
    return own


def area_of(polygon: Tensor) -> float:
    """Of a polygon (P, 2), by the shoelace formula."""
    x, y = polygon.unbind(1)
    return float((x * y.roll(-1) - y * x.roll(-1)).sum().abs()) / 2


TASK = Detection
