"""A trained network in use: pictures in, answers out, with the card's preprocessing and nothing to get wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from resnets.data.decoding import decode, open_picture
from resnets.data.reading import available_processors
from resnets.data.transforms import normalise
from resnets.data.views import view
from resnets.runs.card import Card
from resnets.runs.run import find_run
from resnets.tasks import create_task
from resnets.types import Preprocessing

Picture = str | PathLike[str] | bytes | Image.Image | NDArray[np.uint8]
"""A path, a file's content, an opened picture, or an array (H, W) or (H, W, 3)."""


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Attributes:
        name: its path, or its number where it has none.
        classes: from the most probable down.
        probabilities: of those classes, 0 to 1.
        values: where the network gives numbers, those by name.
        error: why the picture could not be read; there is no answer then.
    """

    name: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    values: Mapping[str, float] | None = None
    error: str | None = None


class Predictor:
    """A run's network with its card.

    Args:
        run: the run's folder, or the name of one in the package.
        device: where to compute; by default a GPU if there is one.

    Raises:
        FileNotFoundError: if there is no such finished run.
    """

    def __init__(self, run: str | Path, device: str | torch.device | None = None) -> None:
        folder = find_run(run)
        self.card: Card = folder.card()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network: nn.Module = folder.network().to(memory_format=torch.channels_last).to(self.device)
        self.task = create_task(self.card.task, self.card.classes, self.card.settings)

    def __call__(self, picture: Picture) -> Prediction:
        """The answer for one picture, all classes in order.

        Raises:
            ValueError: if the picture cannot be read.
        """
        prediction = next(self.predict([picture]))
        if prediction.error is not None:
            raise ValueError(f"{prediction.name} cannot be read: {prediction.error}")
        return prediction

    def predict(
        self, pictures: Iterable[Picture], top: int | None = None, batch_size: int = 64
    ) -> Iterator[Prediction]:
        """An answer for each picture, in order; one that cannot be read gets an error, and the others go on.

        Args:
            pictures: any number; they are read as their answers are asked for.
            top: how many classes to name; all by default.
            batch_size: pictures that the network sees at a time.

        Raises:
            ValueError: if `top` or `batch_size` is below 1.
        """
        if batch_size < 1 or (top is not None and top < 1):
            raise ValueError(f"top and batch_size must be at least 1, not {top} and {batch_size}")
        numbered = iter(enumerate(pictures))
        with ThreadPoolExecutor(available_processors()) as threads:
            while chunk := list(islice(numbered, batch_size)):
                views = list(threads.map(self._view, (picture for _, picture in chunk)))
                names = [picture_name(number, picture) for number, picture in chunk]
                yield from self._answers(names, views, top)

    @torch.inference_mode()
    def answers(self, images: Tensor) -> Tensor:
        """Probabilities or numbers (N, K), float32 on the CPU, for (N, C, H, W) uint8 pictures of the input's size."""
        return self.task.answers(self.network(self.inputs(images))).cpu()

    def inputs(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 pictures of the input's size as the network takes them, on its device."""
        return normalise(images.to(self.device), self.card.preprocessing, channels_last=True)

    def _view(self, picture: Picture) -> Tensor | str:
        """The picture as the network sees it, uint8, or what is wrong with it."""
        try:
            return seen(picture, self.card.preprocessing)
        except Exception as error:  # Pillow and file systems raise many kinds for a broken file
            return str(error) or type(error).__name__

    def _answers(self, names: list[str], views: list[Tensor | str], top: int | None) -> Iterator[Prediction]:
        readable = [picture for picture in views if isinstance(picture, Tensor)]
        rows = iter(self.answers(torch.stack(readable)) if readable else ())
        for name, picture in zip(names, views, strict=True):
            if isinstance(picture, str):
                yield Prediction(name, error=picture)
                continue
            yield Prediction(name, **self.task.prediction(next(rows), top))


def load(run: str | Path, device: str | torch.device | None = None) -> Predictor:
    """The trained network of a run's folder, ready for pictures; see `Predictor`."""
    return Predictor(run, device)


def seen(picture: Picture, preprocessing: Preprocessing) -> Tensor:
    """What the network sees of a picture, (C, *size) uint8.

    Raises:
        Exception: whatever Pillow or the file system raises about one that cannot be read.
    """
    return view(decode(_opened(picture), preprocessing.channels), preprocessing)


def _opened(picture: Picture) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    return open_picture(picture if isinstance(picture, bytes) else Path(picture).read_bytes())


def picture_name(number: int, picture: Picture) -> str:
    """Its path, or its number where it has none."""
    return str(picture) if isinstance(picture, (str, PathLike)) else str(number)
