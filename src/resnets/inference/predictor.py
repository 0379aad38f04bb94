"""A trained network in use: pictures in, answers out, with the card's preprocessing and nothing to get wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn

from resnets.data.decoding import decode, opened_again
from resnets.data.reading import available_processors
from resnets.data.transforms import normalise
from resnets.data.views import view
from resnets.inference.choice import choose_engine, choose_precision
from resnets.inference.engines import PRECISIONS, Engine, engine_class, open_engine
from resnets.inference.exported import chosen_device, generating_network, open_export, takes_whole_pictures
from resnets.inference.finding import find_objects
from resnets.inference.graph import Answer
from resnets.inference.pictures import Picture, name_of, opened
from resnets.inference.pipeline import in_batches
from resnets.inference.prediction import Prediction
from resnets.inference.segmenting import Often, segment
from resnets.inference.views import OF_SEEN, OF_WHOLE, VIEWS, averages
from resnets.runs.card import Card
from resnets.runs.run import find_run
from resnets.tasks import create_task
from resnets.types import Preprocessing

Result = tuple[Tensor, tuple[int, int] | None] | str
"""A row of the task's answers, with height and width of the picture where it tells of places; or what went wrong."""

BATCH_PIXELS = 16 * 224 * 224
"""Pixels of a batch where nobody says how many pictures it has: 16 at 224, more of smaller ones."""

ENOUGH = 2
"""A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that leaves so many times the pixels, along each side, that
the network's view is made from. Of photographs, the values of the views then differ by 1 to 2 of 255 in the mean."""


class Predictor:
    """A run's network with its card.

    Args:
        run: the run's folder, or the name of one in the package; exported or not.
        device: where to compute; by default a GPU if there is one, and the CPU where an export is for it.
        engine: a module of `inference.engines`, or "auto" for the fastest here, by a short measurement that is
            remembered; by default "eager", or what an export is for.
        precision: "float32", "bfloat16", "int8" or "auto", which is bfloat16 where the processor or GPU computes in
            it; by default float32, or what an export is in.
        exact: decode JPEG at its full size, as evaluation does; see `ENOUGH`.
        views: "single", or "mirrored", "shifted", "ten-crop" or "multi-scale" of `inference.views`, whose answers are
            averaged.
        flips, scales: where every pixel gets a class, look at mirror images, too, and in these sizes; the mean counts.

    Raises:
        FileNotFoundError: if there is no such finished run.
        ValueError: if there is no such device, engine or precision, an export is for another, or views, flips or scales
            are asked of a network that has no use for them.
        ImportError: if the engine's library is not installed, naming the extra.
    """

    def __init__(
        self,
        run: str | Path,
        device: str | torch.device | None = None,
        *,
        engine: str | None = None,
        precision: str | None = None,
        exact: bool = False,
        views: str = "single",
        flips: bool = False,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        self.run = find_run(run)
        self.card: Card = self.run.finished_card()
        self.device = chosen_device(device, self.card)
        self.task: Any = create_task(self.card.task, self.card.classes, self.card.settings)
        self.exact = exact
        self.views = views
        self.flips, self.scales = flips, tuple(scales)
        self._asked = engine, precision
        self._check_options()

    def _check_options(self) -> None:
        """Raise ValueError for options that this network has no use for."""
        engine, precision = self._asked
        if self.views not in ("single", *VIEWS):
            raise ValueError(f"views must be one of single, {', '.join(VIEWS)}, not {self.views!r}")
        if self.gives_masks and self.views != "single":
            raise ValueError(f"the views of masks are flips and scales; leave out {self.views}")
        if self.finds_objects and self.views != "single":
            raise ValueError(f"the places of objects cannot be averaged over views; leave out {self.views}")
        if self._looks_often and not self.gives_masks:
            raise ValueError(f"flips and scales are for masks, and the task is {self.card.task}")
        if self._looks_often and (self.card.export or engine not in (None, "auto", "eager")):
            raise ValueError("flips and scales are computed by the engine eager alone, of a run that is no export")
        if self.whole and self.views != "single":
            raise ValueError(
                f"{self.run.folder} crops pictures in its graph, so that {self.views} cannot; export without "
                "--preprocess"
            )
        if self.views == "multi-scale" and (self.card.export or engine not in (None, "eager")):
            raise ValueError("multi-scale needs pictures of several sizes, which the engine eager alone takes")
        if precision not in (None, "auto", *PRECISIONS):
            raise ValueError(f"precision must be auto or one of {', '.join(PRECISIONS)}, not {precision!r}")
        if engine not in (None, "auto"):
            engine_class(engine)

    @property
    def precision(self) -> str:
        """In which the network is computed."""
        if self.card.export:
            return str(self.card.export["precision"])
        asked = self._asked[1]
        return choose_precision(self.device) if asked == "auto" else asked or "float32"

    @cached_property
    def engine(self) -> Engine:
        """What computes the network."""
        name, precision = self._asked
        if not self.task.tells:
            raise ValueError(
                f"{self.run.folder} makes pictures and tells nothing of given ones; use `resnets generate`"
            )
        if self.card.export:
            return open_export(self.run.folder, self.card, self.device, name, precision)
        network, preprocessing, kind = self._looking(self.run.network()), self.card.preprocessing, self.precision
        if name == "auto" and not self._looks_often:
            name = choose_engine(network, preprocessing, kind, self.device)
        return open_engine("eager" if name in (None, "auto") else name, network, preprocessing, kind, self.device)

    @cached_property
    def network(self) -> nn.Module:
        """The network as PyTorch's module, in evaluation mode, channels-last on the device."""
        if not self.task.tells:
            return cast(nn.Module, generating_network(self.run, self.device))
        return self._looking(self.run.network()).to(memory_format=torch.channels_last).to(self.device)

    @property
    def _looks_often(self) -> bool:
        return self.flips or self.scales != (1.0,)

    def _looking(self, network: nn.Module) -> nn.Module:
        """The network, looking at each picture as often as was asked for."""
        return Often(network, self.flips, self.scales) if self._looks_often else network

    @property
    def sees_all(self) -> bool:
        """Whether places in the picture are answered, so that all of it has to be seen."""
        return self.card.preprocessing.fit == "contain"

    @property
    def gives_masks(self) -> bool:
        """Whether every pixel gets a class."""
        return self.card.task == "segmentation"

    @property
    def finds_objects(self) -> bool:
        """Whether boxes are answered."""
        return self.sees_all and not self.gives_masks

    @property
    def whole(self) -> bool:
        """Whether the engine resizes and crops, so that it takes whole pictures."""
        return takes_whole_pictures(self.card)

    @property
    def batch_size(self) -> int:
        """Pictures that the network sees at a time where nobody says otherwise."""
        height, width = self.card.preprocessing.size
        return 1 if self.whole else max(min(BATCH_PIXELS // (height * width), 128), 1)

    @property
    def readers(self) -> int:
        """Threads that do nothing but read, beside those that compute."""
        return max(available_processors() - self.engine.parallel, 1)

    def __call__(self, picture: Picture) -> Prediction:
        """The answer for one picture, all classes in order.

        Raises:
            ValueError: if the picture cannot be read.
        """
        result = self.compute([self.read(picture)])[0]
        if isinstance(result, str):
            raise ValueError(f"{name_of(0, picture)} cannot be read: {result}")
        return self.prediction(name_of(0, picture), result)

    def predict(
        self,
        pictures: Iterable[Picture],
        top: int | None = None,
        batch_size: int | None = None,
        coverage: float | None = None,
        tiled: bool = False,
    ) -> Iterator[Prediction]:
        """An answer for each picture, in order; one that cannot be read gets an error, and the others go on.

        Pictures are decoded while the network computes, and asked for some batches ahead of their answers, so that
        any number takes the same memory.

        Args:
            pictures: any number.
            top: how many classes to name; all by default.
            batch_size: pictures that the network sees at a time; by default as many as have `BATCH_PIXELS`.
            coverage: name as many classes as hold the right one with this probability, instead of `top`; a conformal
                set, calibrated on the validation split.
            tiled: look for objects in tiles of a large picture, too, at its own resolution; for masks, in them alone.

        Raises:
            ValueError: if `top` or `batch_size` is below 1, the run knows no sets of that coverage, as lower precisions
                and means of views have none, or tiles are asked of a network that finds neither objects nor masks.
        """
        if top is not None and top < 1:
            raise ValueError(f"top must be at least 1, not {top}")
        if coverage is not None:
            self._check_sets()
        if tiled and not self.sees_all:
            raise ValueError(f"tiles are for networks that find objects or masks, and the task is {self.card.task}")
        for number, (picture, result) in enumerate(self._results(pictures, batch_size, tiled)):
            count = top
            if coverage is not None and not isinstance(result, str):
                count = self.task.set_size(result[0], coverage)
            yield self.prediction(name_of(number, picture), result, count)

    def _check_sets(self) -> None:
        """Raise ValueError where there are no conformal sets, which are calibrated for one network, view, precision."""
        if not hasattr(self.task, "set_size"):
            raise ValueError(f"coverage is of single classes, not of {self.card.task}")
        if self.views != "single":
            raise ValueError("sets of classes are calibrated on single views; leave out --views or --coverage")
        export = self.card.export
        if self.precision != "float32" or "members" in export:
            instead = f"ask {export['source']}, or export one run in float32" if export else "leave --precision out"
            raise ValueError(
                f"sets of classes are calibrated for one network in float32, which {self.run.folder} is not here; "
                f"{instead}"
            )

    def rows(
        self, pictures: Iterable[Picture], batch_size: int | None = None
    ) -> Iterator[tuple[Picture, Tensor | str]]:
        """Each picture with its row of the task's answers, or with what is wrong with it; see `predict`."""
        for picture, result in self._results(pictures, batch_size):
            yield picture, result if isinstance(result, str) else result[0]

    def _results(
        self, pictures: Iterable[Picture], batch_size: int | None = None, tiled: bool = False
    ) -> Iterator[tuple[Picture, Result]]:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        size = 1 if self.whole else batch_size or self.batch_size
        compute = partial(self.compute, tiled=tiled)
        return in_batches(pictures, self.read, compute, size, self.readers, self.engine.parallel)

    def outputs(self, pixels: Tensor) -> Answer:
        """What the network gives for pixels (N, H, W, C) uint8 of the input's size, or whole; float32 on the CPU."""
        return self.engine(pixels)

    def answers(self, images: Tensor) -> Tensor:
        """The task's answers for (N, C, H, W) uint8 pictures of the input's size, a row a picture.

        Of views that are made of these, the mean.
        """
        if self.views not in OF_SEEN:
            return self.task.answers(self._outputs(images))
        return torch.stack([self.task.answers(self._outputs(each)) for each in OF_SEEN[self.views](images)]).mean(0)

    def _outputs(self, images: Tensor) -> Tensor:
        """The network's own for (N, C, H, W) uint8 pictures of the input's size."""
        return cast(Tensor, self.outputs(images.permute(0, 2, 3, 1)))

    def inputs(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 pictures of the input's size as `network` takes them, on its device."""
        return normalise(images.to(self.device), self.card.preprocessing, channels_last=True)

    def prediction(self, name: str, result: Result, top: int | None = None) -> Prediction:
        """One of the results of `compute` as a prediction, with so many classes, or with what was wrong."""
        if isinstance(result, str):
            return Prediction(name, error=result)
        answer, size = result
        return Prediction(name, size=size, **self.task.prediction(answer, top))

    def read(self, picture: Picture) -> list[Tensor] | str:
        """The picture as `compute` takes it, groups of (V, C, H, W) uint8, or what is wrong with it."""
        preprocessing = self.card.preprocessing
        whole = self.whole or self.sees_all
        enough = None if self.exact or whole or self.views != "single" else ENOUGH * covered(preprocessing)
        try:
            image = opened(picture)
            if isinstance(picture, Image.Image) and enough is not None:  # nothing is changed that is another's
                again = opened_again(picture)
                image, enough = (image, None) if again is None else (again, enough)
            width, height = image.size
            pixels = decode(image, preprocessing.channels, enough)
            if (pixels.shape[1] > pixels.shape[2]) != (height > width):  # turned upright
                width, height = height, width
            if self.views in OF_WHOLE:
                return OF_WHOLE[self.views](pixels, preprocessing)
            return [(pixels if whole else view(pixels, preprocessing, (height, width)))[None]]
        except Exception as error:  # Pillow and file systems raise many kinds for a broken file
            return str(error) or type(error).__name__

    def compute(self, read: list[list[Tensor] | str], tiled: bool = False) -> list[Result]:
        """The task's answers for what was read; what was wrong stays as it is."""
        pictures = [picture for picture in read if not isinstance(picture, str)]
        sizes: list[tuple[int, int] | None] = [None] * len(pictures)
        rows: Iterable[Tensor]
        if self.sees_all:
            whole = [seen[0] for (seen,) in pictures]
            sizes = [(picture.shape[1], picture.shape[2]) for picture in whole]
            find, looked = (segment, self._outputs) if self.gives_masks else (find_objects, self.answers)
            rows = find(whole, self.card.preprocessing, looked, max(len(whole), 1), tiled)
        elif self.views in OF_WHOLE:
            rows = averages(pictures, self.answers)
        else:
            rows = self.answers(torch.cat([seen for (seen,) in pictures])) if pictures else ()
        results = iter(list(zip(rows, sizes, strict=True)))
        return [picture if isinstance(picture, str) else next(results) for picture in read]


def load(
    run: str | Path,
    device: str | torch.device | None = None,
    *,
    engine: str | None = None,
    precision: str | None = None,
    exact: bool = False,
    views: str = "single",
    flips: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Predictor:
    """The trained network of a run's folder, ready for pictures; see `Predictor`."""
    return Predictor(
        run, device, engine=engine, precision=precision, exact=exact, views=views, flips=flips, scales=scales
    )


def covered(preprocessing: Preprocessing) -> int:
    """The larger side in pixels of what a picture is resized to cover."""
    return round(max(preprocessing.size) / preprocessing.crop)
