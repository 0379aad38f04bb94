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

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnets.report.scores import wilson_interval
from resnets.runs.run import write_whole
from resnets.weights.files import read_tensors, write_tensors

FORMAT = 1
EMBEDDINGS, DESCRIPTION = "embeddings.safetensors", "gallery.json"

_ROWS = 4_096  # pictures compared with all others at a time
_ROUNDING = 1e-3  # of the length of an embedding


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
        index = faiss_library().IndexFlatIP(self.embeddings.shape[1])
        index.add(self.embeddings.contiguous().numpy())

        def search(embeddings: Tensor, count: int) -> tuple[Tensor, Tensor]:
            similarities, positions = index.search(embeddings.contiguous().numpy(), count)
            return torch.from_numpy(similarities), torch.from_numpy(positions)

        return search


def to_other_classes(embeddings: Tensor, targets: Tensor) -> Tensor:
    """For each picture its greatest similarity to one of another class, (N,): as if its own were not in the gallery."""
    greatest = []
    for rows in torch.arange(len(targets)).split(_ROWS):
        similarity = embeddings[rows] @ embeddings.T
        similarity[targets[rows, None] == targets] = -1.0
        greatest.append(similarity.amax(1))
    return torch.cat(greatest)


def to_gallery(strangers: Tensor, embeddings: Tensor) -> Tensor:
    """For each stranger (M, D) the greatest similarity to a picture of the gallery (N, D), (M,)."""
    return torch.cat([(rows @ embeddings.T).amax(1) for rows in strangers.split(_ROWS)])


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


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise FileExistsError if a folder holds something, unless it is a gallery that is to be overwritten."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / DESCRIPTION).is_file():
            raise FileExistsError(f"{folder} is there already and is no index; choose another --to")
        if not overwrite:
            raise FileExistsError(f"{folder} is there already; replace it with --overwrite, or choose another --to")


def write_gallery(gallery: Gallery, folder: Path, overwrite: bool = False) -> None:
    """Write a gallery into a folder, beside what else is there.

    Raises:
        FileExistsError: see `check_free`.
    """
    check_free(folder, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{EMBEDDINGS}.tmp"
    write_tensors({"embeddings": gallery.embeddings}, unfinished)
    unfinished.replace(folder / EMBEDDINGS)
    described = {name: value for name, value in vars(gallery).items() if name != "embeddings"}
    described |= {"format": FORMAT, "threshold": asdict(gallery.threshold)}
    write_whole(folder / DESCRIPTION, json.dumps(described, indent=2, ensure_ascii=False) + "\n")


def read_gallery(folder: str | Path) -> Gallery:
    """Read what `write_gallery` wrote.

    Raises:
        FileNotFoundError: if the folder holds no gallery.
        ValueError: if the gallery is not whole, damaged, or of another version.
    """
    folder = Path(folder)
    if not (folder / DESCRIPTION).is_file():
        raise FileNotFoundError(f"{folder} is no index: it has no {DESCRIPTION}; `resnets index` makes one")
    try:
        described: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        version = described.pop("format")
        if version != FORMAT:
            raise ValueError(f"it has format {version}, and this version of resnets reads {FORMAT}")
        embeddings = read_tensors(folder / EMBEDDINGS)["embeddings"].float()
        threshold = Threshold(**described["threshold"])
        if not math.isfinite(threshold.value):
            raise ValueError(f"its threshold is {threshold.value}")
        gallery = Gallery(
            run=str(described["run"]),
            weights=str(described["weights"]),
            names=tuple(map(str, described["names"])),
            pictures=tuple(map(str, described["pictures"])),
            embeddings=embeddings,
            threshold=threshold,
            views=str(described["views"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{folder} is not a whole index: {error}; make it anew") from None
    if embeddings.ndim != 2 or not len(embeddings) == len(gallery.names) == len(gallery.pictures) > 0:
        raise ValueError(
            f"{folder} is not a whole index: it has {len(gallery.names)} names and embeddings of shape "
            f"{tuple(embeddings.shape)}; make it anew"
        )
    if not ((embeddings.norm(dim=1) - 1).abs() < _ROUNDING).all():
        raise ValueError(f"{folder} is not a whole index: its embeddings are not of length 1; make it anew")
    return gallery


def faiss_library() -> Any:
    """The module faiss.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "builtin type", DeprecationWarning)  # of its bindings, on Python 3.12
            import faiss
    except ImportError:
        raise ImportError("an index of pictures needs faiss: pip install 'resnets[recognise]'") from None
    return faiss
