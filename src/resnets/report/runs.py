"""Runs side by side: tables of metrics and differences, and their curves on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from markupsafe import Markup

from resnets.report import figures
from resnets.report.comparison import Line, Panel, charts, table
from resnets.report.page import Number, Section, write_page
from resnets.runs.card import Card
from resnets.runs.listing import Summary, differences
from resnets.tasks import task_class

COLOURS = (figures.BLUE, figures.ORANGE, figures.GREEN, figures.INK, figures.MUTED)
"""Of the runs' curves, in their order."""

LESS_IS_BETTER = ("loss", "ece", "mae", "rmse")
"""Figures of which the smallest is the best."""

Cell = tuple[str, bool]
"""A text, and whether it stands out."""


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, in the order in which they were named."""

    summaries: Sequence[Summary]

    @property
    def headings(self) -> list[str]:
        """What the runs are called: their folders' names, or more of their paths where these are alike."""
        paths = [summary.run.folder for summary in self.summaries]
        short = [path.resolve().name for path in paths]
        return short if len(set(short)) == len(short) else [str(path) for path in paths]

    @property
    def remark(self) -> str:
        """Why metrics cannot be compared; "" where they can."""
        judged = [_judged_on(summary.card) for summary in self.summaries if summary.card.metrics]
        if all(one == judged[0] for one in judged):
            return ""
        return "The runs were judged on different pictures, so that their metrics cannot be compared."

    def metrics(self) -> dict[str, list[Cell]]:
        """By what a figure is called, what each run has of it; the best stands out where all have it."""
        rows: dict[str, list[Cell]] = {
            "state": [(summary.state, False) for summary in self.summaries],
            "model": [(summary.card.model, False) for summary in self.summaries],
            "epochs": [(str(summary.epochs), False) for summary in self.summaries],
            "trained in": [(_duration(summary.card.provenance.get("seconds")), False) for summary in self.summaries],
        }
        formats = [task_class(summary.card.task).formats for summary in self.summaries]
        for name, (label, form) in dict.fromkeys(figure for of_task in formats for figure in of_task.items()):
            values = [
                summary.card.metrics.get(name) if of_task.get(name) == (label, form) else None
                for summary, of_task in zip(self.summaries, formats, strict=True)
            ]
            known = [value for value in values if value is not None]
            if not known:
                continue
            comparable = len(set(known)) > 1 and not self.remark
            best = (min if name in LESS_IS_BETTER else max)(known) if comparable else None
            rows[label] = [("" if value is None else form.format(value), value == best) for value in values]
        return rows

    def differences(self) -> dict[str, list[Cell]]:
        """By the names of the card's fields that differ, what each run has."""
        found = differences([summary.card for summary in self.summaries])
        return {name: [(_text(value), False) for value in values] for name, values in found.items()}


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write the page: metrics, differences and curves."""
    letters = [letter_of(number) for number in range(len(comparison.summaries))]
    headings = ("", *(f"{letter}: {name}" for letter, name in zip(letters, comparison.headings, strict=True)))

    def section(key: str, title: str, rows: dict[str, list[Cell]], remark: str = "") -> Section:
        cells = [(name, *(_strong(text) if best else text for text, best in row)) for name, row in rows.items()]
        return Section(key, title, table(headings, cells, remark))

    sections = [section("metrics", "Metrics", comparison.metrics(), comparison.remark)]
    if differing := comparison.differences():
        sections.append(section("differences", "Differences", differing))
    if drawn := panels(comparison, letters):
        remark = "Dashed: training pictures, as training saw them. In full: pictures kept from training."
        sections.append(Section("curves", "Curves", charts(drawn, remark)))
    write_page(
        path,
        title=f"{len(letters)} runs side by side",
        subtitle=", ".join(comparison.headings),
        numbers=[
            Number(letter, summary.score.rpartition(" ")[2] or summary.state, f"{summary.card.model}, {name}")
            for letter, name, summary in zip(letters, comparison.headings, comparison.summaries, strict=True)
        ],
        facts={letter: str(summary.run.folder) for letter, summary in zip(letters, comparison.summaries, strict=True)},
        sections=sections,
    )


def letter_of(number: int) -> str:
    """What stands for a run, numbers from 0: A to Z, then AA, AB..."""
    before, last = divmod(number, 26)
    return (letter_of(before - 1) if before else "") + ascii_uppercase[last]


def panels(comparison: Comparison, letters: Sequence[str]) -> list[Panel]:
    """A chart for each quantity that the runs' histories have, the loss first."""
    histories = [summary.run.history() for summary in comparison.summaries]
    columns = dict.fromkeys(name for history in histories for row in history for name in row)
    quantities = dict.fromkeys(
        name.partition("_")[2] for name in columns if name.startswith(("train_", "val_", "test_"))
    )
    drawn = []
    for quantity in quantities:
        lines = []
        for number, (letter, history) in enumerate(zip(letters, histories, strict=True)):
            for split, dashes in (("train", "--"), ("val", "-"), ("test", "-")):
                column = f"{split}_{quantity}"
                if split == "test" and any(f"val_{quantity}" in row for row in history):
                    continue
                points = [(row["epoch"], row[column]) for row in history if isfinite(row.get(column, float("nan")))]
                if points:
                    epochs, values = zip(*points, strict=True)
                    strength = 0.55 if split == "train" else 1.0
                    label = letter if split != "train" else f"{letter}, training"
                    lines.append(Line(label, epochs, values, COLOURS[number % len(COLOURS)], dashes, strength))
        if lines:
            title = quantity.replace("_", " ")
            drawn.append(Panel(title[:1].upper() + title[1:], lines, "epoch", title))
    return drawn


def _judged_on(card: Card) -> tuple[Any, ...]:
    """What says which pictures, and of masks which pixels, a run was judged on."""
    data, split = card.data, card.data.get("evaluated_on")
    drawn = ("split_seed", "val_share", "fold") if split in data.get("splits_made", ()) else ()
    chosen = [list(value) if isinstance(value, tuple) else value for value in map(data.get, drawn)]
    return data.get("fingerprint"), split, card.metrics.get("count"), data.get("ignore"), chosen


def _strong(text: str) -> Markup:
    return Markup("<strong>{}</strong>").format(text)


def _text(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    text = ", ".join(map(_text, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
