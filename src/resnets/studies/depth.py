"""What does depth bring and what does it cost, and does stochastic depth help the deepest?

Residual networks of each depth are trained, the deepest also with blocks that are skipped at random. The paper's error
falls down to 110 layers and rises again at 1,202, which it takes for overfitting (arXiv:1512.03385, table 6);
stochastic depth makes 1,202 layers better than 110 (arXiv:1603.09382, table 1).
"""

from __future__ import annotations

from typing import cast

from resnets.insight.profile import profile
from resnets.networks.network import Network
from resnets.report.comparison import OTHER, strengths
from resnets.report.page import Number, Section
from resnets.studies.study import Findings, Study
from resnets.studies.variants import Trained, Variant, error_curves, error_table, numbers, percent, train_variants

SOURCE = "arXiv:1512.03385, section 4.2, table 6; arXiv:1603.09382"
DEPTHS = (8, 20, 56, 110)
REPEATS = True

DROP_PATH = 0.5
"""The rate at which the last block is skipped (arXiv:1603.09382, section 3)."""

LARGE = 500
"""Layers from which training computes blocks again rather than keep their maps."""


def conduct(study: Study) -> Findings:
    """Train each depth, and the deepest with stochastic depth."""
    depths = sorted(study.depths)
    deepest = depths[-1]
    memory = {depth: {"memory": "low"} if depth > LARGE else {} for depth in depths}
    variants = [
        Variant(f"{depth} layers", f"resnet{depth}", memory[depth], strength=strength)
        for depth, strength in zip(depths, strengths(len(depths)), strict=True)
    ]
    stochastic = Variant(
        f"{deepest} layers, stochastic", f"resnet{deepest}", {"drop_path": DROP_PATH, **memory[deepest]}, OTHER
    )
    *whole, dropped = trained = train_variants(study, [*variants, stochastic])
    best = min(whole, key=lambda each: each.judged)
    change = 100 * (dropped.judged - whole[-1].judged)
    first, last = whole[0], whole[-1]
    return Findings(
        title="Depth: what it brings and what it costs",
        sentences=(
            f"The {study.judged} error is "
            + ", ".join(f"{percent(each.judged)} with {depth}" for depth, each in zip(depths, whole, strict=True))
            + f" layers; it is lowest with {best.variant.label}.",
            f"From {depths[0]} to {deepest} layers there are {last.cost[0] / first.cost[0]:.1f} times as many "
            f"parameters and {last.cost[1] / first.cost[1]:.1f} times as many multiply-adds, and training sees "
            f"{first.rate / last.rate:.1f} times fewer pictures a second.",
            f"Stochastic depth takes the {study.judged} error of {deepest} layers from {percent(last.judged)} to "
            f"{percent(dropped.judged)} ({change:+.2f} points), the training error from {percent(last.training)} to "
            f"{percent(dropped.training)}.",
        ),
        headline=tuple(Number(each.variant.label, percent(each.judged), f"{study.judged} error") for each in trained),
        sections=(
            Section("curves", "Errors by epoch", error_curves(trained, "Depth")),
            Section(
                "costs",
                "Cost and errors",
                error_table(
                    study,
                    trained,
                    "Network",
                    {"Pictures a second": lambda each: f"{each.rate:,.0f}", "Kept for a picture": kept},
                ),
            ),
        ),
        numbers=numbers(study, trained),
    )


def kept(trained: Trained) -> str:
    """What training keeps for the backward pass of one picture, if it keeps all."""
    run = trained.runs[0]
    network = cast(Network, run.network())
    return f"{profile(network, run.card().preprocessing.size).total.kept_bytes / 2**20:.1f} MiB"
