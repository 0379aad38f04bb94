"""Pictures beside each other in feature space: neighbours, prototypes and outliers.

Features are what the classifier reads; two are as alike as the cosine of the angle between them.

Legend: N pictures, Q queries, D features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.data.dataset import Dataset
from resnets.data.loading import Loader
from resnets.inference.evaluation import EVALUATION_BATCH, outputs_of
from resnets.inference.predictor import Predictor
from resnets.networks.network import Network
from resnets.training.head import logits, logits_layer, without_classifier

NEAREST = 5
"""Neighbours of its own class by which an outlier is known, as many as there are up to this."""

_QUERIES = 1024  # whose likenesses to everything are held at a time


@dataclass(frozen=True)
class Sample:
    """One picture of a split.

    Attributes:
        pictures: the split.
        index: its position in it.
    """

    pictures: Dataset
    index: int

    @property
    def name(self) -> str:
        """The sample's."""
        return self.pictures.names[self.index]

    @property
    def split(self) -> str:
        """The split's."""
        return self.pictures.split

    @property
    def target(self) -> Tensor:
        """The sample's: () int64, or (K,) float32."""
        return self.pictures.targets[self.index]


@dataclass(frozen=True)
class Embedded:
    """Pictures, what a network makes of them, and what it answers.

    Attributes:
        pictures: N of them.
        features: (N, D) float32, each of length 1.
        answers: (N, K) float32, as the task gives them.
    """

    pictures: Dataset
    features: Tensor
    answers: Tensor


def embed_pictures(predictor: Predictor, pictures: Dataset, workers: int | None = None) -> Embedded:
    """The features of pictures, and the network's answers."""
    network, preprocessing = cast(Network, predictor.network), predictor.card.preprocessing
    loader = Loader(pictures, preprocessing, EVALUATION_BATCH, shuffle=False, workers=workers)
    with without_classifier(network):
        features = outputs_of(network, loader, preprocessing, predictor.device).flatten(1)
    layer = logits_layer(network)
    with torch.inference_mode():
        outputs = [logits(layer, part.to(predictor.device)).cpu() for part in features.split(EVALUATION_BATCH)]
    return Embedded(pictures, F.normalize(features), predictor.task.answers(torch.cat(outputs)))


def nearest(queries: Tensor, among: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` most alike, the most alike first: likenesses -1 to 1 and positions, both (Q, count).

    Args:
        queries: (Q, D) of length 1.
        among: (N, D) of length 1; there must be at least `count`.
    """
    found = [(part @ among.T).topk(count) for part in queries.split(_QUERIES)]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


def prototypes(features: Tensor, count: int) -> Tensor:
    """The positions of the pictures of one class that are most like its mean, (at most `count`,), the first the most.

    Args:
        features: (N, D) of length 1, of the class's pictures alone.
    """
    return (features @ features.mean(0)).argsort(descending=True, stable=True)[:count]


def loneliness(features: Tensor) -> Tensor:
    """1 less the mean likeness of each picture to its `NEAREST` of the same class, (N,); 0 for a class of one.

    Args:
        features: (N, D) of length 1, of the class's pictures alone.
    """
    count = min(NEAREST, len(features) - 1)
    if count < 1:
        return torch.zeros(len(features))
    alike = torch.empty(len(features))
    for start in range(0, len(features), _QUERIES):
        likenesses = features[start : start + _QUERIES] @ features.T
        rows = torch.arange(len(likenesses))
        likenesses[rows, rows + start] = -torch.inf  # itself
        alike[start : start + _QUERIES] = likenesses.topk(count).values.mean(1)
    return 1 - alike
