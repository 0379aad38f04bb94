"""What a network makes of a whole data set: neighbours, prototypes, outliers, likely label errors, and a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.data.audit import readable
from resnets.data.opening import Data, reopen
from resnets.data.order import permutation
from resnets.inference.evaluation import check_classes, open_for
from resnets.inference.predictor import Predictor
from resnets.insight.label_errors import JudgedLabels, TrainedOn, judge_labels
from resnets.insight.neighbours import Embedded, Sample, embed_pictures, loneliness, nearest, prototypes
from resnets.insight.projection import project, trust
from resnets.runs.card import Card
from resnets.tasks.multilabel import THRESHOLD

SURVEYED = ("classification", "multilabel", "regression")
"""Tasks whose answers a survey has something to say of."""

NEIGHBOURS = 6
"""Training pictures that are told for each answer."""

SHOWN = 6
"""Prototypes, and outliers, of each class."""

POINTS = 2000
"""Pictures on the map, at most."""

LIMIT = 10_000
"""Pictures of a split that are looked at, where nobody says otherwise."""


@dataclass(frozen=True)
class ClassPictures:
    """The most typical and the least typical training pictures of a class; of numbers, of all.

    Attributes:
        name: of the class; "all pictures" of numbers.
        count: its training pictures.
        prototypes: most like the class's mean, the first the most.
        outliers: farthest from their own class's pictures, the first the farthest.
        loneliness: of the outliers; see `neighbours.loneliness`.
    """

    name: str
    count: int
    prototypes: tuple[Sample, ...]
    outliers: tuple[Sample, ...]
    loneliness: tuple[float, ...]


@dataclass(frozen=True)
class FeatureMap:
    """A 2-D map of pictures of all splits.

    Attributes:
        layout: how it was made.
        pictures: on it.
        places: (N, 2), -1 to 1.
        trust: its trustworthiness, 0 to 1.
    """

    layout: str
    pictures: tuple[Sample, ...]
    places: Tensor
    trust: float


@dataclass(frozen=True)
class Survey:
    """What a network makes of a data set.

    Attributes:
        data: the pictures looked at.
        trained_on: whether the run was trained on its training split.
        split: of the answers whose neighbours are told.
        embedded: features and answers by split.
        likenesses, neighbours: (N, k) of the split's pictures and training pictures, the most alike first.
        vote: the share of the split's pictures whose class most of the neighbours have; None unless each has one class.
        classes: what is typical of each.
        labels: what confident learning says of them; None of numbers, which are no classes.
        map: of features.
    """

    data: Data
    trained_on: TrainedOn
    split: str
    embedded: Mapping[str, Embedded]
    likenesses: Tensor
    neighbours: Tensor
    vote: float | None
    classes: tuple[ClassPictures, ...]
    labels: JudgedLabels | None
    map: FeatureMap

    def to_dict(self) -> dict[str, Any]:
        """All findings, in JSON's types."""
        asked, train = self.embedded[self.split].pictures, self.embedded["train"].pictures
        return {
            "split": self.split,
            "pictures": {split: len(part.pictures) for split, part in self.embedded.items()},
            "neighbour_vote_accuracy": self.vote,
            "neighbours": [
                {
                    "name": name,
                    "truth": in_words(asked.targets[number], asked.classes, self.data.task),
                    "neighbours": [
                        {
                            "name": train.names[near],
                            "label": in_words(train.targets[near], train.classes, self.data.task),
                            "likeness": likeness,
                        }
                        for near, likeness in zip(nears, likenesses, strict=True)
                    ],
                }
                for number, (name, nears, likenesses) in enumerate(
                    zip(asked.names, self.neighbours.tolist(), self.likenesses.tolist(), strict=True)
                )
            ],
            "classes": [
                {
                    "name": of_class.name,
                    "count": of_class.count,
                    "prototypes": [sample.name for sample in of_class.prototypes],
                    "outliers": [sample.name for sample in of_class.outliers],
                    "loneliness": of_class.loneliness,
                }
                for of_class in self.classes
            ],
            "labels": None if self.labels is None else self.labels.to_dict(),
            "map": {
                "layout": self.map.layout,
                "trustworthiness": self.map.trust,
                "places": {
                    sample.name: coordinates
                    for sample, coordinates in zip(self.map.pictures, self.map.places.tolist(), strict=True)
                },
            },
        }


def survey(
    predictor: Predictor,
    source: str | Path | None = None,
    *,
    split: str | None = None,
    folds: Path | None = None,
    layout: str = "tsne",
    limit: int = LIMIT,
    workers: int | None = None,
) -> Survey:
    """Look at a data set through a run's network.

    Labels are judged by probabilities of pictures that the network was not trained on: of data that is not the run's,
    all; of its own, even where it has changed since, those of validation and test. With `folds` its training pictures
    are judged, too, each by the network that was trained without its fold.

    Args:
        predictor: the run's.
        source: as `train` takes it; by default what the run was trained on. Data without splits is split as `train`
            would.
        split: whose answers get neighbours among the training pictures; by default test, or val without one.
        folds: the folder of a cross-validation on the same data, as `train --folds` writes it.
        layout: of the map, one of `projection.LAYOUTS`.
        limit: pictures of a split, chosen at random, that are looked at.
        workers: processes that decode; see `Loader`.

    Raises:
        ValueError: if the run's task is none of `SURVEYED`, the classes are not the run's, there is no such split or
            too little in it, or the cross-validation is of other data or of numbers.
    """
    card = predictor.card
    if card.task not in SURVEYED:
        raise ValueError(f"a survey is of classes, labels or numbers, not of {card.task}")
    if folds is not None and card.task == "regression":
        raise ValueError("--folds is for labels, and numbers are none; leave it out")
    if limit < 3:
        raise ValueError(f"at least 3 pictures of a split must be looked at, not {limit}")
    data, trained_on = open_data(card, source)
    check_classes(data, card, f"this {card.model}")
    split = split or ("test" if "test" in data.splits else "val")
    if split not in data.splits or split == "train":
        others = [name for name in data.splits if name != "train"]
        raise ValueError(f"{data.source} has no split {split!r} beside train; it has {', '.join(others) or 'none'}")
    data = readable(
        replace(
            data,
            splits={
                name: part.subset(permutation(0, 0, len(part))[:limit].sort().values)
                for name, part in data.splits.items()
            },
        )
    )
    embedded = {name: embed_pictures(predictor, part, workers) for name, part in data.splits.items()}
    train, asked = embedded["train"], embedded[split]
    likenesses, near = nearest(asked.features, train.features, min(NEIGHBOURS, len(train.features)))
    one_class = data.task == "classification"
    return Survey(
        data=data,
        trained_on=trained_on,
        split=split,
        embedded=embedded,
        likenesses=likenesses,
        neighbours=near,
        vote=vote(train.pictures.targets[near], asked.pictures.targets) if one_class else None,
        classes=tuple(typical(train, data.task)),
        labels=None if data.task == "regression" else judge_labels(data, embedded, trained_on, folds),
        map=draw_map(embedded, layout),
    )


def open_data(card: Card, source: str | Path | None) -> tuple[Data, TrainedOn]:
    """Data for a run, by default that which it was trained on, and whether it is that.

    Where the data at the run's own source has changed, it is split as the run's was: what is held out is a function of
    the names, so that one picture more or less moves few others.
    """
    data, own = open_for(card, source)
    if own:
        return data, "yes"
    if Path(data.source).resolve() != Path(card.data["source"]).resolve():
        return data, "no"
    return reopen({**card.data, "source": data.source}), "changed"


def in_words(target: Tensor, classes: Sequence[str], task: str) -> str:
    """A target: the name of its class, those of its classes, or its numbers."""
    if task == "classification":
        return classes[int(target)]
    if task == "multilabel":
        return (
            ", ".join(name for name, share in zip(classes, target.tolist(), strict=True) if share >= THRESHOLD)
            or "none"
        )
    return numbers_in_words(dict(zip(classes, target.tolist(), strict=True)))


def numbers_in_words(values: Mapping[str, float]) -> str:
    """Numbers with their names, or one without."""
    return ", ".join(f"{name} {value:.4g}" if len(values) > 1 else f"{value:.4g}" for name, value in values.items())


def vote(classes: Tensor, truth: Tensor) -> float:
    """The share of pictures whose class (N,) is the commonest of its neighbours' (N, k); the nearest decides a tie."""
    weights = 1 - 1e-3 * torch.arange(classes.shape[1])
    votes = torch.zeros(len(truth), int(max(classes.max(), truth.max())) + 1)
    votes.scatter_add_(1, classes, weights.expand(classes.shape))
    return (votes.argmax(1) == truth).double().mean().item()


def typical(train: Embedded, task: str) -> Iterator[ClassPictures]:
    """Prototypes and outliers of every class that has pictures."""
    pictures, targets = train.pictures, train.pictures.targets
    groups = {"all pictures": torch.arange(len(pictures))}
    if task != "regression":
        has = targets >= THRESHOLD if targets.ndim == 2 else F.one_hot(targets, len(pictures.classes))
        groups = {name: has[:, number].nonzero().flatten() for number, name in enumerate(pictures.classes)}
    for name, members in groups.items():
        if not len(members):
            continue
        features = train.features[members]
        lonely = loneliness(features)
        farthest = lonely.argsort(descending=True, stable=True)[:SHOWN]
        yield ClassPictures(
            name,
            len(members),
            tuple(Sample(pictures, index) for index in members[prototypes(features, SHOWN)].tolist()),
            tuple(Sample(pictures, index) for index in members[farthest].tolist()),
            tuple(lonely[farthest].tolist()),
        )


def draw_map(embedded: Mapping[str, Embedded], layout: str) -> FeatureMap:
    """The map of all pictures, or of `POINTS` of them chosen at random."""
    samples = [Sample(part.pictures, index) for part in embedded.values() for index in range(len(part.pictures))]
    features = torch.cat([part.features for part in embedded.values()])
    chosen = permutation(0, 0, len(samples))[:POINTS].sort().values
    features = features[chosen]
    places = project(features, layout)
    return FeatureMap(layout, tuple(samples[number] for number in chosen.tolist()), places, trust(features, places))
