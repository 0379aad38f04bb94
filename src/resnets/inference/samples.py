"""The pictures on which exports are calibrated and compared: the run's own where they are here, otherwise made ones."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from resnets.data.dataset import Dataset, UnreadablePictureError
from resnets.data.opening import Data, reopen
from resnets.data.order import permutation, uniform
from resnets.data.views import view
from resnets.runs.card import Card
from resnets.types import Preprocessing

CALIBRATION_PICTURES = 300
FEWEST_CALIBRATED = 32
COMPARED = 32
"""Training pictures that set the scales of int8, the fewest that may where there are more, and pictures on which an
export is compared with its network."""


def pixels_of(picture: Tensor, preprocessing: Preprocessing, whole: bool) -> Tensor:
    """A decoded picture (C, H, W) as a batch of one for a graph, (1, H, W, C)."""
    return (picture if whole else view(picture, preprocessing)).permute(1, 2, 0)[None]


def calibration_pixels(card: Card, data: Data | None, whole: bool, batch: int | None) -> tuple[list[Tensor], int]:
    """Batches of the run's training pictures, evenly from all of them, as the graph takes them; and how many pictures.

    Pictures of a batch have one size, and copies of its last fill it up; of whole pictures, those of rare sizes are
    left out where there would be more batches than of a single size.

    Raises:
        ValueError: if the pictures are not there, or have so many sizes that hardly any are left.
    """
    if data is None:
        raise ValueError(
            f"int8 is calibrated with the run's training pictures, but they are not at {card.data.get('source')}; "
            "say by --data where they are"
        )
    size = batch or 1
    most = max(CALIBRATION_PICTURES, size)
    groups: dict[torch.Size, list[Tensor]] = {}
    for picture in some_pictures(data.splits["train"], most, card):
        pixels = pixels_of(picture, card.preprocessing, whole)
        groups.setdefault(pixels.shape, []).append(pixels)
    parts = [group[start : start + size] for group in groups.values() for start in range(0, len(group), size)]
    kept = sorted(parts, key=len, reverse=True)[: math.ceil(most / size)]
    count = sum(map(len, kept))
    if count < min(FEWEST_CALIBRATED, sum(map(len, parts))):
        raise ValueError(
            f"the training pictures have so many sizes that batches of {size} would hold {count} of them; export with "
            "a smaller or dynamic --batch, or without --preprocess"
        )
    return [part[0] if size == 1 else torch.cat([*part, *[part[-1]] * (size - len(part))]) for part in kept], count


def picture_files(card: Card, data: Data | None) -> Iterator[bytes]:
    """Contents of files to compare on: pictures that the run was judged on where they are here, otherwise made ones."""
    if data is None:
        yield from made_files()
        return
    for picture in some_pictures(data.splits[card.data.get("evaluated_on") or "train"], COMPARED, card):
        file = io.BytesIO()
        pixels = picture.permute(1, 2, 0).numpy()
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
        yield file.getvalue()


def some_pictures(pictures: Dataset, count: int, card: Card) -> Iterator[Tensor]:
    """At most `count` of a split's pictures, (C, H, W), evenly from all of them; what cannot be read is left out."""
    for index in permutation(0, 0, len(pictures))[:count].tolist():
        try:
            yield pictures.picture(index, card.preprocessing.channels)
        except UnreadablePictureError:
            continue


def made_files(count: int = COMPARED) -> Iterator[bytes]:
    """Contents of JPEG files of several sizes and shapes, showing coloured clouds."""
    for number in range(count):
        width, height = 96 + 37 * (number % 5), 80 + 29 * (number % 7)
        values = uniform(0, 0, torch.tensor([number]), "clouds", 75).view(5, 5, 3)
        clouds = Image.fromarray((values * 255).to(torch.uint8).numpy())
        file = io.BytesIO()
        clouds.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        yield file.getvalue()


def own_data(card: Card, source: str | Path | None = None) -> Data | None:
    """What the run was trained on, split as it was; None where it is not there any more, or has changed.

    Args:
        card: the run's.
        source: where it is now, if not where the card says.

    Raises:
        ValueError: if what is at `source` is not what the run was trained on.
    """
    try:
        data = reopen(card.data if source is None else {**card.data, "source": str(source)})
    except (OSError, ValueError, KeyError, ImportError):
        if source is not None:
            raise
        return None
    if data.fingerprint == card.data.get("fingerprint") and "train" in data.splits:
        return data
    if source is not None:
        raise ValueError(f"{source} is not what the run was trained on: names, labels or sizes of files differ")
    return None
