"""The reports of networks that make pictures: how they learnt, and, of made pictures, what a judge says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from resnets.report import figures
from resnets.report.curves import LEARNING_RATE, LOSS, curves_section
from resnets.report.page import Number, Section, percent, render, thousands, write_page
from resnets.report.pictures import Picture, data_address, embed
from resnets.tasks.generation import Evaluation, Judgement

_TILE = 64  # pixels: smaller pictures are enlarged in a grid, each pixel to a square
_GAP = 2
_ON_PAGE = 120  # pictures in the page's grid
_PAIRS = 24
_BINS = 30


@dataclass(frozen=True)
class _Pair:
    """A made picture beside the most similar training picture."""

    picture: Picture
    label: str
    named: str
    distance: float
    name: str


def write_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    evaluation: Evaluation,
    picture: Callable[[int], Tensor],  # noqa: ARG001 - all reports take the same arguments
) -> None:
    """Write the report of a training to `path`: one HTML file that needs no other.

    Args:
        path: the file to write; its folder must be there.
        title: the heading.
        facts: label -> value, in order: the network, the data, the recipe, the command...
        history: one row an epoch with `epoch` and any of `lr` and `{train,val,test}_loss`.
        evaluation: the losses on pictures that the network was not trained on.
        picture: from a sample's position to its uint8 (C, H, W).
    """
    sections = (curves_section(history, (LOSS, LEARNING_RATE)), _times_section(evaluation), _next_section(path))
    split = {"train": "training", "val": "validation"}.get(evaluation.split, evaluation.split)
    write_page(
        path,
        title=title,
        subtitle=f"Makes pictures of {thousands(len(evaluation.classes))} classes; judged on "
        f"{thousands(len(evaluation.losses))} samples of the {split} split",
        numbers=[
            Number(
                "Loss", f"{evaluation.metrics['loss']:.4f}", "squared error of the velocity; pictures have variance 1"
            )
        ],
        facts=facts,
        sections=[section for section in sections if section is not None],
    )


def _times_section(evaluation: Evaluation) -> Section:
    bands = [((begin + end) / 2, loss) for begin, end, loss in evaluation.bands() if loss is not None]
    description = "Loss by time: " + "; ".join(f"{loss:.3g} at {time:.2f}" for time, loss in bands)
    chart = figures.draw(partial(_paint_bands, bands), name="times", description=description, width=480, height=260)
    return Section("times", "Loss from noise to pictures", render("generation/times.html", chart=chart))


def _paint_bands(bands: Sequence[tuple[float, float]], figure: Figure) -> None:
    axes = figure.add_subplot()
    axes.bar(
        [time for time, _ in bands], [loss for _, loss in bands], 0.09, color=figures.BLUE, alpha=0.75, linewidth=0
    )
    axes.set(xlabel="time: 0 is noise, 1 a picture", ylabel="loss", xlim=(0, 1))
    axes.grid(visible=False, axis="x")


def _next_section(path: Path) -> Section:
    return Section("pictures", "Pictures", render("generation/next.html", run=path.parent))


def write_judgement(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    judge: str,
    judgement: Judgement,
    nearest: Callable[[int], Tensor],
    names: Sequence[str],
) -> None:
    """Write what a judge says of made pictures to `path`: one HTML file that needs no other.

    Args:
        path: the file to write; its folder must be there.
        title: the heading.
        facts: label -> value, in order: the network, how the pictures were made, the judge, the command...
        judge: what to call the judge.
        judgement: the pictures and what they are worth.
        nearest: from the position of a training picture to its uint8 (C, H, W), as the network saw it.
        names: of the training pictures.
    """
    write_page(
        path,
        title=title,
        subtitle=f"{thousands(len(judgement.pictures))} made pictures, judged by {judge}",
        numbers=_numbers(judgement),
        facts=facts,
        sections=[
            _grid_section(judgement),
            _nearest_section(judgement, nearest, names),
            _classes_section(judgement),
        ],
    )


def _numbers(judgement: Judgement) -> list[Number]:
    metrics = judgement.metrics

    def beside(name: str, form: Callable[[float], str]) -> str:
        return f"real pictures not trained on: {form(metrics[f'real_{name}'])}" if f"real_{name}" in metrics else ""

    def plain(value: float) -> str:
        return f"{value:.3g}"

    return [
        Number("Named as asked", percent(metrics["named"]), beside("named", percent)),
        Number(
            f"Frechet distance of {thousands(int(metrics['frechet_count']))}",
            plain(metrics["frechet"]),
            beside("frechet", plain) or "on the judge's features",
        ),
        Number(
            "Nearest training picture", plain(metrics["nearest"]), beside("nearest", plain) or "median, grey levels"
        ),
    ]


def _grid_section(judgement: Judgement) -> Section:
    """The first pictures of each class, a row a class where there are few classes."""
    order = judgement.labels.argsort(stable=True)
    present = judgement.labels.unique()
    each = min(max(_ON_PAGE // len(present), 1), int(judgement.labels.bincount().max()))
    shown = torch.cat([order[judgement.labels[order] == label][:each] for label in present])[:_ON_PAGE]
    image = grid(judgement.pictures[shown], columns=min(each, 12))
    names = [judgement.classes[label] for label in present.tolist()]
    body = render(
        "generation/grid.html",
        address=data_address(image, "PNG"),
        width=image.width,
        height=image.height,
        names=names,
        shown=len(shown),
    )
    return Section("grid", "Pictures", body)


def _nearest_section(judgement: Judgement, nearest: Callable[[int], Tensor], names: Sequence[str]) -> Section:
    """The pictures nearest to a training picture, which would be copies if any were, and some at equal steps after."""
    order = judgement.distances.argsort(stable=True)
    count = min(_PAIRS, len(order))
    chosen = [int(order[round(step * (len(order) - 1) / max(count - 1, 1))]) for step in range(count)]
    pairs = []
    for index in chosen:
        position = int(judgement.nearest[index])
        both = torch.cat((_enlarged(judgement.pictures[index]), _enlarged(nearest(position))), 2)
        pairs.append(
            _Pair(
                embed(both),
                judgement.classes[int(judgement.labels[index])],
                judgement.classes[int(judgement.named[index])],
                float(judgement.distances[index]),
                names[position],
            )
        )
    real = judgement.real_distances
    description = f"Distances to the nearest training picture, median {judgement.metrics['nearest']:.3g}"
    chart = figures.draw(
        partial(_paint_distances, judgement.distances.tolist(), None if real is None else real.tolist()),
        name="distances",
        description=description,
        width=560,
        height=260,
    )
    body = render("generation/nearest.html", pairs=pairs, chart=chart, real=real is not None)
    return Section("nearest", "Beside the nearest training picture", body)


def _paint_distances(made: Sequence[float], real: Sequence[float] | None, figure: Figure) -> None:
    axes = figure.add_subplot()
    highest = max(*made, *(real or ()), 1e-6)
    edges = [highest * step / _BINS for step in range(_BINS + 1)]
    axes.hist(made, edges, density=True, color=figures.BLUE, alpha=0.55, linewidth=0)
    if real:
        axes.hist(real, edges, density=True, color=figures.ORANGE, histtype="step", linewidth=1.8)
    axes.set(xlabel="distance to the nearest training picture, grey levels", xlim=(0, None))
    axes.set_yticks([])
    axes.grid(visible=False)


def _classes_section(judgement: Judgement) -> Section:
    asked = {name: share for name, share in judgement.per_class().items() if share is not None}
    weakest_first = sorted(asked.items(), key=lambda item: item[1])
    counts = judgement.labels.bincount(minlength=len(judgement.classes)).tolist()
    number = {name: index for index, name in enumerate(judgement.classes)}
    rows = []
    for name, share in weakest_first:
        others = judgement.named[(judgement.labels == number[name]) & (judgement.named != number[name])]
        mistaken = judgement.classes[int(others.mode().values)] if len(others) else ""
        rows.append((name, share, counts[number[name]], mistaken))
    return Section("classes", "Every class", render("generation/classes.html", rows=rows))


def grid(pictures: Tensor, columns: int) -> Image.Image:
    """Pictures (N, C, H, W) uint8 in rows of `columns`; those below 64 pixels are enlarged, each pixel to a square."""
    tiles = torch.stack([_enlarged(picture) for picture in pictures])
    N, C, H, W = tiles.shape
    rows = -(-N // columns)
    sheet = torch.full((C, rows * (H + _GAP) - _GAP, columns * (W + _GAP) - _GAP), 255, dtype=torch.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * (H + _GAP), number % columns * (W + _GAP)
        sheet[:, top : top + H, left : left + W] = tile
    return picture_of(sheet)


def picture_of(pixels: Tensor) -> Image.Image:
    """(C, H, W) uint8, grey or RGB, as a Pillow picture."""
    return Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy())


def _enlarged(picture: Tensor) -> Tensor:
    """(C, H, W), each pixel a square of pixels where a side has fewer than 64."""
    factor = -(-_TILE // max(picture.shape[1:]))
    return picture.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
