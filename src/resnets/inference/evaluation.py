"""A network's answers to a whole split, and what they are worth."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from resnets.data.audit import readable
from resnets.data.dataset import Data, Dataset, open_dataset, reopen
from resnets.data.loading import Loader
from resnets.data.transforms import prepare
from resnets.inference.predictor import Predictor
from resnets.runs.card import Card
from resnets.tasks import Evaluation, Task
from resnets.types import Preprocessing

EVALUATION_BATCH = 256
"""Pictures that a network judges at a time, where nobody says otherwise."""


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
    return task.evaluation(pictures.split, outputs, pictures.targets, pictures.names)


def outputs_of(
    network: nn.Module,
    loader: Loader,
    preprocessing: Preprocessing,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Tensor:
    """What a network gives for a whole split, in the split's order, float32 on the CPU, in every process.

    The network is left in evaluation mode.
    """
    network.eval()
    outputs, indices = [], []
    for batch in loader.epoch(0):
        with torch.inference_mode(), autocast():  # not around the loader, which keeps what it reads
            prepared = prepare(batch.to(device), preprocessing, channels_last=True)
            outputs.append(network(prepared.images).float().cpu())
        indices.append(batch.indices)
    rows, positions = torch.cat(gather(outputs)), torch.cat(gather(indices))
    in_order = torch.empty_like(rows)
    in_order[positions] = rows
    return in_order


def evaluate(
    run: str | Path,
    source: str | Path | None = None,
    *,
    split: str | None = None,
    max_unreadable: float = 0.01,
    batch_size: int = EVALUATION_BATCH,
    workers: int | None = None,
    device: str | torch.device | None = None,
) -> Evaluation:
    """Judge a run's network on a data set, in float32.

    Args:
        run: the run's folder.
        source: the data; by default what the run was trained on.
        split: "train", "val" or "test"; by default test, or val where there is no test. Data without splits is
            judged whole, unless it is what the run was trained on: then it is split as it was.
        max_unreadable: the share of unreadable pictures that may be left out, each with a warning.
        batch_size: pictures that the network sees at a time.
        workers: processes that decode; by default one a processor.
        device: where to compute; by default a GPU if there is one.

    Raises:
        ValueError: if the data's classes are not the card's, there is no such split, or too much is unreadable.
    """
    predictor = Predictor(run, device)
    card = predictor.card
    data, dataset = _chosen_split(card, source, split)
    check_classes(data, card, run)
    data = readable(replace(data, splits={dataset.split: dataset}), max_unreadable)
    for picture in data.unreadable:
        warnings.warn(f"left out: {picture.name}: {picture.reason}", stacklevel=2)
    loader = Loader(data.splits[dataset.split], card.preprocessing, batch_size, shuffle=False, workers=workers)
    return evaluate_network(predictor.network, predictor.task, loader, card.preprocessing, predictor.device)


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
    data = open_dataset(asked, task=card.task, split_seed=known["split_seed"])
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
