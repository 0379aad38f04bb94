"""Is it better to normalise and activate before each convolution than after it, and at what depth?

Twins of both kinds are trained at each depth. With the activation before the convolutions nothing stands between the
sums, so that a signal can pass from any block to any other as it is; the authors find little difference at 110 layers
and a large one at 1,001 (arXiv:1603.05027, table 3).
"""

from __future__ import annotations

from resnets.report.comparison import OTHER, RESIDUAL, strengths
from resnets.report.page import Number, Section
from resnets.studies.study import Findings, Study
from resnets.studies.variants import Variant, error_curves, error_table, numbers, percent, train_variants

SOURCE = "arXiv:1603.05027, section 4.1, table 3"
DEPTHS = (20, 56, 110)
REPEATS = True

KINDS = {"after": (False, RESIDUAL), "before": (True, OTHER)}


def conduct(study: Study) -> Findings:
    """Train both kinds at each depth."""
    depths = sorted(study.depths)
    trained = train_variants(
        study,
        [
            Variant(f"{depth} layers, {kind}", f"resnet{depth}", {"preactivation": before}, colour, strength=strength)
            for kind, (before, colour) in KINDS.items()
            for depth, strength in zip(depths, strengths(len(depths)), strict=True)
        ],
    )
    after, before = trained[: len(depths)], trained[len(depths) :]
    gains = [100 * (old.judged - new.judged) for old, new in zip(after, before, strict=True)]
    best = max(range(len(depths)), key=gains.__getitem__)
    return Findings(
        title="Pre-activation: before or after the convolution",
        sentences=(
            *(
                f"With {depth} layers the {study.judged} error is {percent(old.judged)} with the activation after, "
                f"{percent(new.judged)} with the activation before (training: {percent(old.training)} and "
                f"{percent(new.training)})."
                for depth, old, new in zip(depths, after, before, strict=True)
            ),
            f"Activation before the convolution gains most with {depths[best]} layers: {gains[best]:+.2f} points."
            if gains[best] > 0
            else "Activation before the convolution gains at none of these depths.",
        ),
        headline=tuple(
            Number(f"{depth} layers", f"{gain:+.2f} points", f"gain in {study.judged} error, before against after")
            for depth, gain in zip(depths, gains, strict=True)
        ),
        sections=(
            Section("curves", "Errors by epoch", error_curves(trained, "Activation")),
            Section("errors", "Cost and errors", error_table(study, trained, "Network, activation")),
        ),
        numbers=numbers(study, trained),
    )
