"""Figures and tables that set several networks beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Surface:
    """A positive quantity over a plane, drawn on a logarithmic scale.

    Attributes:
        title: its heading.
        steps: the values of both coordinates.
        values: one row for each value of the first coordinate.
        colour: one of `report.figures`.
    """

    title: str
    steps: Sequence[float]
    values: Sequence[Sequence[float]]
    colour: str


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


def surfaces(drawn: Sequence[Surface], remark: str = "") -> Markup:
    """Each as a net and as contours, with one scale for all, under a remark on how to read them."""
    heights = [np.log10(np.maximum(surface.values, 1e-12)) for surface in drawn]
    low, high = min(height.min() for height in heights), max(height.max() for height in heights)
    pictures = []
    for number, (surface, height) in enumerate(zip(drawn, heights, strict=True)):
        for kind, paint in (("net", _net), ("contours", _contours)):
            described = f"{surface.title}, {kind}: from {10 ** height.min():.3g} to {10 ** height.max():.3g}"
            painter = partial(paint, surface=surface, height=height, limits=(low, high))
            name = f"surface{number}-{kind}"
            pictures.append(
                (surface.title, figures.draw(painter, name=name, description=described, width=420, height=330))
            )
    return render("studies/charts.html", charts=pictures, remark=remark)


def _net(figure: Figure, surface: Surface, height: NDArray[np.float64], limits: tuple[float, float]) -> None:
    axes = figure.add_subplot(projection="3d")
    b, a = np.meshgrid(surface.steps, surface.steps)
    axes.plot_wireframe(a, b, height, color=surface.colour, linewidth=0.8)
    axes.set(zlim=limits, xlabel="first direction", ylabel="second direction")
    axes.zaxis.set_major_formatter(FuncFormatter(_power))
    axes.locator_params(nbins=5)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.pane.set_visible(False)


def _contours(figure: Figure, surface: Surface, height: NDArray[np.float64], limits: tuple[float, float]) -> None:
    axes = figure.subplots()
    levels = np.linspace(*limits, 13)
    steps = surface.steps
    lines = axes.contour(steps, steps, height, levels, colors=surface.colour, linestyles="-", linewidths=1.2)
    axes.clabel(lines, levels[::2], fontsize=9, fmt=_power)
    axes.set(xlabel="second direction", ylabel="first direction", aspect="equal")
    axes.plot([0], [0], color=figures.INK, marker="+", markersize=9)


def _power(exponent: float, _: object = None) -> str:
    return f"{10**exponent:.2g}"


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
        handles, labels = axes.get_legend_handles_labels()
        if len(labels) > 1:
            axes.legend(handles, labels, frameon=False, fontsize=9, handlelength=2.6)

    described = "; ".join(f"{line.label} ends at {line.y[-1]:.4g}" for line in panel.lines if len(line.y))
    return figures.draw(paint, name=name, description=f"{panel.title}: {described}", width=420, height=290)
