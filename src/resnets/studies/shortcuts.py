"""Which shortcut does a residual network need where the shape changes, and must others be projections?

One network is trained with each kind, beside its plain twin. The paper finds all of them far better than none, B a
little better than A, C a little better than B, and concludes that projections are not essential (arXiv:1512.03385,
section 4.1).
"""

from __future__ import annotations

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
    tests = [each.test for each in options]
    apart, gain = max(tests) - min(tests), plain.test - max(tests)
    verdict = "that there is a shortcut matters more than its kind" if gain > apart else "its kind matters as much here"
    found = ", ".join(f"{percent(each.test)} with {kind}" for kind, each in zip(OPTIONS, options, strict=True))
    return Findings(
        title="Shortcuts: zeros or projections",
        sentences=(
            f"With {depth} layers the test error is {percent(plain.test)} without shortcuts, {found}.",
            f"A, B and C lie {100 * apart:.2f} points apart, and the worst of them is {abs(100 * gain):.2f} points "
            f"{'better' if gain > 0 else 'worse'} than none: {verdict}.",
        ),
        headline=tuple(Number(each.variant.label, percent(each.test), "test error") for each in trained),
        sections=(
            Section("curves", "Errors by epoch", error_curves(trained, f"{depth} layers")),
            Section("errors", "Cost and errors", error_table(trained, "Shortcut")),
        ),
        numbers=numbers(trained),
    )
