"""The report of a network that gives every pixel a class: how well each is found, and true masks beside those found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from resnets.report.curves import LEARNING_RATE, LOSS, Chart, curves_section
from resnets.report.masks import class_colours, overlay
from resnets.report.page import Number, Section, percent, render, thousands, write_page
from resnets.report.pictures import data_address
from resnets.tasks.segmentation import Evaluation

MIOU = Chart("Mean IoU", "miou", percent=True, linear=True, best=max)
ACCURACY = Chart("Pixel accuracy", "accuracy", percent=True, linear=True, best=max)
_WORST = 6
_OTHERS = 6
_LEGEND = 40  # classes up to which they are named
_SIDE = 480  # pixels of a picture's longer side
_GAP = 8


@dataclass(frozen=True)
class _Pair:
    """A picture twice: under its true mask, and under the one found."""

    address: str
    width: int
    height: int
    name: str
    iou: float


def write_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    evaluation: Evaluation,
    picture: Callable[[int], Tensor],
    masks: Callable[[int], tuple[Tensor, Tensor]],
) -> None:
    """Write the report to `path`: one HTML file that needs no other.

    Args:
        path: the file to write; its folder must be there.
        title: the heading.
        facts: label -> value, in order: the network, the data, the recipe, the command...
        history: one row an epoch with `epoch` and any of `lr`, `train_loss`, `train_accuracy`, `{val,test}_miou`...
        evaluation: the answers to the pictures that the network is judged on.
        picture: from a sample's position to its uint8 (C, h, w).
        masks: from the same to the true mask and the one found, (h, w) uint8.
    """
    sections = (
        curves_section(history, (LOSS, MIOU, ACCURACY, LEARNING_RATE)),
        _classes_section(evaluation),
        _pictures_section(evaluation, picture, masks),
    )
    split = {"train": "training", "val": "validation"}.get(evaluation.split, evaluation.split)
    write_page(
        path,
        title=title,
        subtitle=f"{thousands(int(evaluation.confusion.sum()))} pixels of {thousands(len(evaluation.classes))} classes "
        f"in {thousands(len(evaluation.names))} pictures of the {split} split",
        numbers=_numbers(evaluation.metrics),
        facts=facts,
        sections=[section for section in sections if section is not None],
    )


def _numbers(metrics: Mapping[str, float]) -> list[Number]:
    return [
        Number("Mean IoU", percent(metrics["miou"]), "intersection over union, all classes alike"),
        Number("Pixel accuracy", percent(metrics["accuracy"]), "share of the pixels that are right"),
        Number("Boundary F1", percent(metrics["boundary_f1"]), "edges within 0.75 % of the diagonal"),
        Number("Loss", f"{metrics['loss']:.3f}", "mean cross-entropy of a pixel"),
    ]


def _hex(count: int) -> list[str]:
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in class_colours(count)]


def _classes_section(evaluation: Evaluation) -> Section:
    rows = []
    for number, (name, colour) in enumerate(zip(evaluation.classes, _hex(len(evaluation.classes)), strict=True)):
        wrong = evaluation.confusion[number].clone()
        wrong[number] = 0
        other = evaluation.classes[int(wrong.argmax())] if wrong.any() else ""
        share = int(wrong.max()) / max(int(evaluation.confusion[number].sum()), 1)
        rows.append((name, evaluation.each[name], colour, other, share))
    rows.sort(key=lambda row: (row[1].iou is None, row[1].iou))
    return Section("classes", "Every class", render("segmentation/classes.html", each=rows))


def _pictures_section(
    evaluation: Evaluation, picture: Callable[[int], Tensor], masks: Callable[[int], tuple[Tensor, Tensor]]
) -> Section:
    """The worst pictures, then some at equal distances up to the best."""
    order = evaluation.picture_ious.nan_to_num(2.0).argsort(stable=True).tolist()  # those where nothing counts last
    order = [index for index in order if not evaluation.picture_ious[index].isnan()]
    worst, rest = order[:_WORST], order[_WORST:]
    count = min(_OTHERS, len(rest))
    others = [rest[round(step * (len(rest) - 1) / max(count - 1, 1))] for step in range(count)]
    pairs = [_pair(evaluation, picture(index), masks(index), index) for index in (*worst, *others)]
    legend = list(zip(evaluation.classes, _hex(len(evaluation.classes)), strict=True))[:_LEGEND]
    body = render("segmentation/pictures.html", pairs=pairs, legend=legend, worst=len(worst))
    return Section("pictures", "True and found", body)


def _pair(evaluation: Evaluation, pixels: Tensor, masks: tuple[Tensor, Tensor], index: int) -> _Pair:
    left, right = (overlay(pixels, mask, len(evaluation.classes), _SIDE) for mask in masks)
    both = Image.new("RGB", (left.width + _GAP + right.width, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + _GAP, 0))
    iou = evaluation.picture_ious[index].item()
    return _Pair(data_address(both, "JPEG"), *both.size, evaluation.names[index], iou)
