"""Is the loss around a trained residual network's weights smoother than around its plain twin's?

Twins are trained, and the loss is computed on a plane through the weights of each, along two random directions in which
every filter is as long as the network's own. Deep networks without shortcuts were found to lie in chaotic landscapes,
and residual ones in smooth bowls (arXiv:1712.09913, section 5).
"""

from __future__ import annotations

import json
from math import exp, hypot, log
from statistics import mean

import torch
from markupsafe import Markup
from torch import Tensor

from resnets.insight.landscape import loss_surface, random_direction
from resnets.report.comparison import PLAIN, RESIDUAL, Line, Panel, Surface, charts, surfaces, table
from resnets.report.page import Number, Section
from resnets.runs.run import Run, write_whole
from resnets.studies.study import Findings, Sample, Study, judged_error, training_error

SOURCE = "arXiv:1712.09913, sections 4 and 5"
DEPTHS = (56,)
REPEATS = False

KINDS = {"plain": PLAIN, "resnet": RESIDUAL}
NAMES = {"plain": "plain", "resnet": "residual"}
PICTURES = 500
REACH, POINTS = 1.0, 21
"""The plane goes from -REACH to REACH in each direction, in so many points."""


def conduct(study: Study) -> Findings:
    """Train twins of one depth and walk around their weights."""
    (depth,), pictures = study.depths, study.sample("train", PICTURES)
    steps = torch.linspace(-REACH, REACH, POINTS).tolist()
    runs = {kind: study.trained(f"{kind}{depth}") for kind in KINDS}
    found = {kind: surface_around(run, pictures, steps) for kind, run in runs.items()}
    by_distance = {kind: rings(surface, steps) for kind, surface in found.items()}
    rough = {kind: roughness(surface) for kind, surface in found.items()}
    risen = {kind: loss_at(by_distance[kind], REACH / 2) / max(by_distance[kind][0][1], 1e-12) for kind in KINDS}
    flatter = loss_at(by_distance["resnet"], REACH / 2) < loss_at(by_distance["plain"], REACH / 2)
    smoother = rough["resnet"] < rough["plain"]
    return Findings(
        title="Landscapes: the loss around trained weights",
        sentences=(
            *(
                f"Around the {NAMES[kind]} network of {depth} layers, whose training error is "
                f"{training_error(runs[kind]):.2%}, the loss goes from {by_distance[kind][0][1]:.3g} at the weights "
                f"themselves to {loss_at(by_distance[kind], REACH / 2):.3g} at half a filter's length: "
                f"{risen[kind]:.3g} times."
                for kind in KINDS
            ),
            f"At that distance the residual network's loss is {'the lower' if flatter else 'not the lower'}, and its "
            f"surface is {'the smoother' if smoother else 'not the smoother'} one: log-loss bends by "
            f"{rough['resnet']:.3g} between neighbouring points on average, in the plain network by "
            f"{rough['plain']:.3g}.",
        ),
        headline=tuple(
            Number(
                NAMES[kind].capitalize(),
                f"{loss_at(by_distance[kind], REACH / 2):.3g}",
                "mean loss at half a filter's length from the weights",
            )
            for kind in KINDS
        ),
        sections=(
            Section(
                "surfaces",
                "The surfaces",
                surfaces(
                    [
                        Surface(f"{NAMES[kind].capitalize()}, {depth} layers", steps, found[kind].tolist(), colour)
                        for kind, colour in KINDS.items()
                    ],
                    f"Mean loss of {len(pictures.targets)} training pictures, on a logarithmic scale; 1 is a "
                    "filter's own length.",
                ),
            ),
            Section("distance", "Loss by distance", distances(by_distance)),
            Section(
                "networks",
                "The networks",
                table(
                    ("Network", "Training error", f"{study.judged.capitalize()} error"),
                    [
                        (f"{NAMES[kind]}, {depth} layers", f"{training_error(run):.2%}", f"{judged_error(run):.2%}")
                        for kind, run in runs.items()
                    ],
                ),
            ),
        ),
        numbers={kind: {"steps": steps, "loss": surface.tolist()} for kind, surface in found.items()},
    )


def surface_around(run: Run, pictures: Sample, steps: list[float]) -> Tensor:
    """The surface, kept in a file of the run."""
    path = run.folder / "landscape.json"
    asked = {"steps": steps, "pictures": len(pictures.targets)}
    if path.is_file() and (known := json.loads(path.read_text(encoding="utf-8")))["asked"] == asked:
        return torch.tensor(known["loss"], dtype=torch.float64)
    network = run.network()
    directions = random_direction(network, 0), random_direction(network, 1)
    surface = loss_surface(network, pictures.images, pictures.targets, directions, steps)
    write_whole(path, json.dumps({"asked": asked, "loss": surface.tolist()}))
    return surface


def rings(surface: Tensor, steps: list[float]) -> list[tuple[float, float]]:
    """Distances from the weights, in steps of the grid, and the geometric mean of the loss at each."""
    width = steps[1] - steps[0]
    losses: dict[int, list[float]] = {}
    for row, a in enumerate(steps):
        for column, b in enumerate(steps):
            if (ring := round(hypot(a, b) / width)) <= len(steps) // 2:
                losses.setdefault(ring, []).append(log(max(surface[row, column].item(), 1e-12)))
    return [(ring * width, exp(mean(values))) for ring, values in sorted(losses.items())]


def loss_at(by_distance: list[tuple[float, float]], distance: float) -> float:
    """The loss at the ring nearest a distance."""
    return min(by_distance, key=lambda ring: abs(ring[0] - distance))[1]


def roughness(surface: Tensor) -> float:
    """How far log-loss departs from a straight line between the neighbours on both sides, the mean over the plane."""
    height = surface.clamp(min=1e-12).log()
    bends = [height.diff(n=2, dim=dim).abs().mean().item() / 2 for dim in (0, 1)]
    return mean(bends)


def distances(by_distance: dict[str, list[tuple[float, float]]]) -> Markup:
    """The mean loss by distance from the weights."""
    lines = [
        Line(NAMES[kind], [distance for distance, _ in ringed], [loss for _, loss in ringed], KINDS[kind], marker="o")
        for kind, ringed in by_distance.items()
    ]
    return charts([Panel("Mean loss", lines, "distance, in filters' lengths", "loss", logarithmic=True)])
