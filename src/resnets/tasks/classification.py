"""Classification: one class for each picture.

Shapes: N pictures, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from resnets.tasks import Task
from resnets.types import Batch

CALIBRATION_BINS = 15
"""Bins of the expected calibration error (arXiv:1706.04599, section 2)."""


@dataclass(frozen=True)
class Evaluation:
    """A network's answers to every picture of a split, in the split's order.

    Attributes:
        split: "train", "val" or "test".
        classes: names in the order of the columns of `probabilities`.
        probabilities: (N, K) float32.
        targets: (N,) int64.
        names: of the pictures.
        metrics: accuracy and top5 (0 to 1), loss (mean cross-entropy, nats), ece (expected calibration error,
            15 bins, 0 to 1) and ece_raw (the same without temperature), count (pictures).
    """

    split: str
    classes: tuple[str, ...]
    probabilities: Tensor
    targets: Tensor
    names: tuple[str, ...]
    metrics: dict[str, float]

    def details(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """A row for each class, the weakest first, those without pictures last."""
        weakest_first = sorted(self.per_class().items(), key=lambda item: (item[1] is None, item[1]))
        return ("Class", "Accuracy"), [
            (name, "no pictures" if share is None else f"{share:.2%}") for name, share in weakest_first
        ]

    def to_dict(self) -> dict[str, Any]:
        """Metrics, and the accuracy of each class that has pictures."""
        per_class = {name: share for name, share in self.per_class().items() if share is not None}
        return {"metrics": self.metrics, "per_class": per_class}

    def per_class(self) -> dict[str, float | None]:
        """The share of each class's pictures that are answered rightly; None where a class has none."""
        right = self.probabilities.argmax(1) == self.targets
        of_class = {name: right[self.targets == number] for number, name in enumerate(self.classes)}
        return {name: hits.float().mean().item() if len(hits) else None for name, hits in of_class.items()}


class Classification(Task):
    """Cross-entropy training and its metrics.

    Args:
        classes: names in the order of the network's outputs; at least two.
        settings: `temperature`, by which outputs are divided before they become probabilities; 1 unless given.
            `conformal`, for each of `COVERAGES` the probability from which a class belongs to a set of classes.
        label_smoothing: the share of each target that is spread over all classes (arXiv:1512.00567, section 7).
        class_weights: (K,) by which each class's pictures count in training; all alike unless given.
    """

    name = "classification"
    formats: ClassVar[dict[str, tuple[str, str]]] = {
        "accuracy": ("accuracy", "{:.2%}"),
        "top5": ("top-5 accuracy", "{:.2%}"),
        "ece": ("calibration error", "{:.2%}"),
        "loss": ("loss", "{:.4f}"),
    }
    score = "accuracy"
    aim: ClassVar[tuple[str, int]] = ("accuracy", 1)
    options: ClassVar[tuple[str, ...]] = ("label_smoothing", "class_weights")

    def __init__(
        self,
        classes: Sequence[str],
        settings: Mapping[str, Any] | None = None,
        *,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
    ) -> None:
        if len(classes) < 2:
            raise ValueError(f"classification needs at least two classes, not {list(classes)}")
        self.classes = tuple(classes)
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.temperature = float((settings or {}).get("temperature", 1.0))
        self.conformal: Sequence[float] = (settings or {}).get("conformal", ())

    def fit(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        """The temperature at which the probabilities of (N, K) logits can best be believed, and conformal levels."""
        temperature = fit_temperature(outputs, targets)
        probabilities = (outputs.float() / temperature).softmax(1)
        return {"temperature": temperature, "conformal": conformal_levels(probabilities, targets)}

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of (N, K) logits; targets are class numbers (N,) or class shares (N, K)."""
        weights = None if self.class_weights is None else self.class_weights.to(outputs.device, outputs.dtype)
        return F.cross_entropy(outputs, batch.targets, weights, label_smoothing=self.label_smoothing)

    def weight(self, batch: Batch) -> float | Tensor:
        """The pictures, each counting as its class; of mixed classes, PyTorch's mean is over pictures."""
        if self.class_weights is None or batch.targets.is_floating_point():
            return super().weight(batch)
        return self.class_weights.to(batch.targets.device)[batch.targets].sum()

    def scored(self, outputs: Tensor, batch: Batch) -> Tensor:
        """How many pictures are answered rightly, (); where classes are mixed, the largest share is the truth."""
        targets = batch.targets if batch.targets.ndim == 1 else batch.targets.argmax(1)
        return (outputs.argmax(1) == targets).sum()

    def answers(self, outputs: Tensor) -> Tensor:
        """Logits (N, K) to probabilities (N, K)."""
        return (outputs.float() / self.temperature).softmax(1)

    def outputs_for(self, answers: Tensor) -> Tensor:
        """Logits (N, K) whose answers are these probabilities."""
        return answers.clamp(min=torch.finfo(answers.dtype).tiny).log() * self.temperature

    def prediction(self, answer: Tensor, top: int | None) -> dict[str, Any]:
        """The most probable classes, as many as `top` or all, with their probabilities."""
        shares, order = answer.sort(descending=True, stable=True)
        return {
            "classes": tuple(self.classes[number] for number in order[:top].tolist()),
            "probabilities": tuple(shares[:top].tolist()),
        }

    def set_size(self, answer: Tensor, coverage: float) -> int:
        """How many of the most probable classes hold the right one with a probability of at least `coverage`.

        At least one. The promise is for pictures like those of the validation split, on average over all of them.

        Raises:
            ValueError: if the coverage is not from 0.5 to 0.99, or there was no validation split to calibrate on.
        """
        number = math.ceil(round(100 * coverage, 6)) - round(100 * COVERAGES[0])
        if not 0 <= number < len(COVERAGES):
            raise ValueError(f"coverage must be from {COVERAGES[0]} to {COVERAGES[-1]}, not {coverage}")
        if not self.conformal:
            raise ValueError(
                "sets of classes are calibrated on a validation split, which this run had not; train it again with "
                "--val-share 0.1"
            )
        return max(int((answer >= self.conformal[number]).sum()), 1)

    def explained(self, outputs: Tensor, number: int) -> Tensor:
        """The logit of a class, (N,), which unlike its probability says nothing of the other classes."""
        return outputs[:, number].float()

    def evaluation(self, split: str, outputs: Tensor, targets: Tensor, names: Sequence[str]) -> Evaluation:
        """Judge the (N, K) logits of a whole split.

        Raises:
            ValueError: if the split is empty.
        """
        if not len(targets):
            raise ValueError(f"the split {split!r} has no pictures to evaluate on")
        logits = outputs.float() / self.temperature
        probabilities, raw = logits.softmax(1), outputs.float().softmax(1)
        count = len(self.classes)
        metrics = {
            "accuracy": multiclass_accuracy(probabilities, targets, count, average="micro"),
            "top5": multiclass_accuracy(probabilities, targets, count, average="micro", top_k=min(5, count)),
            "loss": F.cross_entropy(logits, targets),
            "ece": multiclass_calibration_error(probabilities, targets, count, n_bins=CALIBRATION_BINS),
            "ece_raw": multiclass_calibration_error(raw, targets, count, n_bins=CALIBRATION_BINS),
            "count": torch.tensor(len(targets)),
        }
        numbers = {name: value.item() for name, value in metrics.items()}
        return Evaluation(split, self.classes, probabilities, targets, tuple(names), numbers)


COVERAGES = tuple(percent / 100 for percent in range(50, 100))
"""Probabilities with which a set of classes shall hold the right one."""


def conformal_levels(probabilities: Tensor, targets: Tensor) -> list[float]:
    """For each of `COVERAGES` the probability from which a class belongs to the set (arXiv:2107.07511, section 1).

    The ceil((N + 1) coverage)-th highest probability of a right class, among N; 0, so that all classes belong, where N
    is too small.

    Args:
        probabilities: (N, K) of a split that the network was not trained on.
        targets: (N,) int64.
    """
    right = probabilities.gather(1, targets[:, None]).flatten().sort(descending=True).values.tolist()
    ranks = (math.ceil((len(right) + 1) * round(100 * coverage) / 100) for coverage in COVERAGES)
    return [right[rank - 1] if rank <= len(right) else 0.0 for rank in ranks]


COLDEST, HOTTEST = 0.05, 20.0
"""The temperatures between which one is looked for."""


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature T for which softmax(logits / T) has the least cross-entropy (arXiv:1706.04599, section 4.2).

    1 where every answer is right, because then the likelihood would always want more confidence.

    Args:
        logits: (N, K) of a split that the network was not trained on.
        targets: (N,) int64.
    """
    logits = logits.double()
    if (logits.argmax(1) == targets).all():
        return 1.0
    inverse = torch.zeros((), dtype=torch.float64, requires_grad=True)  # log(1 / T); the loss is convex in 1 / T
    optimiser = torch.optim.LBFGS([inverse], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        value = F.cross_entropy(logits * inverse.exp(), targets)
        value.backward()
        return value.item()

    optimiser.step(loss)
    return min(max(math.exp(-inverse.item()), COLDEST), HOTTEST)


TASK = Classification
