"""Regression: one or several numbers for each picture.

Shapes: N pictures, T numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.regression import mean_absolute_error, mean_squared_error, r2_score

from resnets.tasks import Task
from resnets.types import Batch


@dataclass(frozen=True)
class Evaluation:
    """A network's numbers for every picture of a split, in the split's order.

    Attributes:
        split: "train", "val" or "test".
        outputs: what the T numbers are called.
        values: (N, T) float32, in the units of the targets.
        targets: (N, T) float32.
        names: of the pictures.
        metrics: mae, rmse and r2 (the share of the variance that is explained, 1 at best), each the mean over the T
            numbers; loss (mean squared error of standardised numbers); count (pictures).
        each: mae, rmse and r2 of each number, by its name.
    """

    split: str
    outputs: tuple[str, ...]
    values: Tensor
    targets: Tensor
    names: tuple[str, ...]
    metrics: dict[str, float]
    each: dict[str, dict[str, float]]

    def details(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """A row for each number."""
        rows = [
            (name, *(Regression.formats[metric][1].format(value) for metric, value in metrics.items()))
            for name, metrics in self.each.items()
        ]
        return ("Number", *(Regression.formats[metric][0] for metric in ("mae", "rmse", "r2"))), rows

    def to_dict(self) -> dict[str, Any]:
        """Metrics, and those of each number."""
        return {"metrics": self.metrics, "per_output": self.each}


class Regression(Task):
    """Mean squared error of standardised targets, and metrics in the targets' own units.

    Args:
        classes: what the numbers are called.
        settings: `mean` and `std` of each number over the training pictures.
        huber: train by Huber's loss, linear beyond so many standard deviations (Ann. Math. Stat. 35:73, 1964); 0 for
            squared errors.
    """

    name = "regression"
    formats: ClassVar[dict[str, tuple[str, str]]] = {
        "mae": ("mean absolute error", "{:.4g}"),
        "rmse": ("root mean squared error", "{:.4g}"),
        "r2": ("R2", "{:.4f}"),
        "loss": ("loss", "{:.4f}"),
    }
    score = "mae"
    aim: ClassVar[tuple[str, int]] = ("rmse", -1)
    options: ClassVar[tuple[str, ...]] = ("huber",)

    def __init__(self, classes: Sequence[str], settings: Mapping[str, Any], *, huber: float = 0.0) -> None:
        self.classes = tuple(classes)
        self.huber = huber
        self.mean, self.std = (torch.tensor(settings[key], dtype=torch.float32) for key in ("mean", "std"))

    @staticmethod
    def settings_of(targets: Tensor) -> dict[str, Any]:
        """Mean and standard deviation of (N, T) targets; 1 in place of 0."""
        std = targets.double().std(0, correction=0)
        return {"mean": targets.double().mean(0).tolist(), "std": torch.where(std > 0, std, 1.0).tolist()}

    def standardised(self, targets: Tensor) -> Tensor:
        """(targets - mean) / std, on their device."""
        return (targets - self.mean.to(targets.device)) / self.std.to(targets.device)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean squared or Huber's error of (N, T) outputs from the standardised targets."""
        if self.huber:
            return F.huber_loss(outputs.float(), self.standardised(batch.targets), delta=self.huber)
        return F.mse_loss(outputs.float(), self.standardised(batch.targets))

    def scored(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The sum over the pictures of their absolute errors, each the mean over the T numbers."""
        return (self.answers(outputs) - batch.targets).abs().mean(1).sum()

    def answers(self, outputs: Tensor) -> Tensor:
        """The numbers (N, T) in the units of the targets."""
        return outputs.float() * self.std.to(outputs.device) + self.mean.to(outputs.device)

    def outputs_for(self, answers: Tensor) -> Tensor:
        """The outputs (N, T) whose answers are these numbers."""
        return self.standardised(answers)

    def prediction(self, answer: Tensor, top: int | None) -> dict[str, Any]:
        """The numbers by name; all of them, whatever `top` is."""
        return {"values": dict(zip(self.classes, answer.tolist(), strict=True))}

    def explained(self, outputs: Tensor, number: int) -> Tensor:
        """One of the numbers, (N,), in the units of the targets."""
        return self.answers(outputs)[:, number]

    def evaluation(self, split: str, outputs: Tensor, targets: Tensor, names: Sequence[str]) -> Evaluation:
        """Judge the (N, T) outputs for a whole split.

        Raises:
            ValueError: if the split has fewer than two pictures, which have no variance to explain.
        """
        if len(targets) < 2:
            raise ValueError(f"the split {split!r} needs two pictures to be judged on, it has {len(targets)}")
        values = self.answers(outputs)
        each = {}
        for name, found, true in zip(self.classes, values.double().T, targets.double().T, strict=True):
            each[name] = {  # in float64, since R2 is of the difference of large sums
                "mae": mean_absolute_error(found, true).item(),
                "rmse": mean_squared_error(found, true, squared=False).item(),
                "r2": r2_score(found, true).item(),
            }
        means = {metric: sum(own[metric] for own in each.values()) / len(each) for metric in ("mae", "rmse", "r2")}
        loss = F.mse_loss(outputs.float(), self.standardised(targets)).item()
        metrics = {**means, "loss": loss, "count": float(len(targets))}
        return Evaluation(split, self.classes, values, targets, tuple(names), metrics, each)


TASK = Regression
