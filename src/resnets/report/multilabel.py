"""The report of a network that tells any number of classes: how well each is found, and its surest mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from resnets.report.curves import LEARNING_RATE, LOSS, Chart, curves_section
from resnets.report.page import Number, Section, percent, render, thousands, write_page
from resnets.report.pictures import Picture, embed
from resnets.tasks.multilabel import THRESHOLD, Evaluation

ERROR = Chart("Pictures with a mistake", "exact", complement=True, percent=True, best=min)
_MISTAKES = 24


@dataclass(frozen=True)
class _Mistake:
    picture: Picture
    name: str
    label: str
    there: bool
    probability: float
    truth: tuple[str, ...]


def write_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    evaluation: Evaluation,
    picture: Callable[[int], Tensor],
) -> None:
    """Write the report to `path`: one HTML file that needs no other.

    Args:
        path: the file to write; its folder must be there.
        title: the heading.
        facts: label -> value, in order: the network, the data, the recipe, the command...
        history: one row an epoch with `epoch` and any of `lr`, `{train,val,test}_loss` and `{train,val,test}_exact`.
        evaluation: the answers to the pictures that the network is judged on.
        picture: from a sample's position to its uint8 (C, H, W).
    """
    sections = (
        curves_section(history, (LOSS, ERROR, LEARNING_RATE)),
        _classes_section(evaluation),
        _mistakes_section(evaluation, picture),
    )
    split = {"train": "training", "val": "validation"}.get(evaluation.split, evaluation.split)
    write_page(
        path,
        title=title,
        subtitle=f"On {thousands(len(evaluation.targets))} samples of the {split} split, "
        f"{thousands(len(evaluation.classes))} classes, any number a picture",
        numbers=_numbers(evaluation),
        facts=facts,
        sections=[section for section in sections if section is not None],
    )


def _numbers(evaluation: Evaluation) -> list[Number]:
    metrics, commonest = evaluation.metrics, evaluation.targets.mean(0)
    chance = commonest[commonest > 0].mean().item()
    return [
        Number("Mean average precision", percent(metrics["map"]), f"guessing would have {percent(chance)}"),
        Number("F1", percent(metrics["f1"]), "mean of the classes, at their thresholds"),
        Number("Micro F1", percent(metrics["micro_f1"]), "of all pairs of sample and class"),
        Number("All classes right", percent(metrics["exact"]), "share of the samples"),
    ]


def _classes_section(evaluation: Evaluation) -> Section:
    weakest_first = sorted(evaluation.each.items(), key=lambda item: (item[1].ap is None, item[1].ap))
    fitted = any(scores.threshold != THRESHOLD for scores in evaluation.each.values())
    body = render("multilabel/classes.html", each=weakest_first, fitted=fitted)
    return Section("classes", "Every class", body)


def _mistakes_section(evaluation: Evaluation, picture: Callable[[int], Tensor]) -> Section:
    true = evaluation.targets >= THRESHOLD
    thresholds = torch.tensor([evaluation.each[name].threshold for name in evaluation.classes])
    wrong = (evaluation.probabilities >= thresholds) != true
    surest = torch.where(wrong, (evaluation.probabilities - thresholds).abs(), -1.0).flatten()
    mistakes = []
    for position in surest.argsort(descending=True, stable=True)[: min(_MISTAKES, int(wrong.sum()))].tolist():
        index, label = divmod(position, len(evaluation.classes))
        mistakes.append(
            _Mistake(
                picture=embed(picture(index)),
                name=evaluation.names[index],
                label=evaluation.classes[label],
                there=bool(true[index, label]),
                probability=float(evaluation.probabilities[index, label]),
                truth=tuple(name for name, has in zip(evaluation.classes, true[index].tolist(), strict=True) if has),
            )
        )
    return Section("mistakes", "Surest mistakes", render("multilabel/mistakes.html", mistakes=mistakes))
