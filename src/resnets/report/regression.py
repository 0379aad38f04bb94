"""The report of a regression: how far its numbers are from the truth, and where they are farthest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure
from torch import Tensor

from resnets.report import figures
from resnets.report.curves import LEARNING_RATE, LOSS, Chart, curves_section
from resnets.report.page import Number, Section, render, thousands, write_page
from resnets.report.pictures import Picture, embed
from resnets.tasks.regression import Evaluation

MAE = Chart("Mean absolute error", "mae", best=min)
_MISTAKES = 24
_CHARTS = 12  # numbers up to which each gets a chart
_BINS = 30


@dataclass(frozen=True)
class _Mistake:
    picture: Picture
    name: str
    output: str
    value: str
    target: str


def write_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    evaluation: Evaluation,
    picture: Callable[[int], Tensor],
) -> None:
    """Write a regression's report to `path`: one HTML file that needs no other.

    Args:
        path: the file to write; its folder must be there.
        title: the heading.
        facts: label -> value, in order: the network, the data, the recipe, the command...
        history: one row an epoch with `epoch` and any of `lr`, `{train,val,test}_loss` and `{train,val,test}_mae`.
        evaluation: the answers to the pictures that the network is judged on.
        picture: from a sample's position to its uint8 (C, H, W).
    """
    sections = (
        curves_section(history, (LOSS, MAE, LEARNING_RATE)),
        _scatter_section(evaluation),
        _outputs_section(evaluation) if len(evaluation.outputs) > 1 else None,
        _mistakes_section(evaluation, picture),
    )
    count = len(evaluation.targets)
    split = {"train": "training", "val": "validation"}.get(evaluation.split, evaluation.split)
    what = evaluation.outputs[0] if len(evaluation.outputs) == 1 else f"{len(evaluation.outputs)} numbers"
    write_page(
        path,
        title=title,
        subtitle=f"{what}, on {thousands(count)} samples of the {split} split",
        numbers=_numbers(evaluation),
        facts=facts,
        sections=[section for section in sections if section is not None],
    )


def _numbers(evaluation: Evaluation) -> list[Number]:
    metrics = evaluation.metrics
    spread = (evaluation.targets - evaluation.targets.mean(0)).abs().mean().item()
    of = "" if len(evaluation.outputs) == 1 else f"mean of {len(evaluation.outputs)} numbers"
    return [
        Number("R²", f"{metrics['r2']:.3f}", of or "1 is perfect, 0 is always answering the mean"),
        Number("Mean absolute error", f"{metrics['mae']:.4g}", of),
        Number("Root mean squared error", f"{metrics['rmse']:.4g}", of),
        Number("Mean baseline", f"{spread:.4g}", "mean absolute error of always answering the mean"),
    ]


def _scatter_section(evaluation: Evaluation) -> Section:
    charts = []
    for number, name in enumerate(evaluation.outputs[:_CHARTS]):
        targets, values = evaluation.targets[:, number].tolist(), evaluation.values[:, number].tolist()
        r2 = evaluation.each[name]["r2"]
        description = (
            f"Answers against the truth for {len(targets)} pictures, R squared {r2:.3f}; beside it their errors"
        )
        charts.append((name, _draw(targets, values, number, description)))
    body = render("regression/scatter.html", charts=charts, each=evaluation.each)
    return Section("scatter", "Answers and truth", body)


def _draw(targets: Sequence[float], values: Sequence[float], number: int, description: str) -> Markup:
    paint = partial(_paint, targets, values)
    return figures.draw(paint, name=f"scatter{number}", description=description, width=760, height=330)


def _paint(targets: Sequence[float], values: Sequence[float], figure: Figure) -> None:
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    low, high = min(*targets, *values), max(*targets, *values)
    margin = 0.04 * (high - low or 1.0)
    left.plot([low, high], [low, high], "--", color=figures.MUTED, linewidth=1)
    left.plot(targets, values, "o", color=figures.BLUE, alpha=0.45, markersize=4, markeredgewidth=0)
    left.set(xlabel="truth", ylabel="answer", xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
    errors = [value - target for value, target in zip(values, targets, strict=True)]
    right.hist(errors, bins=min(_BINS, max(5, len(errors) // 4)), color=figures.BLUE, alpha=0.55, linewidth=0)
    right.axvline(0, color=figures.MUTED, linestyle="--", linewidth=1)
    right.set(xlabel="error", ylabel="samples")


def _outputs_section(evaluation: Evaluation) -> Section:
    return Section("outputs", "Errors by number", render("regression/outputs.html", each=evaluation.each))


def _mistakes_section(evaluation: Evaluation, picture: Callable[[int], Tensor]) -> Section:
    errors = (evaluation.values - evaluation.targets).abs() / evaluation.targets.std(0).clamp(min=1e-9)  # (N, T)
    worst, numbers = errors.max(1)
    mistakes = []
    for index in worst.argsort(descending=True, stable=True)[:_MISTAKES].tolist():
        number = int(numbers[index])
        mistakes.append(
            _Mistake(
                picture=embed(picture(index)),
                name=evaluation.names[index],
                output=evaluation.outputs[number],
                value=f"{evaluation.values[index, number]:.4g}",
                target=f"{evaluation.targets[index, number]:.4g}",
            )
        )
    body = render("regression/mistakes.html", mistakes=mistakes, outputs=evaluation.outputs)
    return Section("mistakes", "Largest errors", body)
