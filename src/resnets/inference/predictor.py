"""A trained network in use: pictures in, answers out, with the card's preprocessing and nothing to get wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
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
from resnets.data.transforms import prepare
from resnets.data.views import view
from resnets.inference.finding import find_objects
from resnets.inference.segmenting import Often, segment
from resnets.runs.card import Card
from resnets.runs.run import find_run
from resnets.tasks import Task, create_task
from resnets.types import Batch, Preprocessing

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
        boxes: where it finds objects, left, top, right and bottom of each, in the picture's pixels; `classes` and
            `probabilities` are theirs, and a class may come any number of times.
        masks: of each object, where the network tells them, how likely each of 28 x 28 cells of its box is its own; see
            `tasks.detection.pasted`.
        mask: where every pixel gets a class, (h, w) uint8 numbers of the card's classes; `values` are then the shares
            of the pixels that each class has, the largest first.
        size: height and width of the picture in which objects were looked for.
        error: why the picture could not be read; there is no answer then.
    """

    name: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    values: Mapping[str, float] | None = None
    boxes: tuple[tuple[float, ...], ...] = ()
    masks: Tensor | None = None
    mask: Tensor | None = None
    size: tuple[int, int] | None = None
    error: str | None = None


class Predictor:
    """A run's network with its card.

    Args:
        run: the run's folder, or the name of one in the package.
        device: where to compute; by default a GPU if there is one.
        flips, scales: where every pixel gets a class, look at mirror images, too, and in these sizes; the mean counts.

    Raises:
        FileNotFoundError: if there is no such finished run.
        ValueError: for flips or scales where pixels get no class.
    """

    def __init__(
        self,
        run: str | Path,
        device: str | torch.device | None = None,
        flips: bool = False,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        folder = find_run(run)
        self.card: Card = folder.card()
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network: nn.Module = folder.network().to(memory_format=torch.channels_last).to(self.device)
        self.task = create_task(self.card.task, self.card.classes, self.card.settings)
        self.gives_masks = self.card.task == "segmentation"
        if flips or tuple(scales) != (1.0,):
            if not self.gives_masks:
                raise ValueError(f"flips and scales are for masks, and the task is {self.card.task}")
            self.network = Often(self.network, flips, scales)

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
        self, pictures: Iterable[Picture], top: int | None = None, batch_size: int | None = None, tiled: bool = False
    ) -> Iterator[Prediction]:
        """An answer for each picture, in order; one that cannot be read gets an error, and the others go on.

        Args:
            pictures: any number; they are read as their answers are asked for.
            top: how many classes to name; all by default.
            batch_size: pictures that the network sees at a time; by default 64, of objects and masks 8.
            tiled: look for objects in tiles of a large picture, too, at its own resolution; for masks, in them alone.

        Raises:
            ValueError: if `top` or `batch_size` is below 1, or tiles are asked of a network that finds neither objects
                nor masks.
        """
        sees_all = self.card.preprocessing.fit == "contain"
        if tiled and not sees_all:
            raise ValueError(f"tiles are for networks that find objects or masks, and the task is {self.card.task}")
        batch_size = (8 if sees_all else 64) if batch_size is None else batch_size
        if batch_size < 1 or (top is not None and top < 1):
            raise ValueError(f"top and batch_size must be at least 1, not {top} and {batch_size}")
        numbered = iter(enumerate(pictures))
        with ThreadPoolExecutor(available_processors()) as threads:
            while chunk := list(islice(numbered, batch_size)):
                if sees_all:
                    yield from self._wholes(chunk, list(threads.map(self._decoded, (p for _, p in chunk))), tiled)
                    continue
                views = list(threads.map(self._view, (picture for _, picture in chunk)))
                names = [_name(number, picture) for number, picture in chunk]
                yield from self._answers(names, views, top)

    def answers(self, images: Tensor) -> Tensor:
        """Probabilities or numbers (N, K), of pixels (N, K, H, W), for (N, C, H, W) uint8 pictures of the input's size.

        They are float32, on the CPU.
        """
        return answers_of(self.network, self.task, self.card.preprocessing, self.device, images)

    def _decoded(self, picture: Picture) -> Tensor | str:
        """The whole picture, uint8, or what is wrong with it."""
        try:
            return decode(_opened(picture), self.card.preprocessing.channels)
        except Exception as error:  # as in `_view`
            return str(error) or type(error).__name__

    def _wholes(
        self, chunk: list[tuple[int, Picture]], pictures: list[Tensor | str], tiled: bool
    ) -> Iterator[Prediction]:
        """The objects or masks of whole pictures."""
        readable = [picture for picture in pictures if isinstance(picture, Tensor)]
        find = segment if self.gives_masks else find_objects
        found = iter(find(readable, self.card.preprocessing, self.answers, len(chunk), tiled))
        for (number, named), picture in zip(chunk, pictures, strict=True):
            name = _name(number, named)
            if isinstance(picture, str):
                yield Prediction(name, error=picture)
                continue
            size = (picture.shape[1], picture.shape[2])
            yield replace(Prediction(name, **self.task.prediction(next(found), None)), size=size)

    def _view(self, picture: Picture) -> Tensor | str:
        """The picture as the network sees it, uint8, or what is wrong with it."""
        try:
            return view(decode(_opened(picture), self.card.preprocessing.channels), self.card.preprocessing)
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


@torch.inference_mode()
def answers_of(
    network: nn.Module, task: Task, preprocessing: Preprocessing, device: torch.device, images: Tensor
) -> Tensor:
    """A network's answers, on the CPU, to (N, C, H, W) uint8 pictures of the input's size."""
    numbers = torch.arange(len(images))
    batch = Batch(images, torch.zeros_like(numbers), numbers).to(device)
    return task.answers(network(prepare(batch, preprocessing, channels_last=True).images)).cpu()


def load(
    run: str | Path,
    device: str | torch.device | None = None,
    flips: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Predictor:
    """The trained network of a run's folder, ready for pictures; see `Predictor`."""
    return Predictor(run, device, flips, scales)


def _opened(picture: Picture) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture)
    return open_picture(picture if isinstance(picture, bytes) else Path(picture).read_bytes())


def _name(number: int, picture: Picture) -> str:
    return str(picture) if isinstance(picture, (str, PathLike)) else str(number)
