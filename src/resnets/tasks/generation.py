"""Generation: pictures of a class, made from noise by a flow that is learnt from pictures (arXiv:2210.02747).

At time 0 there is noise, at time 1 a picture, and between them a straight path: x_t = (1 - t) noise + t picture. The
network learns the paths' velocity, picture - noise, at x_t; following its answers from noise leads to pictures
(`inference.sampling`). Some pictures' classes are not told, so that the network knows what all classes have in common,
and guidance can lead away from it (arXiv:2207.12598).

Shapes: N pictures, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.data.order import normal, uniform
from resnets.tasks import Task
from resnets.types import Batch, Exact

METRICS = {
    "named": ("named as asked", "{:.2%}"),
    "frechet": ("Frechet distance on the judge's features", "{:.4g}"),
    "nearest": ("distance to the nearest training picture", "{:.4g}"),
}
"""What made pictures are judged by, how it is called and how it is written."""

BANDS = 10
"""Parts of the time from noise to pictures whose losses are told apart."""


@dataclass(frozen=True)
class Evaluation:
    """How well the velocity is known at one point of one path to each picture of a split, in the split's order.

    Attributes:
        split: "train", "val" or "test".
        classes: what can be made.
        times: (N,) float32, where on its path each picture was judged, evenly spread over 0 to 1.
        losses: (N,) float32, the squared error there, the mean over the picture's numbers.
        targets: (N,) int64.
        names: of the pictures.
        metrics: loss (the mean), count (pictures).
    """

    split: str
    classes: tuple[str, ...]
    times: Tensor
    losses: Tensor
    targets: Tensor
    names: tuple[str, ...]
    metrics: dict[str, float]

    def bands(self) -> list[tuple[float, float, float | None]]:
        """Of each tenth of the time its beginning, its end, and the mean loss; None where no picture was judged."""
        numbers = (self.times * BANDS).long().clamp(max=BANDS - 1)
        own = [self.losses[numbers == number] for number in range(BANDS)]
        return [
            (number / BANDS, (number + 1) / BANDS, losses.mean().item() if len(losses) else None)
            for number, losses in enumerate(own)
        ]

    def details(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """A row for each tenth of the time."""
        return ("Time", "Loss"), [
            (f"{begin:.1f} to {end:.1f}", "no pictures" if loss is None else f"{loss:.4f}")
            for begin, end, loss in self.bands()
        ]

    def to_dict(self) -> dict[str, Any]:
        """Metrics, and the loss of each tenth of the time."""
        return {"metrics": self.metrics, "by_time": [loss for _, _, loss in self.bands()]}


@dataclass(frozen=True)
class Judgement:
    """What made pictures are worth, in the eyes of a classifier that was trained on real ones.

    Attributes:
        classes: what can be made.
        pictures: (N, C, H, W) uint8.
        labels: (N,) int64, the class that each was asked to be of.
        named: (N,) int64, the class that the judge names.
        nearest: (N,) int64, the position of the most similar training picture.
        distances: (N,) float32, how far that is: the root of the mean squared difference, in grey levels of 0 to 255.
        real_distances: the same of real pictures that were not trained on; None where there are none.
        metrics: named (the share that is named as asked), frechet (see `frechet_distance`) and nearest (the median
            distance), `real_` before each of real pictures that were not trained on, where there are some; count, and
            frechet_count, of how many both Frechet distances are.
    """

    classes: tuple[str, ...]
    pictures: Tensor
    labels: Tensor
    named: Tensor
    nearest: Tensor
    distances: Tensor
    real_distances: Tensor | None
    metrics: dict[str, float]

    def per_class(self) -> dict[str, float | None]:
        """The share of each class's pictures that the judge names so; None where none was asked for."""
        right = self.named == self.labels
        asked = {name: right[self.labels == number] for number, name in enumerate(self.classes)}
        return {name: hits.float().mean().item() if len(hits) else None for name, hits in asked.items()}


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of the means and covariances of (N, D) and (M, D) features.

    It is the squared Frechet distance of the normal distributions that have them (D. Dowson, B. Landau, J. Multivariate
    Anal. 12:450, 1982), 0 if they are the same. Of few samples it comes out too large.
    """
    means, covariances = [], []
    for features in (first.double(), second.double()):
        means.append(features.mean(0))
        covariances.append(torch.atleast_2d(features.T.cov()))
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # S1 S2 has the eigenvalues of root S2 root, which is symmetric.
    shared = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    traces = covariances[0].trace() + covariances[1].trace()
    distance = (means[0] - means[1]).square().sum() + traces - 2 * shared
    return max(distance.item(), 0.0)


class Generation(Task):
    """Conditional flow matching along straight paths.

    Noise, times and what is told are functions of (seed, epoch, sample).

    Args:
        classes: names; at least two.
        settings: none.
        logit_normal: the width of the distribution of times, whose logits are normal about 0 (arXiv:2403.03206,
            equation 19); 0 for uniform times.
        class_dropout: the share of pictures whose class the network is not told.
    """

    name = "generation"
    formats: ClassVar[dict[str, tuple[str, str]]] = {"loss": ("loss", "{:.4f}")}
    score = "loss"
    aim: ClassVar[tuple[str, int]] = ("loss", -1)
    options: ClassVar[tuple[str, ...]] = ("logit_normal", "class_dropout")
    tells: ClassVar[bool] = False

    def __init__(
        self,
        classes: Sequence[str],
        settings: Mapping[str, Any] | None = None,
        *,
        logit_normal: float = 0.0,
        class_dropout: float = 0.0,
    ) -> None:
        self.classes = tuple(classes)
        self.logit_normal = logit_normal
        self.class_dropout = class_dropout

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """Points on the paths to the pictures (N, C, H, W), their times (N,), and the classes (N,), K for untold."""
        times = self.times(batch)
        return on_paths(batch, times), Exact(times), self.told(batch)

    def ask(self, network: Any, batch: Batch) -> Tensor:
        """The time and the squared error at one point of each picture's path, (N, 2); all classes are told."""
        times = uniform(batch.seed, batch.epoch, batch.indices, "times")[:, 0]
        found = network(on_paths(batch, times), times, batch.targets).float()
        return torch.stack((times, (found - velocities(batch)).square().flatten(1).mean(1)), 1)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of velocities (N, C, H, W) (arXiv:2210.02747, equation 23)."""
        return F.mse_loss(outputs.float(), velocities(batch))

    def scored(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Not a number: of a velocity there is no better score than the loss."""
        return torch.full((), torch.nan, device=batch.images.device)

    def answers(self, outputs: Tensor) -> Tensor:
        """Raise ValueError: such a network makes pictures and tells nothing of given ones."""
        raise ValueError("this network makes pictures and tells nothing of given ones; use `resnets generate`")

    def prediction(self, answer: Tensor, top: int | None) -> dict[str, Any]:
        """Raise ValueError, as `answers` does."""
        raise ValueError("this network makes pictures and tells nothing of given ones; use `resnets generate`")

    def evaluation(self, split: str, outputs: Tensor, targets: Tensor, names: Sequence[str]) -> Evaluation:
        """Judge times and losses (N, 2) for a whole split.

        Raises:
            ValueError: if the split is empty.
        """
        if not len(targets):
            raise ValueError(f"the split {split!r} has no pictures to evaluate on")
        times, losses = outputs.unbind(1)
        metrics = {"loss": losses.mean().item(), "count": float(len(targets))}
        return Evaluation(split, self.classes, times, losses, targets, tuple(names), metrics)

    def times(self, batch: Batch) -> Tensor:
        """(N,) float32 in 0 to 1, where on its path each picture is learnt from."""
        if self.logit_normal:
            logits = normal(batch.seed, batch.epoch, batch.indices, "times")[:, 0]
            return (self.logit_normal * logits).sigmoid()
        return uniform(batch.seed, batch.epoch, batch.indices, "times")[:, 0]

    def told(self, batch: Batch) -> Tensor:
        """(N,) int64: each picture's class, or K for those whose class is not told."""
        untold = uniform(batch.seed, batch.epoch, batch.indices, "class dropout")[:, 0] < self.class_dropout
        return torch.where(untold, len(self.classes), batch.targets)


def noise_for(batch: Batch) -> Tensor:
    """The noise (N, C, H, W) from which each picture's path begins, channels last."""
    values = normal(batch.seed, batch.epoch, batch.indices, "noise", batch.images[0].numel())
    return values.view(batch.images.shape).to(memory_format=torch.channels_last)


def on_paths(batch: Batch, times: Tensor) -> Tensor:
    """Where the paths to the pictures are at times (N,): (1 - t) noise + t picture."""
    return torch.lerp(noise_for(batch), batch.images, times[:, None, None, None])


def velocities(batch: Batch) -> Tensor:
    """Of the paths to the pictures, the same all along: picture - noise."""
    return batch.images - noise_for(batch)


TASK = Generation
