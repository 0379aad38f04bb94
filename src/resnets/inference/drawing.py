"""What was found as pictures: boxes of objects, masks and their colours; and objects in COCO's layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from glob import glob
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from resnets.data.decoding import decode, picture_suffixes
from resnets.inference.pictures import Picture, opened
from resnets.inference.prediction import Prediction
from resnets.report.boxes import Box, draw_boxes
from resnets.report.masks import index_picture, overlay
from resnets.tasks.detection import pasted


def masks_of(answer: Prediction) -> list[Tensor | None]:
    """The mask (height, width) of each object found, or None of each where the network tells none."""
    if answer.masks is None or answer.size is None:
        return [None] * len(answer.boxes)
    rows = torch.cat((torch.tensor(answer.boxes).view(-1, 4), torch.zeros(len(answer.boxes), 2)), 1)
    return list(pasted(torch.cat((rows, answer.masks.flatten(1)), 1), answer.size))


class Album:
    """A folder of pictures that are written one after the other, each under its own name as PNG.

    Args:
        folder: is made where it is not there.
        looked_at: files, folders and patterns of the pictures that are looked at, none of which is written over.
    """

    def __init__(self, folder: Path, looked_at: Iterable[str] = ()) -> None:
        self.folder = folder
        found = (glob(name, recursive=True) or [name] for name in looked_at)  # noqa: PTH207 - absolute ones too
        self._looked_at = {Path(name).resolve() for names in found for name in names}
        self._written: set[str] = set()

    def add(self, image: Image.Image, name: str) -> None:
        """Write a picture, with a number behind its name where an earlier one has that.

        Raises:
            ValueError: if it would take the place of a picture that is looked at.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = Path(name)  # a frame of a video has a fraction of its seconds behind the point
        stem = path.stem if path.suffix.lower() in picture_suffixes() else path.name
        names = chain([f"{stem}.png"], (f"{stem}-{number}.png" for number in count(2)))
        target = self.folder / next(name for name in names if name not in self._written)
        whole = target.resolve()
        if target.exists() and not self._looked_at.isdisjoint((whole, *whole.parents)):
            raise ValueError(f"{target} is one of the pictures that are looked at; choose another folder to write into")
        image.save(target)
        self._written.add(target.name)


def drawn(
    pictures: Iterable[Picture], answers: Iterable[Prediction], classes: Sequence[str], album: Album
) -> Iterator[Prediction]:
    """The answers as they come, each picture being written with its boxes, or under the colours of its mask."""
    for picture, answer in zip(pictures, answers, strict=True):
        if answer.error is None:
            album.add(draw_answer(picture, answer, classes), answer.name)
        yield answer


def masked(answers: Iterable[Prediction], classes: Sequence[str], album: Album) -> Iterator[Prediction]:
    """The answers as they come, each mask being written as a picture whose pixels are the numbers of the classes."""
    for answer in answers:
        if answer.mask is not None:
            album.add(index_picture(answer.mask, len(classes)), answer.name)
        yield answer


def draw_answer(picture: Picture, answer: Prediction, classes: Sequence[str]) -> Image.Image:
    """A picture with its boxes, or under the colours of its mask."""
    pixels = decode(opened(picture), 3)
    if answer.mask is not None:
        return overlay(pixels, answer.mask, len(classes))
    boxes = [
        Box(sides, classes.index(label), f"{label} {share:.2f}", mask)
        for sides, label, share, mask in zip(
            answer.boxes, answer.classes, answer.probabilities, masks_of(answer), strict=True
        )
    ]
    return draw_boxes(pixels, boxes)


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
