"""Do residual networks respond less strongly layer by layer, the more of them there are?

The standard deviation of each 3x3 layer's response is measured in trained networks. If residual functions are closer to
zero than others, a block changes its input little, and the less the deeper the network is (arXiv:1512.03385, sec. 4.2).
"""

from __future__ import annotations

from statistics import mean

from resnets.insight.responses import response_deviations
from resnets.networks.resnet import ResidualNetwork
from resnets.report.comparison import PLAIN, RESIDUAL, Line, Panel, charts, strengths, table
from resnets.report.page import Number, Section
from resnets.runs.run import Run
from resnets.studies.study import Findings, Sample, Study

SOURCE = "arXiv:1512.03385, figure 7"
DEPTHS = (20, 56)
REPEATS = False

KINDS = {"plain": PLAIN, "resnet": RESIDUAL}
NAMES = {"plain": "plain", "resnet": "residual"}
PICTURES = 512


def conduct(study: Study) -> Findings:
    """Train both kinds at each depth and measure their responses on pictures that they were not trained on."""
    pictures = study.sample("test", PICTURES)
    found = {
        (kind, depth): responses(study.trained(f"{kind}{depth}"), pictures) for kind in KINDS for depth in study.depths
    }
    means = {key: mean(values) for key, values in found.items()}
    shallow, deep = min(study.depths), max(study.depths)
    smaller = (
        "the smaller, as the paper found" if means["resnet", deep] < means["plain", deep] else "not the smaller here"
    )
    falls = (
        "each layer changes less where there are more of them"
        if means["resnet", deep] < means["resnet", shallow]
        else "it does not fall with depth here"
    )
    lines, ordered = [], []
    for kind, colour in KINDS.items():
        for depth, strength in zip(study.depths, strengths(len(study.depths)), strict=True):
            values, name = found[kind, depth], f"{NAMES[kind]}, {depth} layers"
            lines.append(Line(name, range(1, len(values) + 1), values, colour, strength=strength))
            ordered.append(
                Line(name, range(1, len(values) + 1), sorted(values, reverse=True), colour, strength=strength)
            )
    return Findings(
        title="Responses: how much each layer does",
        sentences=(
            f"With {deep} layers the mean standard deviation is {means['resnet', deep]:.3f} in the residual network "
            f"and {means['plain', deep]:.3f} in the plain one: residual responses are {smaller}.",
            f"From {shallow} to {deep} layers that of residual networks goes from {means['resnet', shallow]:.3f} to "
            f"{means['resnet', deep]:.3f}: {falls}.",
        ),
        headline=tuple(
            Number(f"{NAMES[kind].capitalize()}, {deep} layers", f"{means[kind, deep]:.3f}", "mean over the layers")
            for kind in KINDS
        ),
        sections=(
            Section(
                "responses",
                "Standard deviation of each layer's response",
                charts(
                    [
                        Panel("In the network's order", lines, "layer", "standard deviation"),
                        Panel("Sorted", ordered, "layer, strongest first", "standard deviation"),
                    ],
                    f"{len(pictures.targets)} {study.judged} pictures; after batch norm, before the activation or the "
                    "sum.",
                ),
            ),
            Section(
                "means",
                "Means",
                table(
                    ("Network", "Mean standard deviation"),
                    [(f"{NAMES[kind]}, {depth} layers", f"{means[kind, depth]:.3f}") for kind, depth in means],
                ),
            ),
        ),
        numbers={f"{kind}{depth}": values for (kind, depth), values in found.items()},
    )


def responses(run: Run, pictures: Sample) -> list[float]:
    """The deviations of a trained network, first layer first."""
    network = run.network()
    assert isinstance(network, ResidualNetwork)
    return list(response_deviations(network, pictures.images).values())
