"""The curves of a training: how each quantity went from epoch to epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite, log10

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from resnets.report import figures
from resnets.report.page import Section, render

Row = Mapping[str, float]


@dataclass(frozen=True)
class Chart:
    """What one chart of the curves shows.

    Attributes:
        title: its heading.
        quantity: the history's column without its split: "loss" finds train_loss, val_loss and test_loss.
        complement: whether 1 - value is drawn: the error, of an accuracy.
        percent: whether the values are shares, drawn in percent.
        linear: whether the axis is never logarithmic.
        best: `min` or `max`, which names the best epoch; None where there is no better.
    """

    title: str
    quantity: str
    complement: bool = False
    percent: bool = False
    linear: bool = False
    best: Callable[[Iterable[float]], float] | None = None


LOSS = Chart("Loss", "loss", best=min)
ERROR = Chart("Error", "accuracy", complement=True, percent=True, best=min)
LEARNING_RATE = Chart("Learning rate", "lr", linear=True)


@dataclass(frozen=True)
class _Split:
    """A column's prefix, what a reader calls it, and how its curve looks (dashes tell it without colour)."""

    prefix: str
    label: str
    colour: str
    variable: str
    dashes: str


_SPLITS = (
    _Split("", "", figures.MUTED, "muted", "-"),
    _Split("train_", "training", figures.BLUE, "blue", "-"),
    _Split("test_", "test", figures.GREEN, "green", "-."),
    _Split("val_", "validation", figures.ORANGE, "orange", "--"),  # last: the best epoch is chosen on it
)

_WIDE = 4.0  # the ratio of largest to smallest value from which a logarithmic axis tells more
_MARKED = 30  # epochs up to which each point is marked


@dataclass(frozen=True)
class _Curve:
    split: _Split
    epochs: list[float]
    values: list[float]


def curves_section(history: Sequence[Row], charts: Sequence[Chart]) -> Section | None:
    """The section of the curves, or None where the history holds none of the charts' quantities.

    Args:
        history: one row an epoch, column -> value, with `epoch` in each; any other column may be missing
            or not finite in any row.
        charts: what to draw, in order; those without a value are left out.
    """
    drawn = [(chart, curves) for chart in charts if (curves := _curves(history, chart))]
    if not drawn:
        return None
    seen = {curve.split for _, curves in drawn for curve in curves if curve.split.label}
    columns = list(dict.fromkeys(key for row in history for key in row))
    body = render(
        "curves.html",
        charts=[(chart.title, _draw(chart, curves), _remark(chart, curves)) for chart, curves in drawn],
        splits=[split for split in _SPLITS if split in seen],
        columns=columns,
        rows=[[_cell(row.get(column)) for column in columns] for row in history],
    )
    return Section("curves", "Learning curves", body)


def _curves(history: Sequence[Row], chart: Chart) -> list[_Curve]:
    curves = []
    for split in _SPLITS:
        column = split.prefix + chart.quantity
        points = [
            (row["epoch"], _shown(chart, row[column])) for row in history if column in row and isfinite(row[column])
        ]
        if points:
            curves.append(_Curve(split, [epoch for epoch, _ in points], [value for _, value in points]))
    return curves


def _shown(chart: Chart, value: float) -> float:
    return (1 - value if chart.complement else value) * (100 if chart.percent else 1)


def _format(chart: Chart, value: float) -> str:
    return f"{value:.2f}\u00a0%" if chart.percent else f"{value:.3g}"


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _remark(chart: Chart, curves: list[_Curve]) -> str:
    """The best epoch on pictures kept from training; where none is better, how high it went."""
    curve = curves[-1]
    best, last = (chart.best or max)(curve.values), _format(chart, curve.values[-1])
    if chart.best is None:
        return f"highest {_format(chart, best)}, last {last}"
    if best == curve.values[-1]:
        return f"best {curve.split.label} {last}, in the last epoch"
    epoch = curve.epochs[curve.values.index(best)]
    return f"best {curve.split.label} {_format(chart, best)} in epoch {epoch:g}, last {last}"


def _draw(chart: Chart, curves: list[_Curve]) -> Markup:
    description = f"{chart.title} by epoch: " + "; ".join(
        f"{curve.split.label} {_format(chart, curve.values[0])} to {_format(chart, curve.values[-1])}".strip()
        for curve in curves
    )
    return figures.draw(partial(_paint, chart, curves), name=f"curve-{chart.quantity}", description=description)


def _paint(chart: Chart, curves: list[_Curve], figure: Figure) -> None:
    axes = figure.add_subplot()
    for curve in curves:
        marker = "o" if len(curve.epochs) <= _MARKED else None
        axes.plot(
            curve.epochs,
            curve.values,
            curve.split.dashes,
            color=curve.split.colour,
            marker=marker,
            markersize=3.5,
            markeredgewidth=0,
        )
    _epoch_axis(axes, [epoch for curve in curves for epoch in curve.epochs])
    _value_axis(axes, chart, curves)


def _epoch_axis(axes: Axes, epochs: list[float]) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    axes.grid(visible=False, axis="x")
    margin = max(0.5, 0.02 * (max(epochs) - min(epochs)))
    axes.set_xlim(min(epochs) - margin, max(epochs) + margin)


def _value_axis(axes: Axes, chart: Chart, curves: list[_Curve]) -> None:
    unit = " %" if chart.percent else ""
    values = [value for curve in curves for value in curve.values]
    positive = [value for value in values if value > 0]
    all_in_sight = all(max(curve.values) > 0 for curve in curves)
    wide = positive and max(positive) / min(positive) > _WIDE
    if wide and all_in_sight and min(values) >= 0 and not chart.linear:
        # A zero has no place on this axis: its curve leaves through the lower edge.
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(min(positive) / 1.3, max(positive) * 1.3)
        decades = log10(max(positive) / min(positive))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,), numticks=9))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif min(values) >= 0:
        axes.set_ylim(0, 1.1 * max(values) or 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}{unit}"))
