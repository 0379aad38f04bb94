"""The runs that a server answers by: loaded, watched, and changed for new ones without a request being lost."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from resnets.inference.prediction import Prediction
from resnets.inference.predictor import Predictor
from resnets.insight.explanation import unexplained
from resnets.runs.run import find_run
from resnets.serving.batching import Batcher
from resnets.serving.explaining import Question, explain, read_question
from resnets.serving.limits import Limits, RefusedError
from resnets.serving.log import event
from resnets.serving.metrics import Metrics
from resnets.serving.pictures import UNDECODABLE, open_checked
from resnets.serving.places import colours

Read = list[Tensor] | str
Signature = tuple[tuple[str, int, int, int], ...]

DIGITS = 12
"""Of a version, hexadecimal."""

EXPLAINED = 8
"""Pictures of a run that wait for an explanation at a time, each of which costs as much as many answers."""

NAMED = 5
"""Classes that an answer names where nobody says how many, unless the task says which."""

SWITCHED_OFF = "this server gives no explanations"


@dataclass(frozen=True)
class Asked:
    """A picture that a client asks about.

    Attributes:
        name: what to call it.
        content: of its file.
        top: how many classes to name; as many as the task says where it is None.
        masks: whether the answer is to have them, where there are some.
    """

    name: str
    content: bytes
    top: int | None
    masks: bool


@dataclass(frozen=True)
class Model:
    """A run that answers.

    Attributes:
        name: by which clients ask for it.
        version: the first digits of a SHA-256 over the run's card and weights, the same on every machine.
        predictor: the run's.
        batcher: from files of pictures to predictions.
        explainer: from files of pictures to explanations; None where there are none.
        unexplained: why there are none, in words for clients; "" where there are.
        signature: of the files that were loaded.
        loaded: when.
    """

    name: str
    version: str
    predictor: Predictor
    batcher: Batcher[Asked, tuple[Asked, Read], Prediction]
    explainer: Batcher[Question, Any, dict[str, Any]] | None
    unexplained: str
    signature: Signature
    loaded: datetime

    async def predictions(
        self, pictures: Sequence[tuple[str, bytes]], top: int | None, masks: bool = False
    ) -> list[Prediction]:
        """The answer for each picture with its name, of so many classes, or of as many as are usual.

        Masks, which may be as large as the pictures, are kept only where they are asked for.

        Raises:
            QueueFullError: if they do not all fit into the queue.
        """
        count = top or (None if self.predictor.task.named is None else NAMED)
        return await self.batcher.results([Asked(name, content, count, masks) for name, content in pictures])

    async def explanation(self, picture: bytes, target: str | None) -> dict[str, Any]:
        """Why the picture is answered as it is; see `explaining.explain`.

        Raises:
            QueueFullError: if too many others wait for theirs.
            RefusedError: if there are no explanations, or there is no such class or number.
            ValueError: in words for the client, if the picture cannot be read.
        """
        if self.explainer is None:
            raise RefusedError(404, f"there are no explanations by {self.name}: {self.unexplained}")
        if target is not None and target not in self.predictor.card.classes:
            raise RefusedError(400, f"target: {self.name} knows nothing of this name; see its classes at /v1/models")
        (told,) = await self.explainer.results([(picture, target)])
        return told

    async def close(self) -> None:
        """Finish what was taken on."""
        await asyncio.gather(*(each.close() for each in (self.batcher, self.explainer) if each is not None))

    def facts(self) -> dict[str, Any]:
        """What a client may know of it, which is nothing of the machine it is on or was trained on."""
        card = self.predictor.card
        return {
            "name": self.name,
            "version": self.version,
            "task": card.task,
            "network": card.model,
            "classes": list(card.classes),
            "size": list(card.preprocessing.size),
            "channels": card.preprocessing.channels,
            "crop": card.preprocessing.crop,
            "calibrated": "temperature" in card.settings,
            "explains": self.explainer is not None,
            "colours": colours(card),
            "metrics": dict(card.metrics),
            "loaded": self.loaded.isoformat(timespec="seconds"),
        }


class Models:
    """All runs of one server, the first answering where no other is asked for.

    Args:
        runs: folders, or names of runs in the package, by the name for clients.
        load: gives a predictor for one.
        limits: of pictures and of the queue.
        metrics: that are kept up.
        explains: whether answers are explained, for which a second copy of each network is kept.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `load` does.
    """

    def __init__(
        self,
        runs: Mapping[str, str],
        load: Callable[[str], Predictor],
        limits: Limits,
        metrics: Metrics,
        explains: bool = True,
    ) -> None:
        self._runs, self._load, self._limits, self._metrics = dict(runs), load, limits, metrics
        self._explains = explains
        self._models = {name: self._open(name) for name in runs}
        self._closing: set[asyncio.Task[None]] = set()
        for model in self._models.values():
            self._tell(model)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def find(self, name: str | None) -> Model:
        """The model of a name, or the first.

        Raises:
            KeyError: if there is no such model.
        """
        return next(iter(self)) if name is None else self._models[name]

    async def watch(self, seconds: float) -> None:
        """Look every so often whether a run has changed, and answer by what it has become.

        A folder that changes is loaded once it has stayed the same from one look to the next; while it cannot be
        loaded, the old network goes on answering.
        """
        seen: dict[str, Signature] = {}
        tried: dict[str, Signature] = {}
        while True:
            await asyncio.sleep(seconds)
            for name, model in list(self._models.items()):
                signature = await asyncio.to_thread(signature_of, self._runs[name])
                changed, settled = signature != model.signature, signature == seen.get(name)
                if changed and settled and signature != tried.get(name):
                    tried[name] = signature
                    await self._reload(name)
                seen[name] = signature

    async def _reload(self, name: str) -> None:
        old = self._models[name]
        try:
            fresh = await asyncio.to_thread(self._open, name)
        except Exception as error:  # whatever is wrong with the new files, the old network is still good
            self._metrics.reloads.labels(name, "failed").inc()
            event("reload failed", logging.ERROR, model=name, version=old.version, reason=str(error))
            return
        self._models[name] = fresh
        self._metrics.reloads.labels(name, "loaded").inc()
        self._metrics.versions.remove(name, old.version)
        self._tell(fresh)
        event("reloaded", model=name, version=fresh.version, before=old.version)
        closing = asyncio.create_task(old.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Finish what was taken on."""
        await asyncio.gather(*self._closing, *(model.close() for model in self))

    def _open(self, name: str) -> Model:
        signature = signature_of(self._runs[name])
        version = version_of(self._runs[name])
        predictor = self._load(self._runs[name])
        height, width = predictor.card.preprocessing.size
        for count in (1, predictor.batch_size):  # what is made at first use
            predictor.compute([predictor.read(Image.new("RGB", (width, height)))] * count)
        reason = (unexplained(predictor) or "") if self._explains else SWITCHED_OFF
        if not reason:
            predictor.network.eval()  # read now, as the files may be others when it is asked
        if signature_of(self._runs[name]) != signature:
            raise ValueError(f"{self._runs[name]} changed while it was loaded")
        batcher: Batcher[Asked, tuple[Asked, Read], Prediction] = Batcher(
            partial(read_asked, predictor, self._limits.megapixels),
            partial(predicted, predictor),
            predictor.batch_size,
            self._limits.queue,
            predictor.readers,
            predictor.engine.parallel,
            partial(self._observe, name),
            ahead=predictor.readers if predictor.sees_all else None,  # whole pictures, of any size
        )
        explainer: Batcher[Question, Any, dict[str, Any]] | None = None
        if not reason:
            read, compute = partial(read_question, self._limits.megapixels), partial(explain, predictor)
            explainer = Batcher(read, compute, 1, EXPLAINED, 1)
        return Model(name, version, predictor, batcher, explainer, reason, signature, datetime.now(UTC))

    def _tell(self, model: Model) -> None:
        self._metrics.versions.labels(model.name, model.version).set(1)
        self._metrics.queue.labels(model.name).set_function(lambda: model.batcher.taken)

    def _observe(self, name: str, size: int, seconds: float) -> None:
        self._metrics.batches.labels(name).observe(size)
        self._metrics.computing.labels(name).observe(seconds)


def read_asked(predictor: Predictor, megapixels: float, asked: Asked) -> tuple[Asked, Read]:
    """What was asked, with the picture as `read_checked` gives it."""
    return asked, read_checked(predictor, megapixels, asked.content)


def predicted(predictor: Predictor, batch: list[tuple[Asked, Read]]) -> list[Prediction]:
    """The answers for a batch."""
    results = predictor.compute([read for _, read in batch])
    answers = [
        predictor.prediction(asked.name, result, asked.top) for (asked, _), result in zip(batch, results, strict=True)
    ]
    return [
        answer if asked.masks else replace(answer, mask=None, masks=None)
        for (asked, _), answer in zip(batch, answers, strict=True)
    ]


def read_checked(predictor: Predictor, megapixels: float, content: bytes) -> Read:
    """A stranger's picture as the engine takes it, or what is wrong with it in words that tell nothing of us."""
    try:
        image = open_checked(content, megapixels)
    except ValueError as error:
        return str(error)
    read = predictor.read(image)
    return UNDECODABLE if isinstance(read, str) else read


def name_runs(runs: Sequence[str]) -> dict[str, str]:
    """Runs by the names that clients use: of NAME=FOLDER that name, otherwise the folder's own.

    Raises:
        ValueError: if two have the same name.
    """
    named: dict[str, str] = {}
    for run in runs:
        name, _, folder = run.partition("=") if "=" in run and not Path(run).exists() else ("", "", run)
        name = name or Path(folder).resolve().name
        if name in named:
            raise ValueError(f"two runs are called {name}; name one by NAME=FOLDER, such as other={folder}")
        named[name] = folder
    return named


def files_of(run: str) -> list[Path]:
    """The files that make a run's answers: the card, and the weights or what an export has."""
    return sorted(path for path in find_run(run).folder.glob("model.*") if path.suffix != ".tmp" and path.is_file())


def signature_of(run: str) -> Signature:
    """What changes when a run's files do, without reading them; empty where there are none."""
    try:
        stats = [(path.name, path.stat()) for path in files_of(run)]
    except OSError:  # one went away in between
        return ()
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats)


def version_of(run: str) -> str:
    """The first digits of a SHA-256 over the names and contents of a run's files."""
    digest = hashlib.sha256()
    for path in files_of(run):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:DIGITS]
