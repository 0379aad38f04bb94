"""A network's answers to a whole split, and what they are worth."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from resnets.data.audit import readable
from resnets.data.dataset import Dataset, UnreadablePictureError
from resnets.data.loading import Loader
from resnets.data.opening import Data, open_dataset, reopen
from resnets.data.reading import for_each
from resnets.data.transforms import prepare
from resnets.data.windows import on_pictures
from resnets.inference.ensemble import Ensemble
from resnets.inference.predictor import Predictor
from resnets.inference.segmenting import judged
from resnets.inference.views import OF_WHOLE
from resnets.runs.card import Card
from resnets.tasks import Evaluation, Task, create_task
from resnets.types import Batch, Objects, Preprocessing

EVALUATION_BATCH = 256
"""Pictures that a network judges at a time, where nobody says otherwise."""

DETECTION_BATCH = 8
"""The same of a detector, whose pictures are larger and whose proposals are many, and of masks."""


def evaluate_network(
    network: nn.Module,
    task: Task,
    loader: Loader,
    preprocessing: Preprocessing,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Evaluation:
    """Judge a network on a split, of which each process reads its own share and every picture counts once.

    The network is left in evaluation mode.
    """
    outputs = outputs_of(network, loader, preprocessing, device, autocast, task.ask)
    pictures = loader.dataset
    return task.evaluation(pictures.split, outputs, truth_of(pictures), pictures.names)


def truth_of(pictures: Dataset) -> Tensor | Sequence[Objects]:
    """What the outputs for a split are compared with."""
    return pictures.targets if pictures.objects is None else pictures.objects


def of_pictures(network: nn.Module, batch: Batch) -> Tensor:
    """What a network gives that is shown the pictures alone."""
    return network(batch.images)


def outputs_of(
    network: nn.Module,
    loader: Loader,
    preprocessing: Preprocessing,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    ask: Callable[[Any, Batch], Tensor] = of_pictures,
) -> Tensor:
    """What a network gives for a whole split, in the split's order, float32 on the CPU, in every process.

    It is what `ask` gives for the network and each prepared batch, by default the network's answer to
    the pictures. Detections are in the pixels of their pictures; of masks, only what they have in common with the true
    ones is kept, counted in the same pixels (see `data.overlap`). The network is left in evaluation mode.
    """
    network.eval()
    outputs, indices = [], []
    for batch in loader.epoch(0):
        with torch.inference_mode(), autocast():  # not around the loader, which keeps what it reads
            prepared = prepare(batch.to(device), preprocessing, channels_last=True)
            given = ask(network, prepared).float()
        outputs.append(kept(given, batch.indices, loader.dataset, preprocessing).cpu())
        indices.append(batch.indices)
    return located(in_order(torch.cat(gather(outputs)), torch.cat(gather(indices))), loader.dataset, preprocessing)


def predictor_outputs(predictor: Predictor, loader: Loader) -> Tensor:
    """What a predictor's engine gives for a whole split, in the split's order, float32."""
    pictures, preprocessing = loader.dataset, predictor.card.preprocessing
    if predictor.whole:  # the engine resizes, so that the loader must not
        channels = preprocessing.channels
        read = for_each(pictures, lambda index: pictures.picture(index, channels).permute(1, 2, 0)[None])
        return torch.cat([predictor.outputs(pixels) for pixels in read])

    def outputs(batch: Batch) -> Tensor:
        return kept(predictor.outputs(batch.images.permute(0, 2, 3, 1)), batch.indices, pictures, preprocessing)

    return located(of_batches(loader, outputs), pictures, preprocessing)


def of_batches(loader: Loader, compute: Callable[[Batch], Tensor]) -> Tensor:
    """What is computed of a split batch by batch, a row a picture, in the split's order."""
    rows, indices = zip(*((compute(batch), batch.indices) for batch in loader.epoch(0)), strict=True)
    return in_order(torch.cat(rows), torch.cat(indices))


def kept(given: Tensor, indices: Tensor, pictures: Dataset, preprocessing: Preprocessing) -> Tensor:
    """What is kept of the outputs for some pictures of a split: of masks a row of counts, of all else everything."""
    return judged(given, indices, pictures, preprocessing) if pictures.has_masks else given


def located(outputs: Tensor, pictures: Dataset, preprocessing: Preprocessing) -> Tensor:
    """Detections in the pixels of their pictures; all other outputs as they are."""
    if pictures.objects is None:
        return outputs
    return on_pictures(outputs, [objects.size for objects in pictures.objects], preprocessing)


def averaged(
    predictors: Sequence[Predictor], task: Task, pictures: Dataset, batch_size: int | None, workers: int | None
) -> Evaluation:
    """Judge the mean of the answers of several networks, or to several views, on a split."""
    if workers is not None and (whole := [each for each in predictors if each.whole or each.views in OF_WHOLE]):
        raise ValueError(f"{whole[0].run.folder} takes whole pictures here, which threads decode; leave workers out")
    answers = torch.stack([answers_of(predictor, pictures, batch_size, workers) for predictor in predictors])
    return task.evaluation(pictures.split, task.outputs_for(answers.mean(0)), pictures.targets, pictures.names)


def answers_of(predictor: Predictor, pictures: Dataset, batch_size: int | None, workers: int | None) -> Tensor:
    """A predictor's answers to a whole split, a row a picture, in the split's order."""
    if predictor.whole or predictor.views in OF_WHOLE:
        return torch.stack(list(_rows(predictor, pictures, batch_size)))
    batch_size = batch_size or usual_batch(pictures)
    loader = Loader(pictures, predictor.card.preprocessing, batch_size, shuffle=False, workers=workers)
    return of_batches(loader, lambda batch: predictor.answers(batch.images))


def _rows(predictor: Predictor, pictures: Dataset, batch_size: int | None) -> Iterator[Tensor]:
    opened = (pictures.open(index) for index in range(len(pictures)))
    for name, (_, row) in zip(pictures.names, predictor.rows(opened, batch_size), strict=True):
        if isinstance(row, str):
            raise UnreadablePictureError(name, row)
        yield row


def in_order(rows: Tensor, positions: Tensor) -> Tensor:
    """The rows, each at its position."""
    ordered = torch.empty_like(rows)
    ordered[positions] = rows
    return ordered


def evaluate(
    run: str | Path | Sequence[str | Path],
    source: str | Path | None = None,
    *,
    split: str | None = None,
    max_unreadable: float = 0.01,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | torch.device | None = None,
    engine: str | None = None,
    precision: str | None = None,
    views: str = "single",
    flips: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Evaluation:
    """Judge a run's network on a data set, in float32 unless another precision is asked for or exported.

    Args:
        run: the run's folder; or several, whose answers are averaged.
        source: the data; by default what the run was trained on.
        split: "train", "val" or "test"; by default test, or val where there is no test. Data without splits is
            judged whole, unless it is what the run was trained on: then it is split as it was.
        max_unreadable: the share of unreadable pictures that may be left out, each with a warning.
        batch_size: pictures that the network sees at a time; by default 256, of objects and masks 8, and of views that
            are made of whole pictures as many as `Predictor` takes.
        workers: processes that decode; by default one a processor. Those views have none.
        device: where to compute; by default a GPU if there is one.
        engine, precision: of `Predictor`; by default PyTorch as in training, or what an export is for.
        views: of `Predictor`, whose answers are averaged.
        flips, scales: of masks, look at mirror images, too, and in these sizes, and take the mean.

    Raises:
        ValueError: if the data's classes are not the card's (but to recognise any will do), there is no such split,
            too much is unreadable, or several runs have no mean.
    """
    runs = [run] if isinstance(run, (str, Path)) else list(run)
    options: dict[str, Any] = {"engine": engine, "precision": precision, "exact": True, "views": views}
    predictors = [Predictor(each, device, flips=flips, scales=scales, **options) for each in runs]
    predictor, card = predictors[0], predictors[0].card
    data, dataset = _chosen_split(card, source, split)
    task: Task = Ensemble(predictors).task
    if not task.tells and not (engine is None and precision is None):
        raise ValueError(
            f"{runs[0]} makes pictures, which is judged by PyTorch in float32; leave engine and precision out"
        )
    if task.embeds:  # whatever the classes are
        task = create_task(card.task, data.classes, card.settings)
    else:
        check_classes(data, card, runs[0])
    data = readable(replace(data, splits={dataset.split: dataset}), max_unreadable)
    for picture in data.unreadable:
        warnings.warn(f"left out: {picture.name}: {picture.reason}", stacklevel=2)
    pictures = data.splits[dataset.split]
    if len(predictors) > 1 or views != "single":
        return averaged(predictors, task, pictures, batch_size, workers)
    batch_size = batch_size or usual_batch(pictures)
    loader = Loader(pictures, card.preprocessing, batch_size, shuffle=False, workers=workers)
    if engine is None and precision is None and not (card.export and task.tells):
        return evaluate_network(predictor.network, task, loader, card.preprocessing, predictor.device)
    outputs = predictor_outputs(predictor, loader)
    return task.evaluation(pictures.split, outputs, truth_of(pictures), pictures.names)


def usual_batch(pictures: Dataset) -> int:
    """Pictures that a network judges at a time."""
    return EVALUATION_BATCH if pictures.objects is None and not pictures.has_masks else DETECTION_BATCH


def _chosen_split(card: Card, source: str | Path | None, split: str | None) -> tuple[Data, Dataset]:
    data, own = open_for(card, source)
    if data.splits_made and not own:
        if split is not None:
            raise ValueError(f"{data.source} has no splits, so it is judged whole; leave out the split {split!r}")
        return data, data.whole()
    wanted = split or ("test" if "test" in data.splits else "val")
    if wanted not in data.splits:
        raise ValueError(f"{data.source} has no split {wanted!r}; it has {', '.join(data.splits)}")
    return data, data.splits[wanted]


def open_for(card: Card, source: str | Path | None) -> tuple[Data, bool]:
    """Data for a run, by default that which it was trained on, and whether it is that: then it is split as it was."""
    known = card.data
    asked = known["source"] if source is None else source
    data = open_dataset(asked, task=card.task, split_seed=known["split_seed"], ignore=known.get("ignore"))
    own = data.fingerprint == known["fingerprint"]
    return (reopen({**known, "source": data.source}) if own else data), own


def check_classes(data: Data, card: Card, run: str | Path) -> None:
    """Raise ValueError unless the data's classes are the card's, in their order."""
    if data.classes == card.classes:
        return
    missing = [name for name in card.classes if name not in data.classes]
    unknown = [name for name in data.classes if name not in card.classes]
    raise ValueError(
        f"the data's classes are not those of {run}: "
        f"missing {', '.join(missing) or 'none'}; unknown {', '.join(unknown) or 'none'}"
    )


def gather(batches: list[Tensor]) -> list[Tensor]:
    """The batches of all processes, one process after the other; each may have any number, or none."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return batches
    parts: list[list[Tensor]] = [[]] * distributed.get_world_size()
    distributed.all_gather_object(parts, batches)
    return [batch for part in parts for batch in part]
