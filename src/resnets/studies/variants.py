"""What studies do that train several variants by one recipe and set them side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from statistics import mean, median, stdev
from typing import Any

from markupsafe import Markup

from resnets.insight.profile import totals
from resnets.networks.catalogue import declaration_from_dict
from resnets.report.comparison import RESIDUAL, Line, Panel, charts, table
from resnets.runs.run import Run
from resnets.studies.study import Study, error_curve, judged_error, training_error, watched_split

DIVERGED = "diverged"


@dataclass(frozen=True)
class Variant:
    """One kind of network, or one way to train it.

    Attributes:
        label: what it is called in figures and tables.
        model: its name in the catalogue.
        changes: of the recipe or the network.
        colour, dashes, strength: of its curves; see `report.comparison.Line`.
    """

    label: str
    model: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    colour: str = RESIDUAL
    dashes: str = "-"
    strength: float = 1.0


@dataclass(frozen=True)
class Trained:
    """A variant and its trainings, one a seed; none where one of them diverged."""

    variant: Variant
    runs: Sequence[Run]

    @property
    def training(self) -> float:
        """The mean over seeds of the last epoch's error on the training pictures as training saw them, or nan."""
        return mean(map(training_error, self.runs)) if self.runs else nan

    @property
    def judged(self) -> float:
        """The mean over seeds of the finished networks' error on the pictures that judge them, or nan."""
        return mean(map(judged_error, self.runs)) if self.runs else nan

    @property
    def cost(self) -> tuple[int, int]:
        """Parameters, and multiply-adds for one picture."""
        card = self.runs[0].card()
        return totals(declaration_from_dict(card.architecture), card.preprocessing.size)

    @property
    def rate(self) -> float:
        """Pictures a second in training, the median over all epochs."""
        return median(row["images_per_second"] for run in self.runs for row in run.history())


def train_variants(study: Study, variants: Sequence[Variant], *, may_diverge: bool = False) -> list[Trained]:
    """Train all of them, with every seed.

    Args:
        study: that asks.
        variants: with labels that differ.
        may_diverge: tell of a training that diverges, and go on.

    Raises:
        FloatingPointError: if one diverges that may not.
    """
    trained = []
    for variant in variants:
        runs: list[Run] = []
        try:
            runs = study.trained_often(variant.model, variant.label, **variant.changes)
        except FloatingPointError as error:
            if not may_diverge:
                raise
            study.console.print(f"  {variant.label}: {error}", highlight=False)
        trained.append(Trained(variant, runs))
    return trained


def numbers(study: Study, trained: Sequence[Trained]) -> dict[str, Any]:
    """The errors of each seed by the variant's label."""
    return {
        each.variant.label: {
            "training_error": [training_error(run) for run in each.runs],
            f"{study.judged}_error": [judged_error(run) for run in each.runs],
        }
        for each in trained
    }


def error_curves(trained: Sequence[Trained], title: str) -> Markup:
    """Errors by epoch, on training pictures in one panel and on the others that were watched in the other."""
    panels = []
    watched = next((watched_split(each.runs[0]) for each in trained if each.runs), "test")
    for split in ("training", watched):
        lines = []
        for each in trained:
            if each.runs:
                look = each.variant
                lines.append(Line(look.label, *error_curve(each.runs, split), look.colour, look.dashes, look.strength))
        ends = sorted(line.y[len(line.y) // 2] for line in lines)
        top = min(100.0, 2 * ends[-1]) if ends else None
        panels.append(Panel(f"{title}, {split} pictures", lines, "epoch", "error, %", top=top))
    return charts(panels)


Column = Callable[[Trained], str]


def error_table(
    study: Study, trained: Sequence[Trained], what: str, more: Mapping[str, Column] | None = None
) -> Markup:
    """A row for each variant: cost, errors, and what else is asked for by heading."""
    more = more or {}
    rows = []
    for each in trained:
        if not each.runs:
            rows.append((each.variant.label, *[DIVERGED] * (4 + len(more))))
            continue
        parameters, multiply_adds = each.cost
        rows.append(
            (
                each.variant.label,
                f"{parameters / 1e6:.2f} M",
                f"{multiply_adds / 1e6:.1f} M",
                *(column(each) for column in more.values()),
                spread([training_error(run) for run in each.runs]),
                spread([judged_error(run) for run in each.runs]),
            )
        )
    errors = ("Training error", f"{study.judged.capitalize()} error")
    return table((what, "Parameters", "Multiply-adds", *more, *errors), rows)


def spread(values: Sequence[float]) -> str:
    """The mean as a percentage, with the standard deviation where there are several values."""
    return f"{mean(values):.2%}" + (f" \u00b1 {100 * stdev(values):.2f}" if len(values) > 1 else "")


def percent(error: float) -> str:
    """An error as a sentence has it."""
    return DIVERGED if error != error else f"{error:.2%}"
