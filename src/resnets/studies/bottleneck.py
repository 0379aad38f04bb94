"""Are bottleneck blocks worth more than basic ones of the same cost?

Both networks have as many blocks of the same widths: a bottleneck's 17 w^2 multiply-adds a pixel are about a basic
block's 18 w^2, with half as many layers again and four times the channels between blocks. The paper goes from ResNet-34
to ResNet-50 this way, and its error falls from 7.46 % to 6.71 % (arXiv:1512.03385, tables 1 and 3).
"""

from __future__ import annotations

from resnets.report.comparison import OTHER, RESIDUAL
from resnets.report.page import Number, Section
from resnets.studies.study import Findings, Study
from resnets.studies.variants import Variant, error_curves, error_table, numbers, percent, train_variants

SOURCE = "arXiv:1512.03385, section 4.1, tables 1 and 3"
DEPTHS = (20,)
REPEATS = True

LOOKS = {"basic": RESIDUAL, "bottleneck": OTHER}


def conduct(study: Study) -> Findings:
    """Train both, of a depth that is counted in basic blocks, with projections where the shape changes."""
    (depth,) = study.depths
    basic, bottleneck = trained = train_variants(
        study,
        [
            Variant(f"{block} blocks", f"resnet{depth}", {"block": block, "shortcut": "B"}, colour)
            for block, colour in LOOKS.items()
        ],
    )
    layers = (depth - 2) // 2 * 3 + 2
    (parameters, work), (more_parameters, more_work) = basic.cost, bottleneck.cost
    gain = 100 * (basic.judged - bottleneck.judged)
    return Findings(
        title="Bottlenecks: more layers for the same work",
        sentences=(
            f"The {layers} layers in bottleneck blocks take {more_work / work:.2f} times the multiply-adds of the "
            f"{depth} in basic ones, with {more_parameters / parameters:.2f} times the parameters.",
            f"Their {study.judged} error is {percent(bottleneck.judged)}, that of basic blocks "
            f"{percent(basic.judged)}: {verdict(gain)}",
            f"In training they see {bottleneck.rate / basic.rate:.2f} times as many pictures a second.",
        ),
        headline=tuple(
            Number(each.variant.label.capitalize(), percent(each.judged), f"{study.judged} error") for each in trained
        ),
        sections=(
            Section("curves", "Errors by epoch", error_curves(trained, f"Blocks of resnet{depth}")),
            Section(
                "errors",
                "Cost and errors",
                error_table(study, trained, "Network", {"Pictures a second": lambda each: f"{each.rate:,.0f}"}),
            ),
        ),
        numbers=numbers(study, trained),
    )


def verdict(gain: float) -> str:
    """What bottlenecks gain, in points."""
    if f"{abs(gain):.2f}" == "0.00":
        return "neither gains."
    return f"bottlenecks gain {gain:.2f} points." if gain > 0 else f"bottlenecks lose {-gain:.2f} points here."
