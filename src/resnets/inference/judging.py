"""What made pictures are worth, in the eyes of a classifier of ours that was trained on real ones.

The distance is Frechet's, between normal distributions of what the judge's last layer reads (arXiv:1706.08500, equation
6). It is no FID: that is computed on Inception's features, so the figures cannot be compared with published ones, nor
with those of another judge.

Legend: N pictures, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnets.data.dataset import Dataset
from resnets.data.loading import Loader
from resnets.data.opening import Data
from resnets.data.order import permutation
from resnets.data.transforms import prepare
from resnets.data.views import view
from resnets.inference.evaluation import EVALUATION_BATCH
from resnets.inference.predictor import Predictor
from resnets.runs.card import Card
from resnets.tasks.generation import Judgement, frechet_distance
from resnets.types import Batch, Preprocessing

MOST_REAL = 10_000
"""Real pictures that the network was not trained on, of which as much is told for comparison, at most."""


class Judge:
    """A classifier's run that names made pictures.

    Args:
        run: the run's folder, or the name of one in the package.
        card: of the network that makes the pictures.
        device: where to compute; by default a GPU if there is one.

    Raises:
        FileNotFoundError: if there is no such finished run.
        ValueError: if it does not classify, or knows other classes or pictures.
    """

    def __init__(self, run: str | Path, card: Card, device: str | torch.device | None = None) -> None:
        self.run = str(run)
        self.predictor = Predictor(run, device)
        own = self.predictor.card
        if own.task != "classification":
            raise ValueError(f"a judge names single classes, but {run} is for {own.task}")
        if own.classes != card.classes:
            raise ValueError(f"the judge {run} knows other classes ({', '.join(own.classes[:5])}...) than can be made")
        if own.preprocessing.channels != card.preprocessing.channels:
            raise ValueError(
                f"the judge {run} sees pictures of {own.preprocessing.channels} channels, but those made have "
                f"{card.preprocessing.channels}; train both on the same pictures"
            )

    @property
    def accuracy(self) -> float | None:
        """The share of real pictures that it names rightly, as its card has it."""
        return self.predictor.card.metrics.get("accuracy")

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """What its classifier reads of pictures (N, C, H, W) uint8, (N, D) float32, and what it says, (N,) int64."""
        network: Any = self.predictor.network
        preprocessing = self.predictor.card.preprocessing
        read: list[Tensor] = []
        layer = network.get_submodule(network.logits_layer)
        hook = layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].flatten(1).float().cpu()))
        named = []
        try:
            for part in pictures.split(EVALUATION_BATCH):
                seen = torch.stack([view(picture, preprocessing) for picture in part])
                numbers = torch.arange(len(seen))
                batch = Batch(seen, numbers, numbers).to(self.predictor.device)
                named.append(network(prepare(batch, preprocessing, channels_last=True).images).argmax(1).cpu())
        finally:
            hook.remove()
        return torch.cat(read), torch.cat(named)


def judge_pictures(pictures: Tensor, labels: Tensor, judge: Judge, data: Data, card: Card) -> Judgement:
    """Compare made pictures with those that the network was trained on.

    For comparison the same is told of real pictures that it was not trained on, where the data has two or more. As the
    distance of distributions falls with the number of pictures, both are then of as many, `frechet_count`, drawn at
    random where there are more.

    Args:
        pictures: (N, C, H, W) uint8.
        labels: (N,) int64, the class that each was asked to be of.
        judge: a classifier.
        data: what the network was trained on.
        card: of the network that made the pictures.

    Raises:
        ValueError: if there are fewer than two pictures, which have no covariance.
    """
    if len(pictures) < 2:
        raise ValueError("the distance of distributions needs at least two pictures; make more with --count")
    features, named = judge(pictures)
    train = data.splits["train"]
    held_out = data.splits.get("test", data.splits.get("val"))
    if held_out is not None and len(held_out) < 2:
        held_out = None
    if held_out is not None and len(held_out) > MOST_REAL:
        held_out = held_out.subset(permutation(0, 0, len(held_out))[:MOST_REAL])
    others = None if held_out is None else torch.cat(list(views(held_out, card.preprocessing)))
    of_train = []
    nearest, other_nearest = Nearest(pictures), None if others is None else Nearest(others)
    for batch in views(train, card.preprocessing):
        of_train.append(judge(batch)[0])
        nearest.look_at(batch)
        if other_nearest is not None:
            other_nearest.look_at(batch)
    real = torch.cat(of_train)
    count = len(features) if held_out is None else min(len(features), len(held_out))
    metrics = {
        "named": (named == labels).float().mean().item(),
        "frechet": frechet_distance(some(features, count), real),
        "frechet_count": float(count),
        "nearest": nearest.distances.median().item(),
        "count": float(len(pictures)),
    }
    if others is not None and other_nearest is not None and held_out is not None:
        features, named_others = judge(others)
        metrics |= {
            "real_named": (named_others == held_out.targets).float().mean().item(),
            "real_frechet": frechet_distance(some(features, count), real),
            "real_nearest": other_nearest.distances.median().item(),
        }
    return Judgement(
        classes=card.classes,
        pictures=pictures,
        labels=labels,
        named=named,
        nearest=nearest.positions,
        distances=nearest.distances,
        real_distances=None if other_nearest is None else other_nearest.distances,
        metrics=metrics,
    )


def some(features: Tensor, count: int) -> Tensor:
    """So many of the rows, always the same ones."""
    return features[permutation(0, 0, len(features))[:count]]


class Nearest:
    """Of each of N pictures the nearest among those looked at, by the root of the mean squared difference of pixels.

    Attributes:
        distances: (N,) float32, in grey levels of 0 to 255.
        positions: (N,) int64, counted over all pictures looked at.
    """

    def __init__(self, pictures: Tensor) -> None:
        self._pixels = pictures.flatten(1).float()
        self._seen = 0
        self.distances = torch.full((len(pictures),), torch.inf)
        self.positions = torch.zeros(len(pictures), dtype=torch.int64)

    def look_at(self, others: Tensor) -> None:
        """Compare with some more pictures (M, C, H, W) uint8."""
        pixels = others.flatten(1).float()
        # By matrix products, which are fast but round: the distance of a copy has to be 0.
        positions = torch.cdist(self._pixels, pixels).argmin(1)
        least = (self._pixels - pixels[positions]).square().mean(1).sqrt()
        closer = least < self.distances
        self.distances = torch.where(closer, least, self.distances)
        self.positions = torch.where(closer, positions + self._seen, self.positions)
        self._seen += len(others)


def views(dataset: Dataset, preprocessing: Preprocessing) -> Iterator[Tensor]:
    """All pictures of a split in order, as a network's input shows them, some (N, C, H, W) uint8 at a time."""
    for batch in Loader(dataset, preprocessing, EVALUATION_BATCH, shuffle=False).epoch(0):
        yield batch.images
