"""Figures and tables that set several networks beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from resnets.report import figures
from resnets.report.page import render

RESIDUAL, PLAIN, OTHER = figures.BLUE, figures.ORANGE, figures.GREEN
"""The colour of each kind of network, the same on every page."""


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        label: in the legend; curves of one label share its entry.
        x, y: its points.
        colour: one of `report.figures`.
        dashes: matplotlib's, "-", "--", "-." or ":".
        strength: opacity, by which curves of one colour are told apart.
        marker: matplotlib's, or none.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    dashes: str = "-"
    strength: float = 1.0
    marker: str = ""


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title: its heading.
        lines: its curves.
        x_label, y_label: of its axes.
        logarithmic: whether the vertical axis is.
        top: of the vertical axis, where it is given.
    """

    title: str
    lines: Sequence[Line]
    x_label: str
    y_label: str
    logarithmic: bool = False
    top: float | None = None


def strengths(count: int) -> list[float]:
    """Opacities for so many curves of one colour, the last in full."""
    return [1.0 if count == 1 else 0.35 + 0.65 * index / (count - 1) for index in range(count)]


def charts(panels: Sequence[Panel], remark: str = "") -> Markup:
    """The panels side by side, under a remark on how to read them."""
    drawn = [(panel.title, _draw(panel, f"chart{number}")) for number, panel in enumerate(panels)]
    return render("studies/charts.html", charts=drawn, remark=remark)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], remark: str = "") -> Markup:
    """A table whose first column says what the row is about."""
    return render("studies/table.html", headings=headings, rows=rows, remark=remark)


def _draw(panel: Panel, name: str) -> Markup:
    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for line in panel.lines:
            axes.plot(
                line.x,
                line.y,
                label=line.label,
                color=line.colour,
                linestyle=line.dashes,
                alpha=line.strength,
                marker=line.marker,
                markersize=4,
            )
        axes.set(xlabel=panel.x_label, ylabel=panel.y_label)
        if panel.logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(numticks=7))
            axes.yaxis.set_major_formatter(
                FuncFormatter(lambda value, _: f"{value:.0e}" if value < 0.01 else f"{value:g}")
            )
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.set_ylim(bottom=0, top=panel.top)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        entries = dict(reversed(list(zip(*reversed(axes.get_legend_handles_labels()), strict=True))))
        if len(entries) > 1:
            axes.legend(list(entries.values()), list(entries), frameon=False, fontsize=9, handlelength=2.6)

    described = "; ".join(f"{line.label} ends at {line.y[-1]:.4g}" for line in panel.lines if len(line.y))
    return figures.draw(paint, name=name, description=f"{panel.title}: {described}", width=420, height=290)
