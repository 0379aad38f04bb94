"""`resnets predict`: a run's network on pictures."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from json import dumps
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from resnets.data.decoding import decode, open_picture, picture_suffixes
from resnets.inference.predictor import Prediction, load
from resnets.report.boxes import Box, draw_boxes
from resnets.tasks.detection import pasted


def predict(
    run: str,
    *images: str,
    top: int = 1,
    batch_size: int | None = None,
    device: str | None = None,
    tiled: bool = False,
    draw: Path | None = None,
    json: bool = False,
) -> None:
    """Name the class of pictures, give their numbers, or find their objects. One that cannot be read gets an error; the
    others go on.

    Args:
        run: the run's folder, or the name of one in the package.
        images: picture files, folders (with all that is below them), or patterns such as 'photos/*.jpg'.
        top: how many classes to name, the most probable first.
        batch_size: pictures that the network sees at a time; by default 64, of a detector 8.
        device: cpu, cuda...; by default a GPU if there is one.
        tiled: look for objects in tiles of a large picture, too, at its own resolution.
        draw: a folder to write the pictures into, with the boxes of what was found.
        json: print one JSON object a picture; of objects, one in COCO's layout.
    """
    paths = [path for image in images for path in find_pictures(image)]
    if not paths:
        raise ValueError("name at least one picture, folder or pattern after the run")
    predictor = load(run, device)
    finds_objects = predictor.card.task == "detection"
    if draw is not None and not finds_objects:
        raise ValueError(f"--draw is for networks that find objects, and the task is {predictor.card.task}")
    answers = []
    for path, answer in zip(paths, predictor.predict(paths, top, batch_size, tiled), strict=True):
        answers.append(answer)
        if draw is not None and answer.error is None:
            draw_answer(path, answer, predictor.card.classes, draw)
        if json and not finds_objects:
            print(dumps({name: value for name, value in asdict(answer).items() if value not in (None, ())}))
    if finds_objects and json:
        print(dumps(in_coco_layout(answers, predictor.card.classes)))
    if not json:
        print_table(answers)
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


def print_table(answers: list[Prediction]) -> None:
    """A line a picture, and a line more for each further class, number or object."""
    numbers = any(answer.values for answer in answers)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("Picture", overflow="fold")
    table.add_column("Number" if numbers else "Class", overflow="fold")
    table.add_column("Value" if numbers else "Probability", justify="right")
    for answer in answers:
        if answer.error is not None:
            table.add_row(Text(answer.name), Text(answer.error, style="red"), "")
        rows = [(name, f"{value:.4g}") for name, value in (answer.values or {}).items()]
        rows += [(name, f"{share:.1%}") for name, share in zip(answer.classes, answer.probabilities, strict=True)]
        if answer.size is not None and not rows:
            rows = [("nothing", "")]
        for number, (label, text) in enumerate(rows):
            table.add_row(Text(answer.name if number == 0 else ""), Text(label), text)
    Console().print(table)


def masks_of(answer: Prediction) -> list[Tensor | None]:
    """The mask (height, width) of each object found, or None of each where the network tells none."""
    if answer.masks is None or answer.size is None:
        return [None] * len(answer.boxes)
    rows = torch.cat((torch.tensor(answer.boxes).view(-1, 4), torch.zeros(len(answer.boxes), 2)), 1)
    return list(pasted(torch.cat((rows, answer.masks.flatten(1)), 1), answer.size))


def draw_answer(path: Path, answer: Prediction, classes: Sequence[str], folder: Path) -> None:
    """Write a picture with its boxes into a folder as PNG; never over the picture itself."""
    folder.mkdir(parents=True, exist_ok=True)
    boxes = [
        Box(sides, classes.index(label), f"{label} {share:.2f}", mask)
        for sides, label, share, mask in zip(
            answer.boxes, answer.classes, answer.probabilities, masks_of(answer), strict=True
        )
    ]
    target = folder / f"{path.stem}.png"
    if target.resolve() == path.resolve():
        target = folder / f"{path.stem}-boxes.png"
    draw_boxes(decode(open_picture(path.read_bytes()), 3), boxes).save(target)


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
