"""Multi-label classification: any number of classes for each picture.

Shapes: N pictures, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve
from torch import Tensor
from torch.nn import functional as F

from resnets.tasks import Task
from resnets.types import Batch

THRESHOLD = 0.5
"""From which probability a picture is said to have a class, where none was chosen on a validation split."""

FOCUS, MARGIN = 4.0, 0.05
"""Of the asymmetric loss: gamma- and m (arXiv:2009.14119, section 3.1); gamma+ is 0."""


@dataclass(frozen=True)
class Scores:
    """How well one class is found; what cannot be computed without pictures that have it is None.

    Attributes:
        threshold: the probability from which a picture is said to have it.
        positives: pictures that have it.
        ap: average precision, over all thresholds.
        precision, recall, f1: at the threshold.
    """

    threshold: float
    positives: int
    ap: float | None
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Evaluation:
    """A network's answers to every picture of a split, in the split's order.

    Attributes:
        split: "train", "val" or "test".
        classes: names in the order of the columns.
        probabilities: (N, K) float32, each class by itself.
        targets: (N, K) float32, 1 for each class that a picture has.
        names: of the pictures.
        each: the scores of each class.
        metrics: map (mean average precision) and f1 (mean, at the thresholds), both over the classes that any picture
            has; micro_f1 (of all pairs of picture and class); exact (the share of pictures whose classes are all
            right); loss (mean binary cross-entropy); count (pictures).
    """

    split: str
    classes: tuple[str, ...]
    probabilities: Tensor
    targets: Tensor
    names: tuple[str, ...]
    each: dict[str, Scores]
    metrics: dict[str, float]

    def details(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """A row for each class, the weakest first."""
        weakest_first = sorted(self.each.items(), key=lambda item: (item[1].ap is None, item[1].ap))
        rows = [
            (
                name,
                *("-" if share is None else f"{share:.2%}" for share in (s.ap, s.precision, s.recall, s.f1)),
                f"{s.threshold:.2f}",
                f"{s.positives:,}",
            )
            for name, s in weakest_first
        ]
        return ("Class", "Average precision", "Precision", "Recall", "F1", "Threshold", "Pictures"), rows

    def to_dict(self) -> dict[str, Any]:
        """Metrics, and the scores of each class."""
        return {"metrics": self.metrics, "per_class": {name: vars(scores) for name, scores in self.each.items()}}


class Multilabel(Task):
    """Binary cross-entropy of each class, and metrics over all thresholds and at those that are set.

    Args:
        classes: names in the order of the network's outputs.
        settings: `thresholds` of the classes; 0.5 unless given.
        asymmetric: train by the asymmetric loss.
    """

    name = "multilabel"
    formats: ClassVar[dict[str, tuple[str, str]]] = {
        "map": ("mean average precision", "{:.2%}"),
        "f1": ("F1", "{:.2%}"),
        "micro_f1": ("micro F1", "{:.2%}"),
        "exact": ("all classes right", "{:.2%}"),
        "loss": ("loss", "{:.4f}"),
    }
    score = "exact"
    aim: ClassVar[tuple[str, int]] = ("map", 1)
    options: ClassVar[tuple[str, ...]] = ("asymmetric",)
    named: ClassVar[int | None] = None

    def __init__(self, classes: Sequence[str], settings: Mapping[str, Any], *, asymmetric: bool = False) -> None:
        self.classes = tuple(classes)
        self.thresholds = torch.tensor(settings.get("thresholds", [THRESHOLD] * len(classes)), dtype=torch.float32)
        self.asymmetric = asymmetric

    def fit(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        """For each class the threshold of the best F1; 0.5 for a class that no picture has."""
        probabilities = self.answers(outputs).numpy()
        thresholds = [best_threshold(probabilities[:, k], targets[:, k].numpy()) for k in range(len(self.classes))]
        return {"thresholds": thresholds}

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean over pictures and classes of the cross-entropy of (N, K) logits, or of the asymmetric loss."""
        if not self.asymmetric:
            return F.binary_cross_entropy_with_logits(outputs.float(), batch.targets)
        return asymmetric_loss(outputs.float(), batch.targets).mean()

    def scored(self, outputs: Tensor, batch: Batch) -> Tensor:
        """How many pictures have all their classes right, (); of mixed pictures, those of which they have half."""
        return (self.present(self.answers(outputs)) == (batch.targets >= THRESHOLD)).all(1).sum()

    def answers(self, outputs: Tensor) -> Tensor:
        """Logits (N, K) to probabilities (N, K), each class by itself."""
        return outputs.float().sigmoid()

    def outputs_for(self, answers: Tensor) -> Tensor:
        """Logits (N, K) whose answers are these probabilities."""
        return answers.logit(eps=torch.finfo(answers.dtype).eps)

    def present(self, probabilities: Tensor) -> Tensor:
        """(N, K) whether a picture is said to have a class."""
        return probabilities >= self.thresholds.to(probabilities.device)

    def prediction(self, answer: Tensor, top: int | None) -> dict[str, Any]:
        """The classes that the picture is said to have, or the `top` most probable, with their probabilities."""
        shares, order = answer.sort(descending=True, stable=True)
        count = int(self.present(answer).sum()) if top is None else top
        if top is None:  # in the order of probability, whatever the thresholds
            order = order[self.present(answer)[order]]
            shares = answer[order]
        return {
            "classes": tuple(self.classes[number] for number in order[:count].tolist()),
            "probabilities": tuple(shares[:count].tolist()),
        }

    def explained(self, outputs: Tensor, number: int) -> Tensor:
        """The logit of a class, (N,)."""
        return outputs[:, number].float()

    def evaluation(self, split: str, outputs: Tensor, targets: Tensor, names: Sequence[str]) -> Evaluation:
        """Judge the (N, K) logits of a whole split.

        Raises:
            ValueError: if no picture of the split has any class.
        """
        if not targets.any():
            raise ValueError(f"no picture of the split {split!r} has any class, so there is nothing to judge by")
        probabilities = self.answers(outputs)
        present, true = self.present(probabilities), targets >= THRESHOLD
        each = {
            name: class_scores(probabilities[:, k], present[:, k], true[:, k], self.thresholds[k].item())
            for k, name in enumerate(self.classes)
        }
        found = [scores for scores in each.values() if scores.positives]
        hits, said = int((present & true).sum()), int(present.sum())
        metrics = {
            "map": sum(scores.ap or 0.0 for scores in found) / len(found),
            "f1": sum(scores.f1 or 0.0 for scores in found) / len(found),
            "micro_f1": 2 * hits / (said + int(true.sum())),
            "exact": (present == true).all(1).float().mean().item(),
            "loss": F.binary_cross_entropy_with_logits(outputs.float(), targets).item(),
            "count": float(len(targets)),
        }
        return Evaluation(split, self.classes, probabilities, targets, tuple(names), each, metrics)


def asymmetric_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """(N, K): -y log p - (1 - y) q^4 log(1 - q), where q = max(p - 0.05, 0) (arXiv:2009.14119, equations 4 to 6)."""
    probabilities = logits.sigmoid()
    shifted = (probabilities - MARGIN).clamp(min=0)
    absent = shifted**FOCUS * torch.log1p(-shifted.clamp(max=1 - 1e-6))
    return -(targets * F.logsigmoid(logits) + (1 - targets) * absent)


def best_threshold(probabilities: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    """The probability from which on saying yes has the highest F1; 0.5 where there is none to find."""
    if not targets.any():
        return THRESHOLD
    precision, recall, thresholds = precision_recall_curve(targets, probabilities)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[f1[:-1].argmax()])


def class_scores(probabilities: Tensor, present: Tensor, true: Tensor, threshold: float) -> Scores:
    """The scores of one class from (N,) probabilities, what is said and what is true."""
    positives, said, hits = int(true.sum()), int(present.sum()), int((present & true).sum())
    return Scores(
        threshold=threshold,
        positives=positives,
        ap=float(average_precision_score(true.numpy(), probabilities.numpy())) if positives else None,
        precision=hits / said if said else None,
        recall=hits / positives if positives else None,
        f1=2 * hits / (said + positives) if positives else None,
    )


TASK = Multilabel
