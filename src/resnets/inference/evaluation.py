"""A network's answers to a whole split, and what they are worth."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from resnets.data.audit import readable
from resnets.data.dataset import Data, Dataset, open_dataset, reopen
from resnets.data.loading import Loader
from resnets.data.transforms import prepare
from resnets.data.windows import on_pictures
from resnets.inference.predictor import Predictor
from resnets.inference.segmenting import judged
from resnets.runs.card import Card
from resnets.tasks import Evaluation, Task
from resnets.types import Objects, Preprocessing

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
    outputs = outputs_of(network, loader, preprocessing, device, autocast)
    pictures = loader.dataset
    return task.evaluation(pictures.split, outputs, truth_of(pictures), pictures.names)


def truth_of(pictures: Dataset) -> Tensor | Sequence[Objects]:
    """What the outputs for a split are compared with."""
    return pictures.targets if pictures.objects is None else pictures.objects


def outputs_of(
    network: nn.Module,
    loader: Loader,
    preprocessing: Preprocessing,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Tensor:
    """What a network gives for a whole split, in the split's order, float32 on the CPU, in every process.

    Detections are in the pixels of their pictures; of masks, only what they have in common with the true ones is kept,
    counted in the same pixels (see `data.overlap`). The network is left in evaluation mode.
    """
    network.eval()
    outputs, indices = [], []
    for batch in loader.epoch(0):
        with torch.inference_mode(), autocast():  # not around the loader, which keeps what it reads
            prepared = prepare(batch.to(device), preprocessing, channels_last=True)
            given = network(prepared.images).float()
        if loader.dataset.has_masks:
            given = judged(given, batch.indices, loader.dataset, preprocessing)
        outputs.append(given.cpu())
        indices.append(batch.indices)
    rows, positions = torch.cat(gather(outputs)), torch.cat(gather(indices))
    in_order = torch.empty_like(rows)
    in_order[positions] = rows
    if loader.dataset.objects is None:
        return in_order
    return on_pictures(in_order, [objects.size for objects in loader.dataset.objects], preprocessing)


def evaluate(
    run: str | Path,
    source: str | Path | None = None,
    *,
    split: str | None = None,
    max_unreadable: float = 0.01,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | torch.device | None = None,
    flips: bool = False,
    scales: Sequence[float] = (1.0,),
) -> Evaluation:
    """Judge a run's network on a data set, in float32.

    Args:
        run: the run's folder.
        source: the data; by default what the run was trained on.
        split: "train", "val" or "test"; by default test, or val where there is no test. Data without splits is
            judged whole, unless it is what the run was trained on: then it is split as it was.
        max_unreadable: the share of unreadable pictures that may be left out, each with a warning.
        batch_size: pictures that the network sees at a time; by default 256, of objects and masks 8.
        workers: processes that decode; by default one a processor.
        device: where to compute; by default a GPU if there is one.
        flips, scales: of masks, look at mirror images, too, and in these sizes, and take the mean.

    Raises:
        ValueError: if the data's classes are not the card's, there is no such split, or too much is unreadable.
    """
    predictor = Predictor(run, device, flips, scales)
    card = predictor.card
    data, dataset = _chosen_split(card, source, split)
    if data.classes != card.classes:
        raise ValueError(_difference(data.classes, card.classes, str(run)))
    data = readable(replace(data, splits={dataset.split: dataset}), max_unreadable)
    for picture in data.unreadable:
        warnings.warn(f"left out: {picture.name}: {picture.reason}", stacklevel=2)
    pictures = data.splits[dataset.split]
    loader = Loader(pictures, card.preprocessing, batch_size or usual_batch(pictures), shuffle=False, workers=workers)
    return evaluate_network(predictor.network, predictor.task, loader, card.preprocessing, predictor.device)


def usual_batch(pictures: Dataset) -> int:
    """Pictures that a network judges at a time."""
    return EVALUATION_BATCH if pictures.objects is None and not pictures.has_masks else DETECTION_BATCH


def _chosen_split(card: Card, source: str | Path | None, split: str | None) -> tuple[Data, Dataset]:
    known = card.data
    asked = known["source"] if source is None else source
    data = open_dataset(asked, task=card.task, split_seed=known["split_seed"], ignore=known.get("ignore"))
    own = data.fingerprint == known["fingerprint"]
    if own:
        data = reopen({**known, "source": data.source})
    if data.splits_made and not own:
        if split is not None:
            raise ValueError(f"{data.source} has no splits, so it is judged whole; leave out the split {split!r}")
        return data, data.whole()
    wanted = split or ("test" if "test" in data.splits else "val")
    if wanted not in data.splits:
        raise ValueError(f"{data.source} has no split {wanted!r}; it has {', '.join(data.splits)}")
    return data, data.splits[wanted]


def _difference(found: tuple[str, ...], expected: tuple[str, ...], run: str) -> str:
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    return (
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
