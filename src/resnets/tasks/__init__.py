"""What is asked of a network: one module a task, found by its name; nothing that calls one knows it by name.

A module here defines `TASK`, a class with what `Task` says.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Protocol

from torch import Tensor

from resnets.types import Batch


class Evaluation(Protocol):
    """A network's answers to every picture of a split, in the split's order, and what they are worth."""

    @property
    def split(self) -> str:
        """Its name: "train", "val", "test", or "all" of data without splits."""

    @property
    def metrics(self) -> dict[str, float]:
        """Figures by name; `count`, the number of pictures, is always there, `loss` where outputs tell it."""

    def details(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Headings and rows of a table that tells more than the metrics, such as a row for each class."""

    def to_dict(self) -> dict[str, Any]:
        """What `resnets evaluate --json` prints besides run and split."""


class Task(Protocol):
    """What is asked of a network.

    Attributes:
        name: the module's.
        formats: by the name of a metric, in the order in which they are shown, what it is called and how it is
            written.
        score: the metric that is counted during training, too.
        aim: the metric by which one epoch's weights are better than another's, and 1 if more of it is better, -1 if
            less is.
        options: of the loss, keyword arguments of the class.
    """

    name: ClassVar[str]
    formats: ClassVar[dict[str, tuple[str, str]]]
    score: ClassVar[str]
    aim: ClassVar[tuple[str, int]]
    options: ClassVar[tuple[str, ...]]

    @staticmethod
    def settings_of(targets: Tensor) -> dict[str, Any]:
        """What has to be known of the training targets before there is a loss; it goes into the card."""

    def fit(self, outputs: Tensor, targets: Any) -> dict[str, Any]:
        """Settings that turn outputs into better answers, chosen on a split that the network was not trained on."""

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """What the network is called with in training: the pictures, and what else it has to know of them."""

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The mean loss of a batch, (), from what the network gives in training."""

    def scored(self, outputs: Any, batch: Batch) -> Tensor:
        """The sum of the score over the pictures of a batch, (); not a number where training does not count it."""

    def answers(self, outputs: Tensor) -> Tensor:
        """What the outputs (N, ...) say, one row a picture."""

    def prediction(self, answer: Tensor, top: int | None) -> dict[str, Any]:
        """One row of `answers` in the fields of a `Prediction`."""

    def evaluation(self, split: str, outputs: Tensor, targets: Any, names: Sequence[str]) -> Evaluation:
        """Judge the outputs for a whole split, whose targets are a tensor, or the objects of each picture.

        Of masks, outputs are counts of what is right; see `data.overlap`.
        """


def task_class(name: str) -> Any:
    """The class of a task.

    Raises:
        ValueError: if there is no such module.
    """
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        raise ValueError(f"there is no task {name!r}; there is {', '.join(known)}")
    return import_module(f"{__name__}.{name}").TASK


def create_task(
    name: str,
    classes: tuple[str, ...],
    settings: Mapping[str, Any] | None = None,
    *,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    asymmetric: bool = False,
    huber: float = 0.0,
    loss: str = "",
) -> Task:
    """A task for networks whose outputs are `classes`.

    Args:
        name: a module of this package.
        classes: what the outputs are called.
        settings: what `settings_of` gave for the training targets, and `fit` for the validation split.
        label_smoothing, class_weights: of a loss over single classes, of pictures or pixels.
        asymmetric: of a loss over any number of classes.
        huber: of a loss over numbers.
        loss: of pixels, which one.

    Raises:
        ValueError: if there is no such task, or it has no use for an argument.
    """
    options = {
        "label_smoothing": label_smoothing,
        "class_weights": class_weights,
        "asymmetric": asymmetric,
        "huber": huber,
        "loss": loss,
    }
    asked = {option: value for option, value in options.items() if isinstance(value, Tensor) or value}
    kind = task_class(name)
    if unknown := sorted(set(asked) - set(kind.options)):
        raise ValueError(f"{name} has no use for {', '.join(unknown)}; leave it out")
    task: Task = kind(classes, settings or {}, **asked)
    return task
