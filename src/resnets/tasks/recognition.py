"""Recognition: numbers by which pictures of one class are near each other, of classes that were never trained on.

In training, margins keep the classes apart (`layers.margins`); in use a network gives an embedding, and the cosine of
two of them says how alike their pictures are.

Legend: N pictures, D numbers of an embedding, K classes trained on, M pairs of pictures. FAR is the share of pairs of
different classes that are taken for the same, TAR that of pairs of one class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor, nn
from torch.nn import functional as F

from resnets.data.order import permutation, uniform
from resnets.layers.margins import EMBEDDING, Margin, MarginNetwork, with_margin
from resnets.tasks import Task
from resnets.types import Batch

FARS = {"1e-1": 0.1, "1e-2": 0.01, "1e-3": 0.001, "1e-4": 0.0001}
"""The rates of false accepts at which TAR is told."""

FOLDS = 10
"""Of verification, as on Labeled Faces in the Wild (G. Huang and E. Learned-Miller, UM-CS-2014-003)."""

MOST_PAIRS = 1_000_000
"""Of larger sets so many pairs are drawn to be judged on, half of them of one class."""

MARGINS: dict[Margin, float] = {"arcface": 0.5, "cosface": 0.35, "softmax": 0.0}
SCALE = 64.0

_ROWS = 4_096  # pictures compared with all others at a time


@dataclass(frozen=True)
class Pairs:
    """Pairs of pictures.

    Attributes:
        first, second: (M,) int64 positions.
        same: (M,) bool, whether both are of one class.
        similarity: (M,) float32 cosines.
    """

    first: Tensor
    second: Tensor
    same: Tensor
    similarity: Tensor


@dataclass(frozen=True)
class Point:
    """What a threshold does.

    Attributes:
        far: the rate of false accepts that is asked for.
        threshold: the least similarity of pictures that are taken for one class.
        tar: the share of pairs of one class that are accepted.
        false_accepts, different: how many pairs of different classes are accepted, and how many there are.
    """

    far: float
    threshold: float
    tar: float
    false_accepts: int
    different: int


@dataclass(frozen=True)
class Evaluation:
    """A network's embeddings of every picture of a split, in the split's order.

    Attributes:
        split: "train", "val", "test" or "all".
        classes: names by the numbers of `targets`.
        embeddings: (N, D) float32 of length 1.
        targets: (N,) int64.
        names: of the pictures.
        pairs: all pairs, or half a million of each kind; see `pairs_of`.
        nearest: (N,) int64, the other picture that is most alike.
        points: what the thresholds for `FARS` do.
        metrics: auc (of the ROC curve), accuracy (verification, see `verification_accuracy`), tar_at_far_1e-1 to
            tar_at_far_1e-4, rank1 (the share of pictures whose nearest is of their class, of those that can), count.
    """

    split: str
    classes: tuple[str, ...]
    embeddings: Tensor
    targets: Tensor
    names: tuple[str, ...]
    pairs: Pairs
    nearest: Tensor
    points: tuple[Point, ...]
    metrics: dict[str, float]

    def details(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """A row for each class, the weakest first."""
        rows = sorted(self.per_class().items(), key=lambda item: (item[1]["rank1"], item[1]["least_alike"]))
        return ("Class", "Pictures", "Rank-1", "Least alike of its own", "Most alike of another"), [
            (
                name,
                f"{row['pictures']:,.0f}",
                f"{row['rank1']:.2%}",
                f"{row['least_alike']:.3f}",
                f"{row['most_alike']:.3f}",
            )
            for name, row in rows
        ]

    def to_dict(self) -> dict[str, Any]:
        """Metrics, what the thresholds do, and the figures of each class."""
        return {
            "metrics": self.metrics,
            "thresholds": [asdict(point) for point in self.points],
            "per_class": self.per_class(),
        }

    def per_class(self) -> dict[str, dict[str, float]]:
        """Of each class with two pictures or more: how many, rank-1, and the extremes of its pairs' similarities."""
        pairs, count = self.pairs, len(self.classes)
        sizes = self.targets.bincount(minlength=count)
        found = self.targets[self.targets[self.nearest] == self.targets].bincount(minlength=count)
        least, most = torch.full((count,), torch.inf), torch.full((count,), -torch.inf)
        for pictures in (pairs.first, pairs.second):
            of, same = self.targets[pictures], pairs.same
            least.scatter_reduce_(0, of[same], pairs.similarity[same], "amin")
            most.scatter_reduce_(0, of[~same], pairs.similarity[~same], "amax")
        return {
            self.classes[number]: {
                "pictures": float(sizes[number]),
                "rank1": (found[number] / sizes[number]).item(),
                "least_alike": least[number].item(),
                "most_alike": most[number].item(),
            }
            for number in (least.isfinite() & most.isfinite()).nonzero().flatten().tolist()
        }


class Recognition(Task):
    """Cross-entropy of cosines with a margin, and metrics of pairs.

    Args:
        classes: names of all classes of the data, trained on or not.
        settings: `trained_on`, the numbers of those that are.
        margin: "arcface", "cosface" or "softmax"; "" for "arcface".
        margin_size: 0 for that of the margin's paper, 0.5 and 0.35.
        logit_scale: by what cosines are multiplied; 0 for 64, as both papers have it.
        embedding: D; 0 for 512.
        projection: numbers of a layer between embeddings and centres, in training alone; 0 for none. The network has no
            classifier then, and D is as long as what it gives.
    """

    name = "recognition"
    formats: ClassVar[dict[str, tuple[str, str]]] = {
        "auc": ("ROC AUC", "{:.4f}"),
        "accuracy": ("verification accuracy", "{:.2%}"),
        **{f"tar_at_far_{far}": (f"TAR at FAR {far}", "{:.2%}") for far in FARS},
        "rank1": ("rank-1 identification", "{:.2%}"),
    }
    score = "rank1"
    aim: ClassVar[tuple[str, int]] = ("auc", 1)
    options: ClassVar[tuple[str, ...]] = ("margin", "margin_size", "logit_scale", "embedding", "projection")
    embeds: ClassVar[bool] = True

    def __init__(
        self,
        classes: Sequence[str],
        settings: Mapping[str, Any],
        *,
        margin: Margin = "",
        margin_size: float = 0.0,
        logit_scale: float = 0.0,
        embedding: int = 0,
        projection: int = 0,
    ) -> None:
        self.classes = tuple(classes)
        self.trained_on = torch.tensor(settings["trained_on"])
        self.margin: Margin = margin or "arcface"
        self.margin_size = margin_size or MARGINS[self.margin]
        self.logit_scale = logit_scale or SCALE
        self.embedding = embedding or EMBEDDING
        self.projection = projection

    @staticmethod
    def settings_of(targets: Tensor) -> dict[str, Any]:
        """The classes of the training pictures.

        Raises:
            ValueError: if there is one only.
        """
        trained_on = targets.unique().tolist()
        if len(trained_on) < 2:
            raise ValueError("recognition learns from pictures of two classes or more, and there is one to train on")
        return {"trained_on": trained_on}

    @staticmethod
    def check_split(split: str, targets: Tensor) -> None:
        """Raise ValueError if the pictures, of classes (N,), have too few pairs to judge recognition on."""
        sizes = targets.bincount()
        same = int((sizes * (sizes - 1)).sum()) // 2
        different = len(targets) * (len(targets) - 1) // 2 - same
        if min(same, different) < 2:
            raise ValueError(
                f"the split {split!r} has {same} pairs of pictures of one class and {different} of different classes; "
                "recognition is judged on two of each or more, so give it more classes, or more pictures of each"
            )

    def for_training(self, network: nn.Module) -> nn.Module:
        """The network with a centre for each class trained on: it gives cosines (N, K)."""
        embedding, declared = self.embedding, cast(Any, network)
        if self.projection:
            embedding = getattr(declared.architecture, "hidden", declared.stages[-1].channels)
        return MarginNetwork(network, embedding, len(self.trained_on), self.projection)

    def fit(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        """Nothing is to be chosen: a threshold is fitted where pictures are compared, to those that are there."""
        return {}

    def columns(self, targets: Tensor) -> Tensor:
        """The columns (N,) of class numbers in the cosines."""
        return torch.searchsorted(self.trained_on.to(targets.device), targets)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Mean cross-entropy of cosines (N, K), with a margin and scaled."""
        columns = self.columns(batch.targets)
        logits = with_margin(outputs.float(), columns, self.margin, self.margin_size) * self.logit_scale
        return F.cross_entropy(logits, columns)

    def scored(self, outputs: Tensor, batch: Batch) -> Tensor:
        """How many pictures are nearest to the centre of their own class, ()."""
        return (outputs.argmax(1) == self.columns(batch.targets)).sum()

    def answers(self, outputs: Tensor) -> Tensor:
        """Embeddings (N, D) of length 1, whose products are cosines."""
        return F.normalize(outputs.float())

    def outputs_for(self, answers: Tensor) -> Tensor:
        """The embeddings themselves, or means of them, whose lengths do not matter."""
        return answers

    def prediction(self, answer: Tensor, top: int | None) -> dict[str, Any]:
        """The embedding, of length 1 even if it is a mean of several; all of it, whatever `top` is."""
        return {"embedding": tuple(F.normalize(answer, dim=0).tolist())}

    def evaluation(self, split: str, outputs: Tensor, targets: Tensor, names: Sequence[str]) -> Evaluation:
        """Judge the outputs (N, D) for a whole split.

        Raises:
            ValueError: if there are not two pairs of one class and two of different ones.
        """
        self.check_split(split, targets)
        embeddings = self.answers(outputs)
        pairs = pairs_of(embeddings, targets)
        nearest = nearest_others(embeddings)
        sizes = targets.bincount()[targets]
        same, similarity = pairs.same.numpy(), pairs.similarity.double().numpy()
        points = tuple(operating_point(similarity, same, far) for far in FARS.values())
        metrics = {
            "auc": float(roc_auc_score(same, similarity)),
            "accuracy": verification_accuracy(similarity, same),
            **{f"tar_at_far_{far}": point.tar for far, point in zip(FARS, points, strict=True)},
            "rank1": (targets[nearest] == targets)[sizes > 1].float().mean().item(),
            "count": float(len(targets)),
        }
        return Evaluation(split, self.classes, embeddings, targets, tuple(names), pairs, nearest, points, metrics)


def pairs_of(embeddings: Tensor, targets: Tensor) -> Pairs:
    """All pairs of pictures, or of more than a million half a million draws of each kind, always the same ones."""
    count = len(targets)
    if count * (count - 1) // 2 <= MOST_PAIRS:
        first, second = torch.triu_indices(count, count, 1)
    else:
        numbers = (uniform(0, 0, torch.arange(MOST_PAIRS), "pairs", 2).double() * count).long()
        first, second = numbers[:, 0], numbers[:, 1]
        by_class = targets.argsort(stable=True)
        sizes = targets.bincount()
        begins, sizes = (sizes.cumsum(0) - sizes)[targets], sizes[targets]
        ranks = torch.empty_like(by_class).scatter_(0, by_class, torch.arange(count)) - begins
        half = first[: MOST_PAIRS // 2]  # their partners: any other picture of the class
        step = 1 + second[: len(half)] % (sizes[half] - 1).clamp(min=1)
        second = torch.cat((by_class[begins[half] + (ranks[half] + step) % sizes[half]], second[len(half) :]))
        wanted = (targets[first] == targets[second]) == (torch.arange(MOST_PAIRS) < len(half))
        first, second = first[wanted & (first != second)], second[wanted & (first != second)]
    parts = zip(first.split(_ROWS), second.split(_ROWS), strict=True)
    similarity = torch.cat([(embeddings[i] * embeddings[j]).sum(1) for i, j in parts])
    return Pairs(first, second, targets[first] == targets[second], similarity)


def nearest_others(embeddings: Tensor) -> Tensor:
    """For each picture the position of the other one that is most alike, (N,)."""
    nearest = []
    for rows in torch.arange(len(embeddings)).split(_ROWS):
        similarity = embeddings[rows] @ embeddings.T
        similarity[torch.arange(len(rows)), rows] = -torch.inf
        nearest.append(similarity.argmax(1))
    return torch.cat(nearest)


def operating_point(similarity: NDArray[np.float64], same: NDArray[np.bool_], far: float) -> Point:
    """The threshold that accepts most pairs of one class while its rate of false accepts is at most `far`."""
    fars, tars, thresholds = roc_curve(same, similarity, drop_intermediate=False)
    index = int(np.searchsorted(fars, far + 1e-12, side="right")) - 1
    above_all = np.nextafter(np.float32(similarity.max()), np.float32(np.inf))  # where the curve begins at infinity
    threshold = min(float(thresholds[index]), float(above_all))
    different = int((~same).sum())
    return Point(far, threshold, float(tars[index]), round(fars[index] * different), different)


def verification_accuracy(similarity: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """The share of pairs that are told rightly, 0 to 1, each fold by the threshold that is best on the other nine.

    Pairs of one class and of different classes count alike, whatever their numbers: where there are equally many, as on
    Labeled Faces in the Wild, it is the share of all. There are fewer folds where there are fewer pairs of a kind.
    """
    folds = min(FOLDS, int(same.sum()), int((~same).sum()))
    fold = np.empty(len(same), dtype=np.int64)
    for kind in (same, ~same):
        fold[np.flatnonzero(kind)[permutation(0, 0, int(kind.sum())).numpy()]] = np.arange(kind.sum()) % folds
    right = np.empty(len(same), dtype=bool)
    for number in range(folds):
        held = fold == number
        threshold = best_threshold(similarity[~held], same[~held])
        right[held] = (similarity[held] >= threshold) == same[held]
    return float(right[same].mean() + right[~same].mean()) / 2


def best_threshold(similarity: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """The threshold by which both kinds of pairs are told best, halfway between two similarities."""
    fars, tars, thresholds = roc_curve(same, similarity, drop_intermediate=False)
    index = int((tars - fars)[1:].argmax()) + 1
    return float(thresholds[index] + thresholds[min(index + 1, len(thresholds) - 1)]) / 2


TASK = Recognition
