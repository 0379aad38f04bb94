"""The report of a classifier: what it gets right, what it mistakes for what, and how sure it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import confusion_matrix
from torch import Tensor

from resnets.report import figures
from resnets.report.curves import ERROR, LEARNING_RATE, LOSS, curves_section
from resnets.report.page import Number, Section, percent, render, thousands, write_page
from resnets.report.pictures import Picture, data_address, embed
from resnets.report.scores import (
    ConfidenceBin,
    class_scores,
    confidence_bins,
    confusions,
    wilson_interval,
)
from resnets.tasks.classification import CALIBRATION_BINS, Evaluation

_LABELLED = 20  # classes up to which every cell of the confusion matrix carries its count
_MAPPED = 100  # classes up to which the matrix is drawn at all
_PAIRS = 12
_MISTAKES = 24
_BLUE, _ORANGE = (0x2B, 0x7F, 0xC4), (0xDD, 0x6B, 0x20)  # both stand out on white and on near-black


@dataclass(frozen=True)
class _Answers:
    """An evaluation's most probable classes: all of (N,), on the CPU."""

    targets: Tensor
    predictions: Tensor
    confidences: Tensor
    correct: Tensor


@dataclass(frozen=True)
class _Mistake:
    picture: Picture
    name: str
    true: str
    predicted: str
    confidence: float
    confidence_in_true: float


def write_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    evaluation: Evaluation,
    picture: Callable[[int], Tensor],
) -> None:
    """Write a classifier's report to `path`: one HTML file that needs no other.

    Args:
        path: the file to write; its folder must be there.
        title: the heading.
        facts: label -> value, in order: the network, the data, the recipe, the command...
        history: one row an epoch with `epoch` and any of `lr`, `{train,val,test}_loss` and
            `{train,val,test}_accuracy`; it may be empty, and any column may be missing in any row.
        evaluation: the answers on the split that the report is about.
        picture: sample number of the evaluation -> its picture, (1 or 3, H, W) uint8.

    Raises:
        ValueError: where the evaluation holds no sample.
    """
    if len(evaluation.targets) == 0:
        raise ValueError(f"A report needs at least one evaluated sample; the split {evaluation.split!r} has none")
    confidences, predictions = evaluation.probabilities.detach().cpu().max(dim=1)
    targets = evaluation.targets.cpu()
    answers = _Answers(targets, predictions, confidences, predictions == targets)
    sections = (
        curves_section(history, (LOSS, ERROR, LEARNING_RATE)),
        _confusion_section(evaluation, answers),
        _classes_section(evaluation, answers),
        _calibration_section(evaluation, answers),
        _mistakes_section(evaluation, answers, picture),
    )
    count, kinds = len(targets), len(evaluation.classes)
    split = {"train": "training", "val": "validation"}.get(evaluation.split, evaluation.split)
    write_page(
        path,
        title=title,
        subtitle=f"On {thousands(count)} sample{'s' * (count != 1)} of the {split} split, {thousands(kinds)} classes",
        numbers=_numbers(evaluation, answers),
        facts=facts,
        sections=[section for section in sections if section is not None],
    )


def _numbers(evaluation: Evaluation, answers: _Answers) -> list[Number]:
    metrics, classes = evaluation.metrics, evaluation.classes
    count, right = len(answers.targets), int(answers.correct.sum())
    digits = 2 if count >= 1000 else 1
    low, high = wilson_interval(right, count)
    numbers = [
        Number(
            "Accuracy",
            percent(metrics["accuracy"], digits),
            f"{thousands(right)} of {thousands(count)} right; "
            f"95\u00a0% interval {100 * low:.{digits}f}\u00a0to\u00a0{100 * high:.{digits}f}\u00a0%",
        )
    ]
    if len(classes) > 5:
        numbers.append(Number("Top-5 accuracy", percent(metrics["top5"], digits), "the truth among five answers"))
    commonest = int(torch.bincount(answers.targets).max())
    return [
        *numbers,
        Number("Loss", f"{metrics['loss']:.3g}", "lower is better"),
        Number("Calibration error", percent(metrics["ece"]), _trust(answers)),
        Number(
            "Majority baseline",
            percent(commonest / count),
            "always answering the commonest class",
        ),
    ]


def _trust(answers: _Answers) -> str:
    """In words, how the mean confidence compares with the accuracy."""
    gap = float(answers.confidences.double().mean()) - float(answers.correct.double().mean())
    if abs(gap) < 0.005:
        return "as sure as it is right, on the whole"
    return f"{'over' if gap > 0 else 'under'}-confident by {100 * abs(gap):.1f} points"


def _confusion_section(evaluation: Evaluation, answers: _Answers) -> Section:
    classes = evaluation.classes
    matrix = confusion_matrix(answers.targets.numpy(), answers.predictions.numpy(), labels=range(len(classes)))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    body = render(
        "classification/confusion.html",
        classes=classes,
        matrix=matrix.tolist() if len(classes) <= _LABELLED else None,
        shades=np.sqrt(shares).tolist(),
        heat_map=_heat_map(shares) if _LABELLED < len(classes) <= _MAPPED else None,
        pairs=confusions(classes, matrix, _PAIRS),
    )
    return Section("confusion", "Confusion matrix", body)


def _heat_map(shares: NDArray[np.float64]) -> str:
    """One pixel a cell, as a data address: blue on the diagonal, orange off it, clear where empty."""
    cells = np.zeros((*shares.shape, 4), dtype=np.uint8)
    cells[..., :3] = _ORANGE
    cells[np.diag_indices(len(shares))] = (*_BLUE, 0)
    cells[..., 3] = np.ceil(255 * np.sqrt(shares))
    return data_address(Image.fromarray(cells, "RGBA"), "PNG")


def _classes_section(evaluation: Evaluation, answers: _Answers) -> Section:
    scores = class_scores(evaluation.classes, answers.targets, answers.predictions)
    weakest_first = sorted(scores, key=lambda score: 2.0 if score.f1 is None else score.f1)
    means = {
        quantity: [value for score in scores if (value := getattr(score, quantity)) is not None]
        for quantity in ("precision", "recall", "f1")
    }
    body = render(
        "classification/classes.html",
        scores=weakest_first,
        means={quantity: sum(values) / len(values) for quantity, values in means.items()},
        count=len(answers.targets),
    )
    return Section("classes", "Precision and recall by class", body)


def _calibration_section(evaluation: Evaluation, answers: _Answers) -> Section:
    bins = confidence_bins(answers.confidences, answers.correct, CALIBRATION_BINS)
    body = render(
        "classification/calibration.html",
        diagram=_reliability_diagram(bins),
        bins=bins,
        bin_count=CALIBRATION_BINS,
        ece=evaluation.metrics["ece"],
        confidence=float(answers.confidences.double().mean()),
        accuracy=evaluation.metrics["accuracy"],
        trust=_trust(answers),
    )
    return Section("calibration", "Calibration", body)


def _reliability_diagram(bins: Sequence[ConfidenceBin]) -> Markup:
    description = "Reliability diagram, accuracy by confidence: " + "; ".join(
        f"{percent(item.accuracy)} right of {item.count} at {percent(item.confidence)}" for item in bins
    )
    return figures.draw(partial(_paint_reliability, bins), name="reliability", description=description, height=400)


def _paint_reliability(bins: Sequence[ConfidenceBin], figure: Figure) -> None:
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    left, width = [item.low for item in bins], [item.high - item.low for item in bins]
    confidence, accuracy = [item.confidence for item in bins], [item.accuracy for item in bins]
    spread = [
        [item.accuracy - item.interval[0] for item in bins],
        [item.interval[1] - item.accuracy for item in bins],
    ]
    upper.plot([0, 1], [0, 1], "--", color=figures.MUTED, linewidth=1)
    upper.bar(left, accuracy, width, align="edge", color=figures.BLUE, alpha=0.18, linewidth=0)
    upper.errorbar(
        confidence,
        accuracy,
        np.maximum(spread, 0),
        fmt="o",
        color=figures.BLUE,
        markersize=4.5,
        elinewidth=1.4,
        clip_on=False,
    )
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    lower.bar(left, [item.count for item in bins], width, align="edge", color=figures.BLUE, alpha=0.55, linewidth=0)
    lower.set(
        yscale="log",
        ylim=(0.7, 1.6 * max(item.count for item in bins)),
        xlabel="confidence",
        ylabel="samples",
    )
    lower.minorticks_off()
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", " ")))
    for axis in (upper.xaxis, lower.xaxis, upper.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))


def _mistakes_section(evaluation: Evaluation, answers: _Answers, picture: Callable[[int], Tensor]) -> Section:
    wrong = (~answers.correct).nonzero().flatten()
    surest = wrong[answers.confidences[wrong].argsort(descending=True, stable=True)][:_MISTAKES]
    mistakes = []
    for index in surest.tolist():
        true, predicted = int(answers.targets[index]), int(answers.predictions[index])
        mistakes.append(
            _Mistake(
                picture=embed(picture(index)),
                name=evaluation.names[index],
                true=evaluation.classes[true],
                predicted=evaluation.classes[predicted],
                confidence=float(answers.confidences[index]),
                confidence_in_true=float(evaluation.probabilities[index, true]),
            )
        )
    body = render("classification/mistakes.html", mistakes=mistakes, count=len(wrong))
    return Section("mistakes", "Most confident mistakes", body)
