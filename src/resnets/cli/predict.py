"""`resnets predict`: a run's network on pictures."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import chain, count, pairwise
from json import dumps
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from resnets.data.decoding import decode, open_picture, picture_suffixes
from resnets.inference.predictor import Prediction, load
from resnets.report.boxes import Box, draw_boxes
from resnets.report.masks import index_picture, overlay
from resnets.tasks.detection import pasted


def predict(
    run: str,
    *images: str,
    top: int = 1,
    batch_size: int | None = None,
    device: str | None = None,
    tiled: bool = False,
    draw: Path | None = None,
    masks: Path | None = None,
    flips: bool = False,
    scales: list[float] | None = None,
    json: bool = False,
) -> None:
    """Name the class of pictures, give their numbers, find their objects, or give every pixel a class. A picture that
    cannot be read gets an error; the others go on.

    Args:
        run: the run's folder, or the name of one in the package.
        images: picture files, folders (with all that is below them), or patterns such as 'photos/*.jpg'.
        top: how many classes to name, the most probable first.
        batch_size: pictures that the network sees at a time; by default 64, of objects and masks 8.
        device: cpu, cuda...; by default a GPU if there is one.
        tiled: look at a large picture in tiles at its own resolution; for objects also at the whole.
        draw: a folder to write the pictures into, with the boxes of what was found, or under the colours of their mask.
        masks: a folder to write the masks into, PNG pictures whose pixels are the numbers of the classes.
        flips: for masks, look at mirror images, too.
        scales: for masks, look at pictures in these sizes, such as [0.75,1,1.25], and take the mean.
        json: print one JSON object a picture; of objects, one in COCO's layout.
    """
    paths = [path for image in images for path in find_pictures(image)]
    if not paths:
        raise ValueError("name at least one picture, folder or pattern after the run")
    predictor = load(run, device, flips, (1.0,) if scales is None else scales)
    classes = predictor.card.classes
    finds_objects, gives_masks = predictor.card.task == "detection", predictor.card.task == "segmentation"
    if draw is not None and not (finds_objects or gives_masks):
        raise ValueError(f"--draw is for networks that find objects or masks, and the task is {predictor.card.task}")
    if masks is not None and not gives_masks:
        raise ValueError(f"--masks is for networks that give masks, and the task is {predictor.card.task}")
    answers = []
    for path, name, answer in zip(
        paths, output_names(paths), predictor.predict(paths, top, batch_size, tiled), strict=True
    ):
        answers.append(replace(answer, mask=None, masks=answer.masks if finds_objects else None))
        if draw is not None and answer.error is None:
            write_picture(drawn(path, answer, classes), draw, name, paths)
        if masks is not None and answer.mask is not None:
            write_picture(index_picture(answer.mask, len(classes)), masks, name, paths)
        if json and not finds_objects:
            print(dumps({name: value for name, value in asdict(answers[-1]).items() if value not in (None, ())}))
    if finds_objects and json:
        print(dumps(in_coco_layout(answers, classes)))
    if not json:
        print_table(answers, *(("Class", "Share of the pixels") if gives_masks else ()))
    failed = sum(answer.error is not None for answer in answers)
    if failed:
        raise ValueError(f"{failed} of {len(answers)} pictures could not be read")


def find_pictures(image: str) -> list[Path]:
    """The files that an argument stands for, in order.

    Raises:
        FileNotFoundError: if there is no such file, or no picture in the folder or under the pattern.
    """
    path = Path(image)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in picture_suffixes())
    elif path.exists():
        found = [path]
    else:
        found = sorted(Path(name) for name in glob.glob(image, recursive=True))  # noqa: PTH207 - absolute ones too
    if not found:
        raise FileNotFoundError(f"there is no picture at {image}")
    return found


def print_table(answers: list[Prediction], number: str = "Number", value: str = "Value") -> None:
    """A line a picture, and a line more for each further class, number or object; the headings are of numbers."""
    numbers = any(answer.values for answer in answers)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("Picture", overflow="fold")
    table.add_column(number if numbers else "Class", overflow="fold")
    table.add_column(value if numbers else "Probability", justify="right")
    for answer in answers:
        if answer.error is not None:
            table.add_row(Text(answer.name), Text(answer.error, style="red"), "")
        rows = [(name, f"{figure:.4g}") for name, figure in (answer.values or {}).items()]
        rows += [(name, f"{share:.1%}") for name, share in zip(answer.classes, answer.probabilities, strict=True)]
        if answer.size is not None and not rows:
            rows = [("nothing", "")]
        for row, (label, text) in enumerate(rows):
            table.add_row(Text(answer.name if row == 0 else ""), Text(label), text)
    Console().print(table)


def masks_of(answer: Prediction) -> list[Tensor | None]:
    """The mask (height, width) of each object found, or None of each where the network tells none."""
    if answer.masks is None or answer.size is None:
        return [None] * len(answer.boxes)
    rows = torch.cat((torch.tensor(answer.boxes).view(-1, 4), torch.zeros(len(answer.boxes), 2)), 1)
    return list(pasted(torch.cat((rows, answer.masks.flatten(1)), 1), answer.size))


def drawn(path: Path, answer: Prediction, classes: Sequence[str]) -> Image.Image:
    """A picture with its boxes, or under the colours of its mask."""
    pixels = decode(open_picture(path.read_bytes()), 3)
    if answer.mask is not None:
        return overlay(pixels, answer.mask, len(classes))
    boxes = [
        Box(sides, classes.index(label), f"{label} {share:.2f}", mask)
        for sides, label, share, mask in zip(
            answer.boxes, answer.classes, answer.probabilities, masks_of(answer), strict=True
        )
    ]
    return draw_boxes(pixels, boxes)


def output_names(paths: Sequence[Path]) -> list[str]:
    """For each picture the name of a PNG file, its own with a number behind it where an earlier one has that."""
    names: list[str] = []
    for path in paths:
        numbered = chain([path.stem], (f"{path.stem}-{number}" for number in count(2)))
        names.append(next(name for name in (f"{stem}.png" for stem in numbered) if name not in names))
    return names


def write_picture(image: Image.Image, folder: Path, name: str, sources: Sequence[Path]) -> None:
    """Write a picture into a folder.

    Raises:
        ValueError: if it would take the place of a picture that was looked at.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    if target.exists() and any(target.samefile(source) for source in sources):
        raise ValueError(f"{target} is one of the pictures that are looked at; choose another folder to write into")
    image.save(target)


def in_coco_layout(answers: Sequence[Prediction], classes: Sequence[str]) -> dict[str, Any]:
    """All answers as COCO has its data: images, categories, and annotations with a score.

    Images and categories are numbered from 1; masks are uncompressed run lengths.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, answer in enumerate(answers, 1):
        if answer.size is None:
            continue
        height, width = answer.size
        images.append({"id": number, "file_name": answer.name, "height": height, "width": width})
        for box, label, score, mask in zip(
            answer.boxes, answer.classes, answer.probabilities, masks_of(answer), strict=True
        ):
            left, top, right, bottom = box
            found = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": classes.index(label) + 1,
                "bbox": [round(side, 2) for side in (left, top, right - left, bottom - top)],
                "area": round((right - left) * (bottom - top), 2),
                "score": round(score, 5),
                "iscrowd": 0,
            }
            if mask is not None:
                found |= {"segmentation": run_lengths(mask), "area": int(mask.sum())}
            annotations.append(found)
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    return {"images": images, "categories": categories, "annotations": annotations}


def run_lengths(mask: Tensor) -> dict[str, Any]:
    """COCO's run lengths of a mask (height, width): pixels down the columns that are outside, inside, outside..."""
    pixels = mask.T.flatten().to(torch.int8)
    ends = torch.cat((pixels.new_zeros(1), pixels)).diff().nonzero().flatten().tolist()
    bounds = [0, *ends, len(pixels)]
    return {"size": list(mask.shape), "counts": [end - start for start, end in pairwise(bounds)]}
