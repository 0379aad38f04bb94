"""Do deeper plain networks get worse, in training as well as on other pictures, and residual ones not?

Plain and residual twins are trained at several depths by one recipe. A deeper network could copy a shallower one and
be no worse; where its training error is higher, it is not overfitting that holds it back (arXiv:1512.03385, section 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from markupsafe import Markup

from resnets.report.comparison import PLAIN, RESIDUAL, Line, Panel, charts, strengths, table
from resnets.report.page import Number, Section
from resnets.runs.run import Run
from resnets.studies.chance import ONE_SEED, surely_larger
from resnets.studies.study import Findings, Study, error_curve, judged_error, training_error, watched_split
from resnets.studies.variants import spread

SOURCE = "arXiv:1512.03385, figures 1, 4 and 6, table 2"
DEPTHS = (8, 20, 56)
REPEATS = True

KINDS = {"plain": PLAIN, "resnet": RESIDUAL}


def conduct(study: Study) -> Findings:
    """Train both kinds at each depth and compare their errors."""
    runs = {kind: {depth: study.trained_often(f"{kind}{depth}") for depth in study.depths} for kind in KINDS}
    training, judged = (
        {
            kind: {depth: [error(run) for run in found] for depth, found in of_kind.items()}
            for kind, of_kind in runs.items()
        }
        for error in (training_error, judged_error)
    )
    shallow, deep = min(study.depths), max(study.depths)
    pictures = len(study.opened.splits["train"])
    numbers = {
        f"{kind}{depth}": {
            "training_error": training[kind][depth],
            f"{study.judged}_error": judged[kind][depth],
        }
        for kind in KINDS
        for depth in study.depths
    }
    changes = {kind: mean(training[kind][deep]) - mean(training[kind][shallow]) for kind in KINDS}
    return Findings(
        title="Degradation: depth without shortcuts",
        sentences=(
            *(
                sentence(
                    kind,
                    (shallow, deep),
                    training[kind],
                    f"the {study.judged} error goes from {mean(judged[kind][shallow]):.2%} to "
                    f"{mean(judged[kind][deep]):.2%}",
                    pictures,
                )
                for kind in KINDS
            ),
            *((ONE_SEED,) if study.seeds == 1 else ()),
        ),
        headline=tuple(
            Number(
                f"{name}, {shallow} to {deep} layers",
                f"{100 * changes[kind]:+.2f} points",
                "change of the training error",
            )
            for kind, name in (("plain", "Plain"), ("resnet", "Residual"))
        ),
        sections=(
            Section("curves", "Errors by epoch", curves(runs)),
            Section("errors", "Errors at the end", rows(study, runs)),
        ),
        numbers=numbers,
    )


def sentence(
    kind: str, depths: tuple[int, int], training: Mapping[int, Sequence[float]], judged: str, pictures: int
) -> str:
    """What depth does to one kind of network, as far as its seeds and so many training pictures can tell.

    Args:
        kind: of `KINDS`.
        depths: the fewest layers and the most.
        training: errors by depth, one a seed.
        judged: what is said of the errors on other pictures.
        pictures: to train on.
    """
    name = {"plain": "plain", "resnet": "residual"}[kind]
    shallow, deep = depths
    errors = f"{mean(training[shallow]):.2%} with {shallow} layers, {mean(training[deep]):.2%} with {deep}"
    seeds = len(training[deep])
    if surely_larger(training[deep], training[shallow], pictures):
        cause = "Depth makes the {} network worse on the pictures it is trained on: {}; {}. That is no overfitting."
    elif seeds > 1:
        cause = f"Depth does the {{}} network no harm in training that {seeds} seeds could show: {{}}; {{}}."
    else:
        cause = "Depth does the {} network no harm in training: {}; {}."
    return cause.format(name, errors, judged)


def curves(runs: dict[str, dict[int, list[Run]]]) -> Markup:
    """Training errors dashed, those of the other pictures in full, as in figure 6 of the paper."""
    panels, highest = [], 0.0
    watched = watched_split(next(found[0] for of_kind in runs.values() for found in of_kind.values()))
    for kind, of_kind in runs.items():
        lines = []
        for (depth, found), strength in zip(sorted(of_kind.items()), strengths(len(of_kind)), strict=True):
            for split, dashes in (("training", "--"), (watched, "-")):
                epochs, errors = error_curve(found, split)
                highest = max(highest, sorted(errors)[len(errors) // 2])
                lines.append(Line(f"{depth} layers, {split}", epochs, errors, KINDS[kind], dashes, strength))
        title = {"plain": "Plain networks", "resnet": "Residual networks"}[kind]
        panels.append(Panel(title, lines, "epoch", "error, %"))
    top = min(100.0, 1.6 * highest)
    panels = [Panel(panel.title, panel.lines, panel.x_label, panel.y_label, top=top) for panel in panels]
    return charts(panels, f"Dashed: training pictures, as training saw them. In full: {watched} pictures.")


def rows(study: Study, runs: dict[str, dict[int, list[Run]]]) -> Markup:
    """A row for each network."""
    cells = [
        (f"{kind}{depth}", spread([training_error(run) for run in found]), spread([judged_error(run) for run in found]))
        for kind, of_kind in runs.items()
        for depth, found in of_kind.items()
    ]
    return table(("Network", "Training error", f"{study.judged.capitalize()} error"), cells)
