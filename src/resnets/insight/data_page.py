"""The page of a data set seen through a network: the map, neighbours, prototypes, outliers, likely label errors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from resnets.data.views import view
from resnets.inference.predictor import Predictor
from resnets.insight.label_errors import Suspect
from resnets.insight.neighbours import Sample
from resnets.insight.survey import Survey, in_words, numbers_in_words
from resnets.report.page import Number, Section, percent, render, thousands, write_page
from resnets.report.pictures import Picture, data_address, embed
from resnets.tasks.multilabel import THRESHOLD

_TILE = 160  # pixels of a picture in a row
_ON_MAP = 44  # pixels of a picture on the map
_ANSWERS = 12  # whose neighbours are shown
_CLASSES = 20  # whose prototypes and outliers are shown
_SUSPECTS = 48
_SUBTITLES = {
    "yes": "",
    "changed": "; the data has changed since it was trained",
    "no": "; the data is not what it was trained on, as far as its fingerprint tells",
}
_GROUPS = 5  # into which numbers are put for the map's colours


@dataclass(frozen=True)
class _Tile:
    """A picture with what stands under it."""

    picture: Picture
    name: str
    lines: tuple[tuple[str, str], ...]  # a style and a text


def write_data_page(path: Path, found: Survey, predictor: Predictor, *, title: str, facts: Mapping[str, str]) -> None:
    """Write the page to `path`: one HTML file that needs no other.

    Args:
        path: the file to write; its folder must be there.
        found: what `survey` gave.
        predictor: the run's.
        title: the heading.
        facts: label -> value, in order.
    """
    data, asked = found.data, found.embedded[found.split]
    sections = [
        _map_section(found, predictor),
        _neighbours_section(found, predictor),
        _classes_section(found),
        _labels_section(found),
    ]
    write_page(
        path,
        title=title,
        subtitle=f"{thousands(len(asked.pictures))} {found.split} pictures beside "
        f"{thousands(len(found.embedded['train'].pictures))} training pictures, as the network sees them"
        + _SUBTITLES[found.trained_on],
        numbers=_numbers(found),
        facts={"Data": data.name, "Features": f"{asked.features.shape[1]} a picture", **facts},
        sections=sections,
        scripts=("explain/map.js",),
    )


def _numbers(found: Survey) -> list[Number]:
    asked = found.embedded[found.split]
    numbers = []
    if found.vote is not None:
        accuracy = (asked.answers.argmax(1) == asked.pictures.targets).double().mean().item()
        numbers = [
            Number("Accuracy", percent(accuracy), f"of the network on {found.split} pictures"),
            Number(
                "Accuracy of neighbours",
                percent(found.vote),
                f"the class of most of the {found.neighbours.shape[1]} most alike training pictures",
            ),
        ]
    if found.labels is not None:
        share = f"of {thousands(found.labels.count)} judged"
        numbers.append(Number("Likely label errors", thousands(len(found.labels.suspects)), share))
    return [*numbers, Number("Map", f"{found.map.trust:.3f}", "trustworthiness: 1 where all neighbours are kept")]


def _tile(sample: Sample, *lines: tuple[str, str]) -> _Tile:
    pictures = sample.pictures
    pixels = pictures.picture(sample.index, 3, 2 * _TILE)
    return _Tile(embed(pixels, _TILE), sample.name, lines)


def _answer(answer: Tensor, predictor: Predictor, task: str) -> str:
    said = predictor.task.prediction(answer, 1 if task == "classification" else None)
    if "values" in said:
        return numbers_in_words(said["values"])
    return ", ".join(said["classes"]) or "none"


def doubts(answers: Tensor, targets: Tensor, task: str) -> Tensor:
    """How worth looking at each answer is, (N,): wrong ones first, the surest the most; then the least sure right ones.

    Args:
        answers: (N, K) probabilities or numbers.
        targets: (N,) classes, (N, K) 0 or 1, or (N, K) numbers.
        task: "classification", "multilabel" or "regression".
    """
    if task == "classification":
        sure, said = answers.max(1)
        return torch.where(said != targets, sure, -sure)
    errors = (answers - targets).abs()
    if task == "regression":
        errors = errors / targets.std(0, correction=0).clamp(min=1e-9)
    return errors.amax(1)


def _neighbours_section(found: Survey, predictor: Predictor) -> Section:
    asked, train, task = found.embedded[found.split], found.embedded["train"].pictures, found.data.task
    order = doubts(asked.answers, asked.pictures.targets, task).argsort(descending=True, stable=True)[:_ANSWERS]
    rows = []
    for index in order.tolist():
        sample = Sample(asked.pictures, index)
        answer = _answer(asked.answers[index], predictor, task)
        truth = in_words(sample.target, found.data.classes, task)
        style = "" if task == "regression" else "says blue" if answer == truth else "says orange"
        near = [
            _tile(
                Sample(train, position),
                ("says", in_words(train.targets[position], found.data.classes, task)),
                ("quiet", f"{likeness:.3f}"),
            )
            for position, likeness in zip(
                found.neighbours[index].tolist(), found.likenesses[index].tolist(), strict=True
            )
        ]
        rows.append((_tile(sample, (style, answer), ("quiet", f"truth {truth}")), near))
    body = render("explain/neighbours.html", rows=rows, task=task, total=len(asked.pictures))
    return Section("neighbours", "Nearest training pictures", body)


def _classes_section(found: Survey) -> Section:
    loneliest_first = sorted(found.classes, key=lambda of: -max(of.loneliness, default=0.0))
    rows = [
        (
            of.name,
            of.count,
            [_tile(sample) for sample in of.prototypes],
            [
                _tile(sample, ("quiet", f"{lonely:.3f}"))
                for sample, lonely in zip(of.outliers, of.loneliness, strict=True)
            ],
        )
        for of in loneliest_first[:_CLASSES]
    ]
    body = render("explain/classes.html", rows=rows, total=len(found.classes))
    return Section("classes", "Prototypes and outliers", body)


def _labels_section(found: Survey) -> Section:
    labels = found.labels
    tiles, pairs = [], []
    if labels is not None:
        tiles = [_suspect_tile(suspect) for suspect in labels.suspects[:_SUSPECTS]]
        pairs = Counter((suspect.given, suspect.suggested) for suspect in labels.suspects).most_common(12)
    body = render("explain/labels.html", labels=labels, tiles=tiles, pairs=pairs)
    return Section("labels", "Likely label errors", body)


def _suspect_tile(suspect: Suspect) -> _Tile:
    likely = suspect.probability + suspect.margin
    return _tile(
        suspect.sample,
        ("says orange", f"{suspect.suggested} {percent(likely)}"),
        ("says blue", f"labelled {suspect.given} {percent(suspect.probability)}"),
    )


def _map_section(found: Survey, predictor: Predictor) -> Section:
    samples, task = found.map.pictures, found.data.task
    groups, names = groups_of(samples, found.data.classes, task)
    atlas, side, columns = _atlas(samples, predictor)
    answers = {split: part.answers for split, part in found.embedded.items()}
    suspects = {suspect.sample.name for suspect in (found.labels.suspects if found.labels else ())}
    points = []
    for sample, place, group in zip(samples, found.map.places.tolist(), groups, strict=True):
        truth = in_words(sample.target, found.data.classes, task)
        answer = _answer(answers[sample.split][sample.index], predictor, task)
        wrong = task != "regression" and answer != truth
        flags = wrong + 2 * (sample.name in suspects) + 4 * (sample.split != "train")
        points.append([*(round(value, 4) for value in place), group, flags, sample.name, truth, answer])
    body = render(
        "explain/map.html",
        points=json.dumps(points, ensure_ascii=False, separators=(",", ":")),
        groups=json.dumps(names, ensure_ascii=False),
        atlas=atlas,
        side=side,
        columns=columns,
        map=found.map,
        total=sum(len(part.pictures) for part in found.embedded.values()),
        task=task,
        suspects=bool(suspects),
    )
    return Section("map", "Map", body)


def groups_of(samples: Sequence[Sample], classes: Sequence[str], task: str) -> tuple[list[int], list[str]]:
    """What the map colours samples by: a number for each, and the numbers' names.

    By class; of any number of classes by the only one, or by there being none or several; of numbers by fifths of the
    first one.
    """
    targets = torch.stack([sample.target for sample in samples])
    if task == "classification":
        return targets.tolist(), list(classes)
    if task == "multilabel":
        has = targets >= THRESHOLD
        single, none = has.sum(1) == 1, has.sum(1) == 0
        alone = torch.where(single, has.long().argmax(1), torch.where(none, len(classes), len(classes) + 1))
        return alone.tolist(), [*classes, "none", "several"]
    first = targets[:, 0].contiguous()
    edges = torch.quantile(first, torch.linspace(0, 1, _GROUPS + 1))
    numbers = torch.bucketize(first, edges[1:-1].contiguous())
    return numbers.tolist(), [f"{classes[0]} {edges[i]:.4g} to {edges[i + 1]:.4g}" for i in range(_GROUPS)]


def _atlas(samples: Sequence[Sample], predictor: Predictor) -> tuple[str, int, int]:
    """All pictures of the map in one, as a data address; the side of each, and how many stand in a row."""
    preprocessing = predictor.card.preprocessing
    side = min(_ON_MAP, max(preprocessing.size))
    square = replace(preprocessing, size=(side, side), crop=1.0)
    columns = ceil(len(samples) ** 0.5)
    whole = torch.zeros(3, side * ceil(len(samples) / columns), side * columns, dtype=torch.uint8)
    for number, sample in enumerate(samples):
        row, column = divmod(number, columns)
        pixels = view(sample.pictures.picture(sample.index, preprocessing.channels, 2 * side), square)
        whole[:, row * side : (row + 1) * side, column * side : (column + 1) * side] = pixels
    image = Image.fromarray(whole.permute(1, 2, 0).contiguous().numpy())
    return data_address(image, "PNG" if side < 16 else "JPEG"), side, columns
