"""The page of explained pictures: maps side by side, and what each block adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor
from torch.nn import functional as F

from resnets.insight.attributions import METHODS
from resnets.insight.explanation import BlockShare, Explanation, Map
from resnets.report import figures
from resnets.report.page import Number, Section, percent, render, write_page
from resnets.report.pictures import embed, overlay

MEANINGS = dict(
    zip(
        METHODS,
        (
            "Where a stage's map speaks for the answer, channels weighed by mean gradients; as coarse as the map.",
            "The same, but places whose gradient is positive weigh more: finds several objects of a class.",
            "The same, but each place has the weight of its own gradient: finer where the stage is an early one.",
            "Each pixel's part of the difference to a picture of the mean colour; the parts sum to it. Drawn are means "
            "over a thirty-second of a side, for single pixels scatter.",
            "How much the answer falls when a square of the mean colour hides the pixel.",
        ),
        strict=True,
    )
)

_SQUARES = 32  # along a side, over which scattered values are averaged to be seen


def write_picture_page(
    path: Path, explanations: Sequence[Explanation], *, title: str, plain: bool, facts: Mapping[str, str]
) -> None:
    """Write the page to `path`: one HTML file that needs no other.

    Args:
        path: the file to write; its folder must be there.
        explanations: of one run; those with an error are left out.
        title: the heading.
        plain: whether the network has no shortcuts.
        facts: label -> value, in order.

    Raises:
        ValueError: if no picture could be read.
    """
    told = [one for one in explanations if one.error is None]
    if not told:
        raise ValueError("none of the pictures could be read, so there is nothing to explain")
    methods = {each.method: MEANINGS[each.method] for each in told[0].maps}
    reading = render("explain/reading.html", methods=methods, faithful=told[0].chance is not None)
    write_page(
        path,
        title=title,
        subtitle="Why the network answers as it does: the parts of the picture and the blocks that matter",
        numbers=_numbers(told),
        facts=facts,
        sections=[
            *(_section(number, one, plain) for number, one in enumerate(told)),
            Section("reading", "How to read it", reading),
        ],
    )


def _numbers(told: Sequence[Explanation]) -> list[Number]:
    first = told[0]
    numbers = [Number("Pictures", str(len(told)))]
    if len(told) == 1:
        sure = f"{first.value:.4g}" if first.probability is None else percent(first.probability)
        numbers = [Number("Explained", first.explained, sure)]
    faithful = {each.method: each for each in first.maps if each.faithfulness is not None}
    if faithful:
        gains = {
            method: mean(
                each.faithfulness.insertion - each.faithfulness.deletion
                for one in told
                for each in one.maps
                if each.method == method and each.faithfulness
            )
            for method in faithful
        }
        best = max(gains, key=gains.__getitem__)
        random = mean(one.chance.insertion - one.chance.deletion for one in told if one.chance)
        remark = f"insertion less deletion {100 * gains[best]:.0f} points; at random {100 * random:.0f}"
        numbers.append(Number("Most faithful map", best, remark))
    rows = [[(block.block, block.change) for block in one.blocks if block.change is not None] for one in told]
    changes = {row[0][0]: mean(abs(change) for _, change in row) for row in zip(*rows, strict=True)}
    if changes:
        block = max(changes, key=changes.__getitem__)
        remark = f"without it the {_what(first)} changes by {changes[block]:.3g}" + " on average" * (len(told) > 1)
        numbers.append(Number("Block that matters most", block, remark))
    return numbers


def _section(number: int, one: Explanation, plain: bool) -> Section:
    maps = [
        {
            "method": each.method,
            "picture": embed(overlay(one.picture, to_draw(each))),
            "faithfulness": each.faithfulness,
            "gap": each.gap,
            "total": each.values.double().sum().item(),
        }
        for each in one.maps
    ]
    body = render(
        "explain/picture.html",
        picture=embed(one.picture),
        maps=maps,
        one=one,
        blocks=one.blocks,
        charts=_charts(number, one, plain) if one.blocks else (),
        plain=plain,
    )
    return Section(f"picture{number + 1}", Path(one.name).name, body)


def to_draw(drawn: Map) -> Tensor:
    """The values of a map, (H, W); those of integrated gradients as their means over small squares."""
    size = min(drawn.values.shape) // _SQUARES
    if drawn.method != "integrated-gradients" or size < 2:
        return drawn.values
    side = size + 1 - size % 2  # odd, so that a square has a middle
    return F.avg_pool2d(drawn.values[None], side, 1, side // 2, count_include_pad=False)[0]


def _what(one: Explanation) -> str:
    return "logit" if one.probability is not None else "number"


def _charts(number: int, one: Explanation, plain: bool) -> list[tuple[str, str, Markup]]:
    beside = "its input" if plain else "what it is added to"
    ratios = [block.ratio for block in one.blocks]
    changes = [block.change for block in one.blocks]
    largest = max(one.blocks, key=lambda block: block.ratio)
    return [
        (
            "Size of F(x)",
            f"its norm by that of {beside}; at most {largest.ratio:.2f}, in {largest.block}",
            _bars(f"ratios{number}", "Norm of F(x) by block", one.blocks, ratios, "ratio of norms"),
        ),
        (
            f"The {_what(one)} without it",
            f"change of {one.explained} when the block is left out" + _staying(one.blocks),
            _bars(
                f"changes{number}", "Change when left out, by block", one.blocks, changes, f"change of the {_what(one)}"
            ),
        ),
    ]


def _staying(blocks: Sequence[BlockShare]) -> str:
    stay = any(block.change is None for block in blocks)
    return "; a cross stands for a block that cannot be, as it has no identity to pass its input on by" if stay else ""


def _bars(name: str, title: str, blocks: Sequence[BlockShare], values: Sequence[float | None], axis: str) -> Markup:
    said = ", ".join(
        f"{block.block} {'stays' if value is None else f'{value:.3g}'}"
        for block, value in zip(blocks, values, strict=True)
    )
    paint = partial(_paint, values, axis)
    return figures.draw(paint, name=name, description=f"{title}: {said}", width=420, height=250)


def _paint(values: Sequence[float | None], axis: str, figure: Figure) -> None:
    axes = figure.subplots()
    known = [(number, value) for number, value in enumerate(values, start=1) if value is not None]
    for sign, colour in ((1, figures.BLUE), (-1, figures.ORANGE)):
        chosen = [(number, value) for number, value in known if (value < 0) == (sign < 0)]
        axes.bar([number for number, _ in chosen], [value for _, value in chosen], 0.72, color=colour, linewidth=0)
    stay = [number for number, value in enumerate(values, start=1) if value is None]
    axes.plot(stay, [0] * len(stay), "x", color=figures.MUTED, markersize=5, clip_on=False)
    axes.axhline(0, color=figures.MUTED, linewidth=0.8)
    axes.grid(visible=False, axis="x")
    axes.set(xlabel="block, first to last", ylabel=axis, xlim=(0.4, len(values) + 0.6))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
