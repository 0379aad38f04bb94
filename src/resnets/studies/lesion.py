"""What does a trained network lose when blocks are taken out of it or change places?

Each block that keeps its input's shape is taken out alone; then several at once; then pairs of one stage change places.
Residual networks behave like ensembles of shallower ones and lose little; plain ones lose everything with one layer
(arXiv:1605.06431, section 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from random import Random
from statistics import mean, median

import torch
from markupsafe import Markup

from resnets.inference.machine import in_bfloat16
from resnets.insight.lesions import exchanged, removable, without
from resnets.networks.resnet import ResidualNetwork
from resnets.report.comparison import PLAIN, RESIDUAL, Line, Panel, charts, table
from resnets.report.page import Number, Section
from resnets.studies.study import Findings, Sample, Study

SOURCE = "arXiv:1605.06431, figures 3 and 5"
DEPTHS = (56,)
REPEATS = False

KINDS = {"plain": PLAIN, "resnet": RESIDUAL}
NAMES = {"plain": "plain", "resnet": "residual"}
PICTURES, BATCH = 2000, 125
DRAWS = 5
"""Random choices of the blocks that are taken out together or change places; their mean is shown."""


def conduct(study: Study) -> Findings:
    """Train twins of one depth and injure them."""
    (depth,), pictures = study.depths, study.sample("test", PICTURES)
    found = {kind: injured(study, f"{kind}{depth}", pictures) for kind in KINDS}
    chance = 1 - 1 / pictures.classes
    costs = {kind: [error - injuries.whole for error in injuries.alone.values()] for kind, injuries in found.items()}
    worst = max(found["resnet"].alone, key=found["resnet"].alone.__getitem__)
    usual, most = median(costs["resnet"]), max(costs["resnet"])
    times = f", {most / usual:.1f} times as much as the median one" if usual * len(pictures.targets) >= 1 else ""
    return Findings(
        title="Lesions: which blocks a network can do without",
        sentences=(
            f"The residual network of {depth} layers has {found['resnet'].whole:.2%} error on "
            f"{len(pictures.targets):,} held-out pictures. Taking one block out costs "
            f"{100 * usual:.2f} points in the median and {100 * most:.2f} at most, at {worst}{times}.",
            f"In the plain network, of {found['plain'].whole:.2%} error, one block costs "
            f"{100 * median(costs['plain']):.2f} points in the median: the error is then "
            f"{median(found['plain'].alone.values()):.2%}, and guessing has {chance:.2%}.",
            counted(costs["resnet"]),
        ),
        headline=tuple(
            Number(
                f"{NAMES[kind].capitalize()}", f"{100 * median(costs[kind]):+.2f} points", "median cost of one block"
            )
            for kind in KINDS
        ),
        sections=(
            Section("alone", "One block alone", alone(found, chance)),
            Section("several", "Several blocks", several(found)),
            Section("blocks", "Every block", blocks(found)),
        ),
        numbers={kind: vars(injuries) for kind, injuries in found.items()},
    )


def counted(costs: Sequence[float]) -> str:
    """How many blocks of the residual network cost little."""
    few = sum(cost < 0.01 for cost in costs)
    if len(costs) == 1:
        return f"The only block of the residual network that can go costs {'less' if few else 'no less'} than a point."
    return f"Of the residual network's {len(costs)} blocks that can go, {few} cost{'s' * (few == 1)} less than a point."


class Injuries:
    """Errors of one network: whole, without each block, without so many, and after so many exchanges."""

    def __init__(self, network: ResidualNetwork, pictures: Sample) -> None:
        names = removable(network)
        self.whole = error(network, pictures)
        self.alone: dict[str, float] = {}
        for name in names:
            with without(network, [name]):
                self.alone[name] = error(network, pictures)
        pairs = [pair for pair in combinations(names, 2) if alike(network, *pair)]
        self.removed, self.exchanged = {0: self.whole}, {0: self.whole} if pairs else {}
        for count in counts(len(names)):
            removals, exchanges = [], []
            for draw in range(DRAWS):
                random = Random(f"{count} {draw}")
                with without(network, random.sample(names, count)):
                    removals.append(error(network, pictures))
                if pairs:
                    with exchanged(network, [random.choice(pairs) for _ in range(count)]):
                        exchanges.append(error(network, pictures))
            self.removed[count] = mean(removals)
            if pairs:
                self.exchanged[count] = mean(exchanges)


def injured(study: Study, model: str, pictures: Sample) -> Injuries:
    """Train a network and injure it."""
    network = study.trained(model).network()
    assert isinstance(network, ResidualNetwork)
    return Injuries(network.to(memory_format=torch.channels_last), pictures)


def counts(blocks: int) -> list[int]:
    """How many are taken out together: 1 to half of them, eight numbers at most."""
    half = max(1, blocks // 2)
    return sorted({max(1, round(half * step / 8)) for step in range(1, 9)})


def alike(network: ResidualNetwork, first: str, second: str) -> bool:
    """Whether two blocks have tensors of the same shapes."""
    shapes = [[value.shape for value in network.get_submodule(name).state_dict().values()] for name in (first, second)]
    return shapes[0] == shapes[1]


@torch.inference_mode()
def error(network: ResidualNetwork, pictures: Sample) -> float:
    """The share of pictures that the network gets wrong."""
    with in_bfloat16():
        outputs = torch.cat([network.eval()(images) for images in pictures.images.split(BATCH)])
    return 1 - (outputs.argmax(1) == pictures.targets).double().mean().item()


def alone(found: dict[str, Injuries], chance: float) -> Markup:
    """The error without each block."""
    lines = [
        Line(NAMES[kind], range(1, len(injuries.alone) + 1), percents(injuries.alone.values()), KINDS[kind], marker="o")
        for kind, injuries in found.items()
    ]
    return charts(
        [Panel("Error without one block", lines, "block taken out, first to last", "error, %", top=100)],
        f"Guessing has {chance:.1%}.",
    )


def several(found: dict[str, Injuries]) -> Markup:
    """The error without several blocks, and after exchanges."""
    panels = []
    for title, quantity, axis in (
        ("Blocks taken out", "removed", "blocks taken out"),
        ("Blocks that changed places", "exchanged", "pairs of blocks exchanged"),
    ):
        lines = [
            Line(NAMES[kind], list(errors), percents(errors.values()), KINDS[kind], marker="o")
            for kind, injuries in found.items()
            if (errors := getattr(injuries, quantity))
        ]
        if lines:
            panels.append(Panel(title, lines, axis, "error, %", top=100))
    return charts(panels, f"Means of {DRAWS} random choices.")


def blocks(found: dict[str, Injuries]) -> Markup:
    """A row for each block."""
    names = list(found["resnet"].alone)
    rows = [
        (name, *(f"{100 * (injuries.alone[name] - injuries.whole):+.2f}" for injuries in found.values()))
        for name in names
    ]
    return table(("Block", *(f"{NAMES[kind]}, points" for kind in found)), rows)


def percents(values: Iterable[float]) -> list[float]:
    """Shares as percentages."""
    return [100 * value for value in values]
