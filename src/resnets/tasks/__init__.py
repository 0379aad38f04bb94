"""What is asked of a network: one module a task, found by its name; nothing that calls one knows it by name.

A module here defines `TASK`, a class with what `Task` says.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from resnets.layers.margins import Margin
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


class Task:
    """What is asked of a network. A task's class inherits it, and defines what has no default here.

    Attributes:
        name: the module's.
        formats: by the name of a metric, in the order in which they are shown, what it is called and how it is
            written.
        score: the metric that is counted during training, too.
        aim: the metric by which one epoch's weights are better than another's, and 1 if more of it is better, -1 if
            less is.
        options: of the loss, keyword arguments of the class.
        embeds: whether a network gives embeddings, whatever the classes are, rather than a number for each class.
        tells: whether a network tells something of given pictures.
        named: classes that a picture's answer names where nobody says how many; None for all that it is said to have.
    """

    name: ClassVar[str]
    formats: ClassVar[dict[str, tuple[str, str]]]
    score: ClassVar[str]
    aim: ClassVar[tuple[str, int]]
    options: ClassVar[tuple[str, ...]] = ()
    embeds: ClassVar[bool] = False
    tells: ClassVar[bool] = True
    named: ClassVar[int | None] = 1

    @staticmethod
    def settings_of(targets: Tensor) -> dict[str, Any]:
        """What has to be known of the training targets before there is a loss; it goes into the card."""
        return {}

    @staticmethod
    def check_split(split: str, targets: Tensor) -> None:
        """Raise ValueError if the pictures of a split, of these targets, cannot be judged."""

    def for_training(self, network: nn.Module) -> nn.Module:
        """What is trained: the network, or one around it, as `module`, with what is not needed afterwards."""
        return network

    def fit(self, outputs: Tensor, targets: Any) -> dict[str, Any]:
        """Settings that turn outputs into better answers, chosen on a split that the network was not trained on."""
        return {}

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """What the network is called with in training: the pictures, and what else it has to know of them."""
        return (batch.images,)

    def ask(self, network: Any, batch: Batch) -> Tensor:
        """What the network gives for prepared pictures that are to be judged or answered, (N, ...)."""
        outputs: Tensor = network(batch.images)
        return outputs

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """The mean loss of a batch, (), from what the network gives in training."""
        raise NotImplementedError

    def weight(self, batch: Batch) -> float | Tensor:
        """What the mean of `loss` divides by, as far as it is one mean: the pictures, unless a task says otherwise.

        The loss of a batch is the mean of its parts' losses, each counting as its weight.
        """
        return float(len(batch))

    def scored(self, outputs: Any, batch: Batch) -> Tensor:
        """The sum of the score over the pictures of a batch, (); not a number where training does not count it."""
        raise NotImplementedError

    def answers(self, outputs: Tensor) -> Tensor:
        """What the outputs (N, ...) say, one row a picture."""
        raise NotImplementedError

    def outputs_for(self, answers: Tensor) -> Tensor:
        """Outputs whose answers are these, which may be means of several networks' or views' answers.

        Raises:
            ValueError: if the task's answers have no mean.
        """
        raise ValueError(f"answers of {self.name} cannot be averaged; name one run and no views")

    def prediction(self, answer: Tensor, top: int | None) -> dict[str, Any]:
        """One row of `answers` in the fields of a `Prediction`."""
        raise NotImplementedError

    def explained(self, outputs: Tensor, number: int) -> Tensor:
        """What explanations attribute to the parts of a picture, (N,): of a class its logit, or a number itself.

        Raises:
            ValueError: if the task gives no numbers of which one could be explained.
        """
        raise ValueError(f"there are no explanations of {self.name} yet")

    def evaluation(self, split: str, outputs: Tensor, targets: Any, names: Sequence[str]) -> Evaluation:
        """Judge the outputs for a whole split, whose targets are a tensor, or the objects of each picture.

        Of masks, outputs are counts of what is right; see `data.overlap`.
        """
        raise NotImplementedError


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
    margin: Margin = "",
    margin_size: float = 0.0,
    logit_scale: float = 0.0,
    embedding: int = 0,
    projection: int = 0,
    logit_normal: float = 0.0,
    class_dropout: float = 0.0,
    loss: str = "",
) -> Task:
    """A task for networks whose outputs are `classes`, or embeddings of their pictures.

    Args:
        name: a module of this package.
        classes: what the outputs are called, or the classes of the data.
        settings: what `settings_of` gave for the training targets, and `fit` for the validation split.
        label_smoothing, class_weights: of a loss over single classes, of pictures or pixels.
        asymmetric: of a loss over any number of classes.
        huber: of a loss over numbers.
        margin, margin_size, logit_scale: of a loss over the cosines of embeddings.
        embedding: numbers of an embedding.
        projection: numbers of what is between embeddings and their centres.
        logit_normal, class_dropout: of learning to make pictures.
        loss: of pixels, which one.

    Raises:
        ValueError: if there is no such task, or it has no use for an argument.
    """
    options = {
        "label_smoothing": label_smoothing,
        "class_weights": class_weights,
        "asymmetric": asymmetric,
        "huber": huber,
        "margin": margin,
        "margin_size": margin_size,
        "logit_scale": logit_scale,
        "embedding": embedding,
        "projection": projection,
        "logit_normal": logit_normal,
        "class_dropout": class_dropout,
        "loss": loss,
    }
    asked = {option: value for option, value in options.items() if isinstance(value, Tensor) or value}
    kind = task_class(name)
    if unknown := sorted(set(asked) - set(kind.options)):
        raise ValueError(f"{name} has no use for {', '.join(unknown)}; leave it out")
    task: Task = kind(classes, settings or {}, **asked)
    return task
