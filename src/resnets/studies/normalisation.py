"""Is batch norm needed to train a deep residual network?

One network is trained with batch norm, with group norm, and with none: from He's weights, by Fixup and by SkipInit.
Each is trained at several rates, and the one with the lowest training error stands for it. Without normalisation,
Fixup's authors train networks of 10,000 layers (arXiv:1901.09321).
"""

from __future__ import annotations

from typing import Any

from resnets.report.comparison import OTHER, PLAIN, RESIDUAL
from resnets.report.page import Number, Section
from resnets.studies.study import Findings, Study
from resnets.studies.variants import Trained, Variant, error_curves, error_table, numbers, percent, train_variants

SOURCE = "arXiv:1901.09321, section 4; arXiv:1502.03167; arXiv:2002.10444"
DEPTHS = (56,)
REPEATS = True

RATES = (0.1, 0.01)
KINDS: dict[str, tuple[dict[str, Any], str, float]] = {
    "batch norm": ({"norm": "batch"}, RESIDUAL, 1.0),
    "group norm": ({"norm": "group"}, RESIDUAL, 0.5),
    "none, He": ({"norm": "none", "init": "he"}, PLAIN, 1.0),
    "none, Fixup": ({"norm": "none", "init": "fixup"}, OTHER, 1.0),
    "none, SkipInit": ({"norm": "none", "init": "skipinit"}, OTHER, 0.5),
}


def conduct(study: Study) -> Findings:
    """Train every kind at every rate."""
    (depth,) = study.depths
    trained = {
        kind: train_variants(
            study,
            [
                Variant(f"{kind}, rate {rate:g}", f"resnet{depth}", {**changes, "lr": rate}, colour, strength=strength)
                for rate in RATES
            ],
            may_diverge=True,
        )
        for kind, (changes, colour, strength) in KINDS.items()
    }
    best = {kind: min(tried, key=ascending) for kind, tried in trained.items()}
    every = [each for tried in trained.values() for each in tried]
    without = min((best[kind] for kind in KINDS if kind.startswith("none")), key=ascending)
    return Findings(
        title="Normalisation: with it and without",
        sentences=(
            f"With {depth} layers and the better of the rates {' and '.join(f'{rate:g}' for rate in RATES)}, the "
            f"{study.judged} error is "
            + ", ".join(f"{percent(each.judged)} ({kind})" for kind, each in best.items())
            + ".",
            judged(without, best["batch norm"]),
            *judged_group(best["group norm"], best["batch norm"]),
            *(f"{kind} diverged at every rate." for kind, each in best.items() if not each.runs),
        ),
        headline=tuple(
            Number(kind.capitalize(), percent(each.judged), f"{study.judged} error") for kind, each in best.items()
        ),
        sections=(
            Section("curves", "Errors by epoch", error_curves(list(best.values()), f"{depth} layers")),
            Section("errors", "Cost and errors at every rate", error_table(study, every, "Normalisation")),
        ),
        numbers=numbers(study, every),
    )


def ascending(trained: Trained) -> float:
    """The training error, endless where it diverged."""
    return trained.training if trained.runs else float("inf")


def judged(without: Trained, batch_norm: Trained) -> str:
    """Whether the best network without normalisation does without batch norm."""
    if not without.runs:
        return "Without any normalisation all trainings diverged: here batch norm is required."
    if not batch_norm.runs:
        return f"Batch norm diverged at every rate, and {without.variant.label} did not: it is not required."
    behind = 100 * (without.judged - batch_norm.judged)
    if behind <= 0:
        end = "Batch norm is not required."
    elif behind < 5:
        end = "Batch norm is not required, but it helps."
    else:
        end = "In a training of this length no way without normalisation takes its place."
    return f"Without any normalisation the best is {without.variant.label}: {beside(behind)} batch norm. {end}"


def judged_group(group_norm: Trained, batch_norm: Trained) -> tuple[str, ...]:
    """How group norm compares, where both could be trained."""
    if not (group_norm.runs and batch_norm.runs):
        return ()
    return (f"Group norm is {beside(100 * (group_norm.judged - batch_norm.judged))} batch norm.",)


def beside(behind: float) -> str:
    """So many points behind something, or ahead of it."""
    return f"{abs(behind):.2f} points {'behind' if behind > 0 else 'ahead of'}"
