"""What do residual networks gain over those before them, and their descendants over them, for the same work?

One network of each family is trained by one recipe. Of each family it is the one whose multiply-adds come nearest to
those of a CIFAR ResNet, so that no family wins by its size. A recipe that suits one family may not suit another: what
is compared is what each gives without further care.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from resnets.insight.profile import totals
from resnets.networks.catalogue import architecture
from resnets.report.comparison import OTHER, PLAIN, RESIDUAL
from resnets.report.page import Number, Section
from resnets.studies.study import Findings, Study
from resnets.studies.variants import Variant, error_curves, error_table, numbers, percent, train_variants

SOURCE = "arXiv:1409.1556, 1512.03385, 1611.05431, 1605.07146, 1709.01507, 1608.06993, 1905.11946"
DEPTHS = (20,)
REPEATS = True

Candidate = tuple[str, dict[str, Any]]
"""A name in the catalogue, and changes of its declaration."""


@dataclass(frozen=True)
class Reference:
    """What the networks are compared at: the layers of the CIFAR ResNet whose work they do, and the pictures."""

    layers: int
    size: tuple[int, int]
    channels: int

    def work(self, candidate: Candidate) -> int:
        """Multiply-adds of a network for one picture."""
        name, changes = candidate
        return totals(replace(architecture(name), in_channels=self.channels, **changes), self.size)[1]


Family = Callable[[Reference, int], Candidate]
"""The n-th smallest network of a family, n from 1."""


def vgg(reference: Reference, n: int) -> Candidate:
    """VGG-11 with batch norm, narrower, and with as many stages as the pictures can be halved."""
    stages = min(5, min(reference.size).bit_length() - 1)
    widths = tuple(4 * n * factor for factor in (1, 2, 4, 8, 8))[:stages]
    shape = {"depths": (1, 1, 2, 2, 2)[:stages], "widths": widths, "hidden": widths[-1]}
    return "vgg11", {**shape, "norm": "batch", "dropout": 0.0}


def plain(reference: Reference, _n: int) -> Candidate:
    """The reference without its shortcuts."""
    return f"plain{reference.layers}", {}


def resnet(reference: Reference, _n: int) -> Candidate:
    """The reference."""
    return f"resnet{reference.layers}", {}


def resnext(reference: Reference, n: int) -> Candidate:
    """Bottlenecks of 8 groups, as deep as the work allows."""
    shape = {"block": "bottleneck", "groups": 8, "width_per_group": 16, "depths": (n,) * 3}
    return f"resnet{reference.layers}", {"shortcut": "B", **shape}


def wide(reference: Reference, n: int) -> Candidate:
    """A third of the blocks, as wide as the work allows."""
    blocks = max(1, (reference.layers - 2) // 6 // 3)
    return "wrn10_1", {"depths": (blocks,) * 3, "widths": (4 * n, 8 * n, 16 * n)}


def se(reference: Reference, _n: int) -> Candidate:
    """The reference with squeeze-and-excitation."""
    return f"resnet{reference.layers}", {"squeeze_excitation": True}


def dense(_reference: Reference, n: int) -> Candidate:
    """DenseNet-BC with a growth of 12, as deep as the work allows."""
    return f"densenetbc{6 * n + 4}_12", {}


def efficient(_reference: Reference, n: int) -> Candidate:
    """EfficientNet-B0 for small pictures, narrower, without its random regularisation."""
    return "efficientnet_b0", {"width": 0.05 * n, "stem": "cifar", "drop_path": 0.0, "dropout": 0.0}


FAMILIES: dict[str, tuple[Family, str, float]] = {
    "VGG": (vgg, PLAIN, 0.5),
    "plain": (plain, PLAIN, 1.0),
    "ResNet": (resnet, RESIDUAL, 1.0),
    "ResNeXt": (resnext, RESIDUAL, 0.7),
    "Wide ResNet": (wide, RESIDUAL, 0.45),
    "SE-ResNet": (se, RESIDUAL, 0.25),
    "DenseNet": (dense, OTHER, 1.0),
    "EfficientNet": (efficient, OTHER, 0.5),
}
"""By name, with the colour and strength of the curves: without shortcuts, residual, beyond."""


def nearest(family: Family, reference: Reference) -> Candidate:
    """The network of a family whose multiply-adds are nearest to the reference's."""
    wanted = reference.work(resnet(reference, 1))
    smaller = family(reference, 1)
    for n in count(1):
        if reference.work(larger := family(reference, n)) >= wanted:
            break
        smaller = larger
    return min((larger, smaller), key=lambda candidate: abs(reference.work(candidate) - wanted))


def conduct(study: Study) -> Findings:
    """Choose a network of each family, train all, and compare."""
    (depth,), seen = study.depths, study.preprocessing
    reference = Reference(depth, seen.size, seen.channels)
    trained = train_variants(
        study,
        [
            Variant(name, *nearest(family, reference), colour, strength=strength)
            for name, (family, colour, strength) in FAMILIES.items()
        ],
    )
    by_name = {each.variant.label: each for each in trained}
    residual, ordered = by_name["ResNet"], sorted(trained, key=lambda each: each.judged)
    costs = [each.cost[1] for each in trained]
    earlier, later = (
        [f"{each.variant.label} {percent(each.judged)}" for each in ordered if (each.variant.colour == PLAIN) is before]
        for before in (True, False)
    )
    fastest = max(trained, key=lambda each: each.rate)
    return Findings(
        title="Lineage: before ResNet, and after it",
        sentences=(
            f"At {min(costs) / 1e6:.1f} to {max(costs) / 1e6:.1f} million multiply-adds the {study.judged} error of "
            f"networks without shortcuts is: {', '.join(earlier)}; of residual networks and their descendants: "
            f"{', '.join(later)}.",
            f"The lowest error is {ordered[0].variant.label}'s: "
            f"{100 * (residual.judged - ordered[0].judged):.2f} points below that of ResNet."
            if ordered[0].judged < residual.judged
            else "ResNet's error is the lowest.",
            f"Equal work is not equal time: {fastest.variant.label} sees {fastest.rate:,.0f} pictures a second in "
            "training, "
            + ", ".join(f"{each.variant.label} {each.rate:,.0f}" for each in trained if each is not fastest)
            + ".",
        ),
        headline=tuple(Number(each.variant.label, percent(each.judged), f"{study.judged} error") for each in trained),
        sections=(
            Section("curves", "Errors by epoch", error_curves(trained, "Families")),
            Section(
                "errors",
                "Cost and errors",
                error_table(study, trained, "Family", {"Pictures a second": lambda each: f"{each.rate:,.0f}"}),
            ),
        ),
        numbers=numbers(study, trained),
    )
