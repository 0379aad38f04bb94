"""Who or what a picture shows: a gallery is made of named pictures, and others are looked up in it.

A picture is named as the most alike of the gallery, where that is alike enough, and is unknown otherwise.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.data.audit import readable
from resnets.data.dataset import Dataset, UnreadablePictureError
from resnets.data.opening import open_dataset
from resnets.inference.gallery import Gallery, Threshold, faiss_library, fit_threshold, to_gallery, to_other_classes
from resnets.inference.pictures import Picture
from resnets.inference.pipeline import chunks
from resnets.inference.predictor import Predictor
from resnets.runs.run import Run, find_run


@dataclass(frozen=True)
class Likeness:
    """A class of the gallery, its picture that is most alike, and how alike."""

    name: str
    picture: str
    similarity: float


@dataclass(frozen=True)
class Identity:
    """Who or what is in a picture.

    Attributes:
        picture: its path, or its number where it has none.
        name: of the class; None for unknown.
        nearest: the most alike classes, whether or not they are alike enough.
        error: why the picture could not be read; all else is empty then.
    """

    picture: str
    name: str | None = None
    nearest: tuple[Likeness, ...] = field(default=())
    error: str | None = None


def build_gallery(
    run: str | Path,
    source: str | Path,
    *,
    rate: float = 0.01,
    strangers: str | Path | None = None,
    views: str = "single",
    max_unreadable: float = 0.01,
    device: str | torch.device | None = None,
) -> Gallery:
    """The gallery of a data set's pictures, with a threshold for a rate of false accepts.

    Args:
        run: the folder, or the name in the package, of a run trained with task "recognition".
        source: the named pictures, in any form that `open_dataset` takes; their splits do not matter.
        rate: the share of strangers that may be taken for somebody.
        strangers: pictures of classes that are not in the gallery, to fit the threshold on, such as those trained on;
            by default each class of the gallery is a stranger to the others, which takes many classes.
        views: "single", or of `inference.views` those whose embeddings are averaged, in `identify` too; "mirrored"
            where a mirror image shows the same.
        max_unreadable: the share of unreadable pictures that may be left out, each with a warning.
        device: where to compute; by default a GPU if there is one.

    Raises:
        ValueError: if the run does not recognise, the rate is none, or a stranger is in the gallery.
        ImportError: without faiss.
    """
    if not 0 < rate < 1:
        raise ValueError(f"a rate of false accepts is a share above 0 and below 1, not {rate}")
    faiss_library()
    predictor = recogniser(run, device, views)
    pictures = _pictures(source, max_unreadable)
    embeddings = embed(predictor, pictures)
    names = tuple(pictures.classes[number] for number in pictures.targets.tolist())
    trained_on = {predictor.card.classes[n] for n in predictor.card.settings["trained_on"] if predictor.card.classes}
    if strangers is None:
        if len(set(names)) < 2:
            raise ValueError(
                f"{source} has one class only ({names[0]}), to which no other picture of it is a stranger; give "
                "strangers to fit the threshold on"
            )
        similarities = to_other_classes(embeddings, pictures.targets)
        if known := sorted(trained_on & set(names)):
            warnings.warn(
                f"the network was trained on {len(known)} of the names, such as {known[0]}: if these are the same, it "
                "keeps them further apart than strangers are, and the threshold accepts more than was asked for; give "
                "strangers that it has not seen",
                stacklevel=2,
            )
        fitted_on = ""
    else:
        others, fitted_on = _pictures(strangers, max_unreadable), str(strangers)
        both = {others.classes[n] for n in others.targets.unique().tolist()} & set(names)
        if both:
            raise ValueError(f"{sorted(both)[0]} is in the gallery and among the strangers; keep them apart")
        similarities = to_gallery(embed(predictor, others), embeddings)
    value, accepted = fit_threshold(similarities, rate)
    found = find_run(run)
    return Gallery(
        run=str(found.folder.resolve()),
        weights=_digest(found),
        names=names,
        pictures=tuple(pictures.names),
        embeddings=embeddings,
        threshold=Threshold(value, rate, len(similarities), accepted, fitted_on),
        views=views,
    )


def recogniser(run: str | Path, device: str | torch.device | None = None, views: str = "single") -> Predictor:
    """A run's network, if it gives embeddings.

    Raises:
        ValueError: if it does not.
    """
    predictor = Predictor(run, device, views=views)
    if not predictor.task.embeds:
        raise ValueError(f"{run} was trained for {predictor.card.task}; an index needs a run of --task recognition")
    return predictor


def embed(predictor: Predictor, pictures: Dataset) -> Tensor:
    """The embeddings (N, D) of length 1 of a data set's pictures, in its order, on the CPU.

    Raises:
        UnreadablePictureError: at a picture that cannot be decoded.
    """
    opened = (pictures.open(index) for index in range(len(pictures)))
    rows = []
    for name, (_, row) in zip(pictures.names, predictor.rows(opened), strict=True):
        if isinstance(row, str):
            raise UnreadablePictureError(name, row)
        rows.append(row)
    return F.normalize(torch.stack(rows))


def identify(
    gallery: Gallery,
    pictures: Iterable[Picture],
    top: int = 1,
    *,
    run: str | Path | None = None,
    batch_size: int = 64,
    device: str | torch.device | None = None,
) -> Iterator[Identity]:
    """Name each picture, in order, or call it unknown; one that cannot be read gets an error, and the others go on.

    Args:
        gallery: to look up in.
        pictures: any number; they are read as their answers are asked for.
        top: how many of the most alike classes to tell.
        run: the run's folder, where it is not that of the gallery any more.
        batch_size: pictures that the network sees at a time.
        device: where to compute; by default a GPU if there is one.

    Raises:
        FileNotFoundError: if the run is gone.
        ValueError: if `top` is below 1, or the run's weights are not those that made the gallery.
        ImportError: without faiss.
    """
    if top < 1:
        raise ValueError(f"top must be at least 1, not {top}")
    search = gallery.searcher()
    where = find_run(run or gallery.run)
    predictor = recogniser(where.folder, device, gallery.views)
    if _digest(where) != gallery.weights:
        raise ValueError(
            f"the weights of {where.folder} are not those that the index was made with, so its embeddings mean nothing "
            "to them; make the index anew with `resnets index`"
        )
    enough = min(len(gallery.names), (top - 1) * max(Counter(gallery.names).values()) + 1)  # for so many names
    for chunk in chunks(predictor.predict(pictures, batch_size=batch_size), batch_size):
        read = [torch.tensor(answer.embedding) for answer in chunk if answer.error is None]
        if read and len(read[0]) != gallery.embeddings.shape[1]:
            raise ValueError(
                f"the network gives embeddings of {len(read[0])} numbers, and those of the index have "
                f"{gallery.embeddings.shape[1]}; make the index anew with `resnets index`"
            )
        found = zip(*search(torch.stack(read), enough), strict=True) if read else iter(())
        for answer in chunk:
            if answer.error is not None:
                yield Identity(answer.name, error=answer.error)
                continue
            similarities, positions = next(found)
            nearest = _by_name(gallery, similarities.tolist(), positions.tolist())[:top]
            known = nearest[0].similarity >= gallery.threshold.value
            yield Identity(answer.name, nearest[0].name if known else None, nearest)


def _by_name(gallery: Gallery, similarities: Sequence[float], positions: Sequence[int]) -> tuple[Likeness, ...]:
    """The most alike picture of each name."""
    best: dict[str, Likeness] = {}
    for similarity, position in zip(similarities, positions, strict=True):
        name = gallery.names[position]
        best.setdefault(name, Likeness(name, gallery.pictures[position], similarity))
    return tuple(best.values())


def _pictures(source: str | Path, max_unreadable: float) -> Dataset:
    data = readable(open_dataset(source, task="recognition", fewest_classes=1), max_unreadable)
    for picture in data.unreadable:
        warnings.warn(f"left out: {picture.name}: {picture.reason}", stacklevel=3)
    return data.whole()


def _digest(run: Run) -> str:
    """The SHA-256 of a run's weights, or of the files of its export."""
    files = [run.weights_path]
    if not run.weights_path.is_file():
        files = sorted(path for path in run.folder.glob("model.*") if path != run.card_path)
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()
