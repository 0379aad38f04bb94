"""The report of a detector: how well each class is found, and pictures with what is there beside what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from resnets.report import figures
from resnets.report.boxes import Box, colour_of, draw_boxes
from resnets.report.curves import LEARNING_RATE, LOSS, Chart, curves_section
from resnets.report.page import Number, Section, percent, render, thousands, write_page
from resnets.report.pictures import data_address
from resnets.tasks.detection import ClassScores, Evaluation, matched, pasted

MAP = Chart("mAP at IoU 0.5", "map50", percent=True, linear=True, best=max)
STRICT_MAP = Chart("mAP at IoU 0.5 to 0.95", "map", percent=True, linear=True, best=max)
_PICTURES = 12
_CHARTS = 12  # classes up to which each gets a curve
_SIDE = 480  # pixels of a picture's longer side
_GAP = 8
_SIZES = {
    "map_small": ("small", "area below 32 x 32 pixels"),
    "map_medium": ("medium", "up to 96 x 96"),
    "map_large": ("large", "above"),
}


@dataclass(frozen=True)
class _Pair:
    """A picture twice: what is there, and what was found; the numbers are of what counts."""

    address: str
    width: int
    height: int
    name: str
    there: int
    found: int
    right: int


def write_report(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, float]],
    evaluation: Evaluation,
    picture: Callable[[int], Tensor],
) -> None:
    """Write a detector's report to `path`: one HTML file that needs no other.

    Args:
        path: the file to write; its folder must be there.
        title: the heading.
        facts: label -> value, in order: the network, the data, the recipe, the command...
        history: one row an epoch with `epoch` and any of `lr`, `train_loss`, `{val,test}_map` and `{val,test}_map50`.
        evaluation: the answers to the pictures that the network is judged on.
        picture: from a sample's position to its uint8 (C, H, W).
    """
    sections = (
        curves_section(history, (LOSS, MAP, STRICT_MAP, LEARNING_RATE)),
        _precision_section(evaluation),
        _classes_section(evaluation),
        _pictures_section(evaluation, picture),
    )
    split = {"train": "training", "val": "validation"}.get(evaluation.split, evaluation.split)
    objects = sum(scores.objects for scores in evaluation.each.values())
    write_page(
        path,
        title=title,
        subtitle=f"{thousands(objects)} objects of {thousands(len(evaluation.classes))} classes in "
        f"{thousands(len(evaluation.targets))} pictures of the {split} split",
        numbers=_numbers(evaluation),
        facts=facts,
        sections=[section for section in sections if section is not None],
    )


def _numbers(evaluation: Evaluation) -> list[Number]:
    metrics = evaluation.metrics
    numbers = [
        Number("mAP at IoU 0.5", percent(metrics["map50"]), "Pascal VOC's measure, as COCO computes it"),
        Number("mAP", percent(metrics["map"]), "mean over IoU from 0.5 to 0.95, COCO's measure"),
        Number("mAP at IoU 0.75", percent(metrics["map75"]), "boxes that fit closely"),
        Number("Recall", percent(metrics["recall"]), "mean over IoU from 0.5 to 0.95"),
    ]
    if "mask_map" in metrics:
        numbers.insert(1, Number("mAP of masks", percent(metrics["mask_map"]), "mean over IoU from 0.5 to 0.95"))
    if "localisation" in metrics:
        numbers.insert(0, Number("Localised", percent(metrics["localisation"]), "class right and IoU at least 0.5"))
    return numbers


def _precision_section(evaluation: Evaluation) -> Section | None:
    curves = [(name, scores) for name, scores in evaluation.each.items() if scores.ap50 is not None]
    charts = []
    for number, (name, scores) in enumerate(curves[:_CHARTS]):
        description = f"Precision by recall at IoU 0.5; the area below the curve is {scores.ap50:.3f}"
        drawn = figures.draw(partial(_paint, scores), name=f"precision{number}", description=description, height=210)
        charts.append((name, percent(scores.ap50 or 0.0), drawn))
    if not charts:
        return None
    body = render("detection/precision.html", charts=charts, others=len(curves) - len(charts))
    return Section("precision", "Precision and recall", body)


def _paint(scores: ClassScores, figure: Figure) -> None:
    axes = figure.add_subplot()
    recalls = [step / (len(scores.precisions) - 1) for step in range(len(scores.precisions))]
    axes.plot(recalls, scores.precisions, color=figures.BLUE)
    axes.fill_between(recalls, scores.precisions, color=figures.BLUE, alpha=0.15, linewidth=0)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))


def _classes_section(evaluation: Evaluation) -> Section:
    weakest_first = sorted(evaluation.each.items(), key=lambda item: (item[1].ap is None, item[1].ap))
    sizes = [(*_SIZES[name], evaluation.metrics[name]) for name in _SIZES if name in evaluation.metrics]
    return Section("classes", "Every class", render("detection/classes.html", each=weakest_first, sizes=sizes))


def _pictures_section(evaluation: Evaluation, picture: Callable[[int], Tensor]) -> Section:
    """Pictures from the one with the worst F1 to the one with the best, at equal distances.

    F1 is 1 where nothing is there and nothing was found; what finds an ignored object counts neither way.
    """
    told = [rows[rows[:, 4] >= max(evaluation.threshold, 1e-9)] for rows in evaluation.detections]
    results = []
    for index, (rows, objects) in enumerate(zip(told, evaluation.targets, strict=True)):
        hits = [hit for _, hit in matched(rows, objects)]
        right, found, there = sum(hits), len(hits), int((~objects.ignored).sum())
        results.append((2 * right / (found + there) if found + there else 1.0, index, right, found, there))
    results.sort()
    count = min(_PICTURES, len(results))
    chosen = [results[round(step * (len(results) - 1) / max(count - 1, 1))] for step in range(count)]
    pairs = [_pair(evaluation, picture(index), index, told[index], *counts) for _, index, *counts in chosen]
    legend = [(name, colour_of(label)) for label, name in enumerate(evaluation.classes[:40])]
    body = render("detection/pictures.html", pairs=pairs, legend=legend, threshold=evaluation.threshold)
    return Section("pictures", "True and found", body)


def _pair(
    evaluation: Evaluation, pixels: Tensor, index: int, rows: Tensor, right: int, found: int, there: int
) -> _Pair:
    objects = evaluation.targets[index]
    true = [Box(box, label) for box, label in zip(objects.boxes.tolist(), objects.labels.tolist(), strict=True)]
    masks: list[Tensor | None] = [None] * len(rows)
    if rows.shape[1] > 6:
        masks = list(pasted(rows, objects.size))
    told = [Box(row[:4], int(row[5]), f"{row[4]:.2f}", mask) for row, mask in zip(rows.tolist(), masks, strict=True)]
    left, other = (draw_boxes(pixels, boxes, _SIDE) for boxes in (true, told))
    both = Image.new("RGB", (left.width + _GAP + other.width, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(other, (left.width + _GAP, 0))
    return _Pair(data_address(both, "JPEG"), *both.size, evaluation.names[index], there, found, right)
