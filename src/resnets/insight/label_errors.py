"""Labels that are likely wrong, by confident learning (arXiv:1911.00068).

A picture is taken to be of a class where its probability is at least what that class's own pictures have on average,
so that classes of which the network is less sure are judged by their own measure. Probabilities must be of pictures
that the network was not trained on: it has learnt the wrong labels of those that it was.

Legend: N pictures, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from resnets.data.audit import readable
from resnets.data.opening import Data, reopen
from resnets.inference.predictor import Predictor
from resnets.insight.neighbours import Embedded, Sample, embed_pictures
from resnets.runs.run import Run
from resnets.tasks.multilabel import THRESHOLD
from resnets.training.folds import SUMMARY

TrainedOn = Literal["yes", "changed", "no"]
"""Whether a network was trained on a data set's training split: on the very same, on one that has changed since, or, as
far as the data's fingerprint tells, on none of it."""


@dataclass(frozen=True)
class LabelError:
    """A label that is likely wrong.

    Attributes:
        index: of the picture.
        given: its label, a class.
        suggested: the class that it is taken to be of.
        margin: the probability of that less the label's, -1 to 1; the surest have the largest.
    """

    index: int
    given: int
    suggested: int
    margin: float


@dataclass(frozen=True)
class LabelQuality:
    """What confident learning says of labels.

    Attributes:
        thresholds: (K,) the mean probability of each class over the pictures labelled so; nan where there is none.
        joint: (K, K) int64, the confident joint: pictures labelled with the row's class and taken to be of the
            column's. A picture that reaches no threshold is not counted.
        errors: the likely wrong labels, those off the joint's diagonal but for any that is the most probable class,
            the surest first.
    """

    thresholds: Tensor
    joint: Tensor
    errors: tuple[LabelError, ...]


def find_label_errors(probabilities: Tensor, labels: Tensor) -> LabelQuality:
    """The labels that are likely wrong (section 3.1 of the paper, pruning by the confident joint's off-diagonals).

    Args:
        probabilities: (N, K) out of sample.
        labels: (N,) int64.
    """
    count = probabilities.shape[1]
    probabilities = probabilities.double()
    own = probabilities[torch.arange(len(labels)), labels]
    sizes = labels.bincount(minlength=count)
    thresholds = torch.zeros(count, dtype=torch.float64).index_add(0, labels, own) / sizes
    reached = probabilities >= thresholds - 1e-12  # nan is never reached
    taken = torch.where(reached, probabilities, -1.0).argmax(1)
    counted = reached.any(1)
    joint = torch.zeros(count, count, dtype=torch.int64)
    joint.index_put_((labels[counted], taken[counted]), torch.tensor(1), accumulate=True)
    margins = probabilities[torch.arange(len(labels)), taken] - own
    wrong = (counted & (taken != labels) & (probabilities.argmax(1) != labels)).nonzero().flatten()
    surest = wrong[margins[wrong].argsort(descending=True, stable=True)].tolist()
    errors = [LabelError(index, int(labels[index]), int(taken[index]), float(margins[index])) for index in surest]
    return LabelQuality(thresholds, joint, tuple(errors))


@dataclass(frozen=True)
class Suspect:
    """A sample whose label is likely wrong.

    Attributes:
        sample: the picture.
        given, suggested: the label, and what it is taken to be; of any number of classes, "X" and "not X".
        probability: of the label.
        margin: how much more probable the suggestion is, -1 to 1.
    """

    sample: Sample
    given: str
    suggested: str
    probability: float
    margin: float


@dataclass(frozen=True)
class JudgedLabels:
    """What is to be said of the labels of a data set.

    Attributes:
        how: by which probabilities, in words.
        count: of the pictures judged.
        suspects: the surest first.
    """

    how: str
    count: int
    suspects: tuple[Suspect, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it, in JSON's types."""
        suspects = [
            {"name": each.sample.name, "split": each.sample.split}
            | {name: getattr(each, name) for name in ("given", "suggested", "probability", "margin")}
            for each in self.suspects
        ]
        return {"how": self.how, "count": self.count, "suspects": suspects}


def judge_labels(
    data: Data, embedded: Mapping[str, Embedded], trained_on: TrainedOn, folds: Path | None
) -> JudgedLabels:
    """Look for wrong labels of classes, each split by itself.

    Args:
        data: with the splits that are looked at.
        embedded: the splits, with a network's answers.
        trained_on: whether that network was trained on the data's training split, whose labels it then cannot judge.
        folds: the folder of a cross-validation on the same data, whose networks judge the pictures they left out.

    Raises:
        ValueError: if the cross-validation is of other data, or not finished.
    """
    judged = {split: [part] for split, part in embedded.items() if trained_on == "no" or split != "train"}
    how = f"Judged are pictures that the network was not trained on ({', '.join(judged)}), by its own probabilities."
    if trained_on == "no":
        how += " As far as its fingerprint tells, the data is not what it was trained on."
    elif trained_on == "changed":
        how += " The data has changed since, and a few of them may have been among those that it was trained on."
    if folds is not None:
        judged.pop("val", None)
        judged["train"] = answers_of_folds(data, folds)
        how = "Judged are training and validation pictures, each by the network that was trained without its fold"
        how += ", and test pictures by this one." if len(judged) > 1 else "."
    elif trained_on != "no":
        how += " Those that it was trained on need a cross-validation: resnets train --folds, then --folds here."
    suspects = [suspect for parts in judged.values() for suspect in suspects_of(parts, data.task)]
    count = sum(len(part.pictures) for parts in judged.values() for part in parts)
    return JudgedLabels(how, count, tuple(sorted(suspects, key=lambda suspect: -suspect.margin)))


def suspects_of(parts: Sequence[Embedded], task: str) -> list[Suspect]:
    """The likely wrong labels of pictures that are judged together; each class by itself where there is any number."""
    classes = parts[0].pictures.classes
    samples = [Sample(part.pictures, index) for part in parts for index in range(len(part.pictures))]
    targets = torch.cat([part.pictures.targets for part in parts])
    answers = torch.cat([part.answers for part in parts])
    tables = [(answers, targets, classes)]
    if task == "multilabel":
        has = (targets >= THRESHOLD).long()
        tables = [
            (torch.stack([1 - answers[:, k], answers[:, k]], 1), has[:, k], (f"not {name}", name))
            for k, name in enumerate(classes)
        ]
    return [
        Suspect(
            samples[error.index],
            names[error.given],
            names[error.suggested],
            probabilities[error.index, error.given].item(),
            error.margin,
        )
        for probabilities, labels, names in tables
        for error in find_label_errors(probabilities, labels).errors
    ]


def answers_of_folds(data: Data, folder: Path) -> list[Embedded]:
    """The folds of a cross-validation, each as the network answers it that was trained without it.

    Raises:
        FileNotFoundError: if the folder holds none.
        ValueError: if it is of other data, or not finished.
    """
    summary = folder / SUMMARY
    if not summary.is_file():
        raise FileNotFoundError(f"{folder} holds no cross-validation; `resnets train --folds` makes one")
    parts = []
    for number in range(1, json.loads(summary.read_text(encoding="utf-8"))["folds"] + 1):
        run = Run(folder / f"fold{number}")
        card = run.card()
        if card.data["fingerprint"] != data.fingerprint:
            raise ValueError(
                f"{folder} is no cross-validation of {data.source} as it is now; make one with "
                f"`resnets train {data.source} --folds 5`, and name its folder with --folds"
            )
        left_out = reopen({**card.data, "source": data.source})
        left_out = readable(replace(left_out, splits={"val": left_out.splits["val"]}), 1.0)  # as few as training found
        parts.append(embed_pictures(Predictor(run.folder), left_out.splits["val"]))
    return parts
