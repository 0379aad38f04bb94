"""The report of a recogniser: how well it tells pictures of one class from those of others, and which it confuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray
from sklearn.metrics import roc_curve
from torch import Tensor

from resnets.report import figures
from resnets.report.curves import LEARNING_RATE, LOSS, Chart, curves_section
from resnets.report.page import Number, Section, render, thousands, write_page
from resnets.report.pictures import Picture, embed
from resnets.tasks.recognition import FARS, Evaluation

RANK1 = Chart("Rank-1 error", "rank1", complement=True, percent=True, best=min)
AUC = Chart("1 - ROC AUC", "auc", complement=True, best=min)
_PAIRS = 12
_BINS = 60


@dataclass(frozen=True)
class _Pair:
    pictures: tuple[Picture, Picture]
    names: tuple[str, str]
    classes: tuple[str, str]
    similarity: float


def write_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    evaluation: Evaluation,
    picture: Callable[[int], Tensor],
) -> None:
    """Write a recogniser's report to `path`: one HTML file that needs no other, with pictures of the hardest pairs.

    Args:
        path: the file to write; its folder must be there.
        title: the heading.
        facts: label -> value, in order: the network, the data, the recipe, the command...
        history: one row an epoch with `epoch` and any of `lr`, `train_loss`, `{train,val,test}_rank1` and
            `{val,test}_auc`.
        evaluation: the embeddings of the pictures that the network is judged on.
        picture: from a sample's position to its uint8 (C, H, W).
    """
    sections = (
        curves_section(history, (LOSS, RANK1, AUC, LEARNING_RATE)),
        _pairs_section(evaluation),
        _hardest_section(evaluation, picture),
        _classes_section(evaluation),
    )
    count, classes = len(evaluation.targets), len(evaluation.targets.unique())
    split = {"train": "training", "val": "validation"}.get(evaluation.split, evaluation.split)
    write_page(
        path,
        title=title,
        subtitle=f"On {thousands(count)} samples of the {split} split, {thousands(classes)} classes",
        numbers=_numbers(evaluation),
        facts=facts,
        sections=[section for section in sections if section is not None],
    )


def _numbers(evaluation: Evaluation) -> list[Number]:
    metrics, same = evaluation.metrics, int(evaluation.pairs.same.sum())
    different = len(evaluation.pairs.same) - same
    return [
        Number("ROC AUC", f"{metrics['auc']:.4f}", "1 is perfect, 0.5 is chance"),
        Number(
            "TAR at FAR 1e-2",
            f"{metrics['tar_at_far_1e-2']:.1%}",
            "pairs of one class that are accepted while 1\u00a0% of the others are",
        ),
        Number("Verification", f"{metrics['accuracy']:.1%}", "pairs told rightly, in ten folds"),
        Number("Rank-1", f"{metrics['rank1']:.1%}", "the most alike picture is of the same class"),
        Number("Pairs", thousands(same + different), f"{thousands(same)} of one class"),
    ]


def _pairs_section(evaluation: Evaluation) -> Section:
    same, similarity = evaluation.pairs.same.numpy(), evaluation.pairs.similarity.numpy()
    fars, tars, _ = roc_curve(same, similarity)
    told = "; ".join(f"{point.tar:.1%} at {point.far:g}" for point in evaluation.points)
    curve = figures.draw(
        partial(_paint_curve, fars, tars, evaluation),
        name="roc",
        description=f"ROC curve, the share of pairs of one class accepted by the rate of false accepts: {told}",
        height=300,
    )
    spread = figures.draw(
        partial(_paint_similarities, similarity, same),
        name="similarities",
        description="Similarities of pairs: of one class "
        f"{similarity[same].mean():.2f} in the mean, of different classes {similarity[~same].mean():.2f}",
        height=300,
    )
    charts = (("ROC curve", curve), ("Similarities", spread))
    body = render("recognition/pairs.html", charts=charts, points=evaluation.points)
    return Section("pairs", "Pairs of pictures", body)


def _paint_curve(fars: NDArray[np.float64], tars: NDArray[np.float64], evaluation: Evaluation, figure: Figure) -> None:
    axes = figure.add_subplot()
    least = min(FARS.values())
    at = np.concatenate(([least], fars[fars > least]))
    axes.plot(
        at,
        np.concatenate(([tars[fars <= least].max()], tars[fars > least])),
        color=figures.BLUE,
        drawstyle="steps-post",
    )
    axes.plot(
        [point.far for point in evaluation.points],
        [point.tar for point in evaluation.points],
        "o",
        color=figures.BLUE,
        markersize=5,
        clip_on=False,
    )
    chance = np.geomspace(least, 1)
    axes.plot(chance, chance, "--", color=figures.MUTED, linewidth=1)
    axes.set(xscale="log", xlim=(least, 1), ylim=(0, 1.02), xlabel="false accepts (FAR)", ylabel="true accepts (TAR)")
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))


def _paint_similarities(similarity: NDArray[np.float32], same: NDArray[np.bool_], figure: Figure) -> None:
    axes = figure.add_subplot()
    bins = np.linspace(float(similarity.min()), float(similarity.max()), _BINS).tolist()
    for kind, colour, label in ((~same, figures.ORANGE, "different classes"), (same, figures.BLUE, "one class")):
        weights = np.full(int(kind.sum()), 1 / kind.sum())
        axes.hist(similarity[kind], bins=bins, weights=weights, color=colour, alpha=0.5, linewidth=0, label=label)
    axes.set(xlabel="similarity (cosine)", ylabel="share of the pairs")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.legend(frameon=False)


def _hardest_section(evaluation: Evaluation, picture: Callable[[int], Tensor]) -> Section:
    pairs = evaluation.pairs
    groups = []
    for kind in (True, False):
        numbers = (pairs.same == kind).nonzero().flatten()
        order = pairs.similarity[numbers].argsort(descending=not kind, stable=True)[:_PAIRS]
        groups.append([_pair(evaluation, number, picture) for number in numbers[order].tolist()])
    body = render("recognition/hardest.html", same=groups[0], different=groups[1])
    return Section("hardest", "The hardest pairs", body)


def _pair(evaluation: Evaluation, number: int, picture: Callable[[int], Tensor]) -> _Pair:
    first, second = int(evaluation.pairs.first[number]), int(evaluation.pairs.second[number])
    return _Pair(
        (embed(picture(first)), embed(picture(second))),
        (evaluation.names[first], evaluation.names[second]),
        (evaluation.classes[evaluation.targets[first]], evaluation.classes[evaluation.targets[second]]),
        float(evaluation.pairs.similarity[number]),
    )


def _classes_section(evaluation: Evaluation) -> Section:
    weakest_first = sorted(evaluation.per_class().items(), key=lambda item: (item[1]["rank1"], item[1]["least_alike"]))
    return Section("classes", "Every class", render("recognition/classes.html", classes=weakest_first))
