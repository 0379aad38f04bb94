"""Several networks asked the same, their answers averaged: the articles' 3.57 % on ImageNet came from six of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import tee

import torch
from torch import Tensor

from resnets.inference.joined import check_mean
from resnets.inference.pictures import Picture, name_of
from resnets.inference.prediction import Prediction
from resnets.inference.predictor import Predictor


class Ensemble:
    """Predictors of the same task and classes, each with its own preprocessing.

    Settings that turn averaged probabilities into classes, such as thresholds, are those of the first.

    Raises:
        ValueError: if they are not of one task, whose answers have a mean, and the same classes in the same order.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        first = predictors[0].card
        if len(predictors) > 1:
            check_mean(first)
        for other in predictors[1:]:
            if (other.card.task, other.card.classes) != (first.task, first.classes):
                raise ValueError(
                    f"{other.run.folder} has another task or other classes than {predictors[0].run.folder}, so their "
                    "answers cannot be averaged"
                )
        self.predictors = predictors
        self.task = predictors[0].task

    def predict(
        self, pictures: Iterable[Picture], top: int | None = None, batch_size: int | None = None
    ) -> Iterator[Prediction]:
        """An answer for each picture, in order, as `Predictor.predict` gives them."""
        if top is not None and top < 1:
            raise ValueError(f"top must be at least 1, not {top}")
        copies = tee(pictures, len(self.predictors))
        answers = (each.rows(own, batch_size) for each, own in zip(self.predictors, copies, strict=True))
        for number, rows in enumerate(zip(*answers, strict=True)):
            name = name_of(number, rows[0][0])
            wrong = next((row for _, row in rows if isinstance(row, str)), None)
            if wrong is not None:
                yield Prediction(name, error=wrong)
                continue
            mean = torch.stack([row for _, row in rows if isinstance(row, Tensor)]).mean(0)
            yield Prediction(name, **self.task.prediction(mean, top))
