"""Which shortcut does a residual network need where the shape changes, and must others be projections?

One network is trained with each kind, beside its plain twin. The paper finds all of them far better than none, B a
little better than A, C a little better than B, and concludes that projections are not essential (arXiv:1512.03385,
section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from resnets.report.comparison import OTHER, PLAIN, RESIDUAL
from resnets.report.page import Number, Section
from resnets.studies.study import Findings, Study
from resnets.studies.variants import Variant, error_curves, error_table, numbers, percent, train_variants

SOURCE = "arXiv:1512.03385, section 4.1 and table 3"
DEPTHS = (20,)
REPEATS = True

OPTIONS = {
    "A": ("A: zeros", RESIDUAL, 1.0),
    "B": ("B: projected where the shape changes", RESIDUAL, 0.5),
    "C": ("C: projected everywhere", OTHER, 1.0),
}


def conduct(study: Study) -> Findings:
    """Train each kind."""
    (depth,) = study.depths
    none = Variant("none", f"plain{depth}", colour=PLAIN)
    kinds = [
        Variant(label, f"resnet{depth}", {"shortcut": kind}, colour, strength=strength)
        for kind, (label, colour, strength) in OPTIONS.items()
    ]
    plain, *options = trained = train_variants(study, [none, *kinds])
    found = ", ".join(f"{percent(each.judged)} with {kind}" for kind, each in zip(OPTIONS, options, strict=True))
    return Findings(
        title="Shortcuts: zeros or projections",
        sentences=(
            f"With {depth} layers the {study.judged} error is {percent(plain.judged)} without shortcuts, {found}.",
            verdict(plain.judged, [each.judged for each in options]),
        ),
        headline=tuple(Number(each.variant.label, percent(each.judged), f"{study.judged} error") for each in trained),
        sections=(
            Section("curves", "Errors by epoch", error_curves(trained, f"{depth} layers")),
            Section("errors", "Cost and errors", error_table(study, trained, "Shortcut")),
        ),
        numbers=numbers(study, trained),
    )


def verdict(plain: float, options: Sequence[float]) -> str:
    """Whether a shortcut matters, or its kind."""
    apart, gain = max(options) - min(options), plain - max(options)
    if gain <= 0:
        end = "not every shortcut helps here" if min(options) < plain else "no shortcut helps here"
    elif gain > apart:
        end = "that there is a shortcut matters more than its kind"
    else:
        end = "its kind matters as much here"
    return (
        f"A, B and C lie {100 * apart:.2f} points apart, and the worst of them is {abs(100 * gain):.2f} points "
        f"{'better' if gain > 0 else 'worse'} than none: {end}."
    )
