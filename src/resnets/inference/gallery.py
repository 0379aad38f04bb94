"""A gallery: named pictures' embeddings, among which others are looked up; what is like none of them is unknown.

| file | what it holds |
|---|---|
| `embeddings.safetensors` | (N, D) float32 of length 1, one row a picture |
| `gallery.json` | the name of each picture's class, the run whose network made them, the threshold and what it does |

A stranger, whose class is not there, is taken for somebody where the most alike picture reaches the threshold. How
often that happens depends on the network and on the gallery, so the threshold is fitted to both. Similarities are
cosines.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from resnets.data.audit import readable
from resnets.data.dataset import Dataset, UnreadablePictureError, open_dataset
from resnets.inference.pipeline import chunks
from resnets.inference.predictor import Picture, Predictor
from resnets.report.scores import wilson_interval
from resnets.runs.run import Run, find_run, write_whole
from resnets.weights.files import read_tensors, write_tensors

FORMAT = 1
EMBEDDINGS, DESCRIPTION = "embeddings.safetensors", "gallery.json"

_ROWS = 4_096  # pictures compared with all others at a time


@dataclass(frozen=True)
class Threshold:
    """The least similarity at which a picture is named, and what it does to strangers.

    Attributes:
        value: of the similarity.
        rate: of strangers taken for somebody, as it was asked for, 0 to 1.
        strangers: pictures that it was fitted on, each of a class that the gallery it was looked up in does not have.
        accepted: how many of them it takes for somebody.
        fitted_on: where the strangers are from; "" where each class of the gallery was one to all others.
    """

    value: float
    rate: float
    strangers: int
    accepted: int
    fitted_on: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """Where the rate of false accepts is, with 95 % confidence."""
        return wilson_interval(self.accepted, self.strangers)


@dataclass(frozen=True)
class Gallery:
    """Embeddings of named pictures.

    Attributes:
        run: the folder or the name of the run whose network made them.
        weights: the SHA-256 of that network's weights, or of the files of its export.
        names: of each picture's class.
        pictures: their own names.
        embeddings: (N, D) float32 of length 1.
        threshold: from which on a picture is named.
        views: of `Predictor`, by which each embedding is a mean of several.
    """

    run: str
    weights: str
    names: tuple[str, ...]
    pictures: tuple[str, ...]
    embeddings: Tensor
    threshold: Threshold
    views: str = "single"

    def searcher(self) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
        """What looks up embeddings (N, D), so many of the most alike for each: their similarities and positions
        (N, count), the most alike first.

        Raises:
            ImportError: without faiss.
        """
        index = _library().IndexFlatIP(self.embeddings.shape[1])
        index.add(self.embeddings.contiguous().numpy())

        def search(embeddings: Tensor, count: int) -> tuple[Tensor, Tensor]:
            similarities, positions = index.search(embeddings.contiguous().numpy(), count)
            return torch.from_numpy(similarities), torch.from_numpy(positions)

        return search


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
        strangers: pictures of classes that are neither in the gallery nor trained on, to fit the threshold on; by
            default each class of the gallery is a stranger to the others.
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
    _library()
    predictor = recogniser(run, device, views)
    pictures = _pictures(source, max_unreadable)
    embeddings = embed(predictor, pictures)
    names = tuple(pictures.classes[number] for number in pictures.targets.tolist())
    trained_on = {predictor.card.classes[n] for n in predictor.card.settings["trained_on"] if predictor.card.classes}
    if strangers is None:
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
        similarities = torch.cat([(rows @ embeddings.T).amax(1) for rows in embed(predictor, others).split(_ROWS)])
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


def to_other_classes(embeddings: Tensor, targets: Tensor) -> Tensor:
    """For each picture its greatest similarity to one of another class, (N,): as if its own were not in the gallery."""
    greatest = []
    for rows in torch.arange(len(targets)).split(_ROWS):
        similarity = embeddings[rows] @ embeddings.T
        similarity[targets[rows, None] == targets] = -1.0
        greatest.append(similarity.amax(1))
    return torch.cat(greatest)


def fit_threshold(similarities: Tensor, rate: float) -> tuple[float, int]:
    """The threshold that at most the share `rate` of strangers reaches, and how many do.

    It is halfway between two strangers; where none may reach it, just above the most alike.

    Args:
        similarities: (N,) of strangers to what is most alike in the gallery.
        rate: 0 to 1.
    """
    falling = similarities.double().sort(descending=True).values
    accepted = int(rate * len(falling) + 1e-9)
    while accepted and falling[accepted - 1] == falling[accepted]:  # ties are accepted together, or not at all
        accepted -= 1
    if accepted == 0:
        return float(torch.nextafter(similarities.max(), torch.tensor(2.0))), 0
    return float(falling[accepted - 1] + falling[accepted]) / 2, accepted


def write_gallery(gallery: Gallery, folder: Path, overwrite: bool = False) -> None:
    """Write a gallery into a folder.

    Raises:
        FileExistsError: if something is there, unless it is a gallery that is to be overwritten.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / DESCRIPTION).is_file():
            raise FileExistsError(f"{folder} is there already and is no index; choose another --to")
        if not overwrite:
            raise FileExistsError(f"{folder} is there already; replace it with --overwrite, or choose another --to")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors({"embeddings": gallery.embeddings}, folder / EMBEDDINGS)
    described = {name: value for name, value in vars(gallery).items() if name != "embeddings"}
    described |= {"format": FORMAT, "threshold": asdict(gallery.threshold)}
    write_whole(folder / DESCRIPTION, json.dumps(described, indent=2, ensure_ascii=False) + "\n")


def read_gallery(folder: str | Path) -> Gallery:
    """Read what `write_gallery` wrote.

    Raises:
        FileNotFoundError: if the folder holds no gallery.
        ValueError: if the gallery is not whole, or of another version.
    """
    folder = Path(folder)
    if not (folder / DESCRIPTION).is_file():
        raise FileNotFoundError(f"{folder} is no index: it has no {DESCRIPTION}; `resnets index` makes one")
    try:
        described: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        version = described.pop("format")
        if version != FORMAT:
            raise ValueError(f"it has format {version}, and this version of resnets reads {FORMAT}")
        embeddings = read_tensors(folder / EMBEDDINGS)["embeddings"]
        gallery = Gallery(
            run=str(described["run"]),
            weights=str(described["weights"]),
            names=tuple(map(str, described["names"])),
            pictures=tuple(map(str, described["pictures"])),
            embeddings=embeddings.float(),
            threshold=Threshold(**described["threshold"]),
            views=str(described["views"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{folder} is not a whole index: {error}; make it anew") from None
    if embeddings.ndim != 2 or not len(embeddings) == len(gallery.names) == len(gallery.pictures) > 0:
        raise ValueError(
            f"{folder} is not a whole index: it has {len(gallery.names)} names and embeddings of shape "
            f"{tuple(embeddings.shape)}; make it anew"
        )
    return gallery


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
        read = torch.tensor([answer.embedding for answer in chunk if answer.error is None])
        found = zip(*search(read.view(-1, gallery.embeddings.shape[1]), enough), strict=True)
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
    data = readable(open_dataset(source, task="recognition"), max_unreadable)
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


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "builtin type", DeprecationWarning)  # of its bindings, on Python 3.12
            import faiss
    except ImportError:
        raise ImportError("an index of pictures needs faiss: pip install 'resnets[recognise]'") from None
    return faiss
