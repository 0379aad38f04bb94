"""Objects that were found, as pictures with boxes and in COCO's layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnets.data.decoding import decode
from resnets.inference.predictor import Picture, Prediction, opened
from resnets.report.boxes import Box, draw_boxes
from resnets.tasks.detection import pasted


def masks_of(answer: Prediction) -> list[Tensor | None]:
    """The mask (height, width) of each object found, or None of each where the network tells none."""
    if answer.masks is None or answer.size is None:
        return [None] * len(answer.boxes)
    rows = torch.cat((torch.tensor(answer.boxes).view(-1, 4), torch.zeros(len(answer.boxes), 2)), 1)
    return list(pasted(torch.cat((rows, answer.masks.flatten(1)), 1), answer.size))


def drawn(
    pictures: Iterable[Picture], answers: Iterable[Prediction], classes: Sequence[str], folder: Path
) -> Iterator[Prediction]:
    """The answers as they come, each picture being written into a folder with its boxes."""
    for picture, answer in zip(pictures, answers, strict=True):
        if answer.error is None:
            draw_answer(picture, answer, classes, folder)
        yield answer


def draw_answer(picture: Picture, answer: Prediction, classes: Sequence[str], folder: Path) -> None:
    """Write a picture with its boxes into a folder as PNG; never over the picture itself."""
    path = Path(answer.name)
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
    draw_boxes(decode(opened(picture), 3), boxes).save(target)


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
