"""Reading everything before it is trusted: what cannot be read, what leaks, what is missing."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from resnets.data.dataset import Dataset, Unreadable, UnreadablePictureError
from resnets.data.opening import Data
from resnets.data.reading import for_each
from resnets.types import Objects

TINY_CLASS = 10
"""A class with fewer pictures than this in a split is reported."""

_BEYOND = 1.0  # pixels that a box may reach beyond its picture, because programs count pixels from 0 or from 1
_COARSE = 1  # pixels on the shorter side: a JPEG is read to its end, but only an eighth of each side is computed


@dataclass(frozen=True)
class Shortage:
    """A class with few or no pictures in a split."""

    split: str
    label: str
    count: int


@dataclass(frozen=True)
class Audit:
    """What reading every picture of a data set has shown.

    Attributes:
        counts: pictures of each class in each split, those that cannot be read included; of numbers, of all; of masks,
            pictures that show the class.
        unreadable: samples that cannot be decoded, and why; pictures and masks that lack the other, masks of another
            size than their picture or with values that are no class's.
        shared: groups of samples with the same pixels that stand in more than one split, as (split, name).
        contradicting: groups of samples with the same pixels and different classes, as (split, name, classes); numbers
            may differ.
        alike: groups of classes whose names differ in capitals only, which letters as classes do, too.
        shortages: classes with fewer than 10 pictures in a split, those with none first.
        sizes: how many pictures there are of each (height, width), upright, the most frequent first.
        modes: how many there are of each of Pillow's modes ("RGB", "L", "I;16"...), the most frequent first.
        misplaced: objects without an area inside their picture, which training leaves out, and objects that reach
            beyond it by more than a pixel, which it cuts off.
    """

    counts: Mapping[str, Mapping[str, int]]
    unreadable: tuple[Unreadable, ...]
    shared: tuple[tuple[tuple[str, str], ...], ...]
    shortages: tuple[Shortage, ...]
    sizes: Mapping[tuple[int, int], int]
    modes: Mapping[str, int]
    misplaced: tuple[Unreadable, ...] = ()
    contradicting: tuple[tuple[tuple[str, str, str], ...], ...] = ()
    alike: tuple[tuple[str, ...], ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing spoils training or its figures.

        All is readable, nothing leaks, lacks or contradicts itself, and all is inside.
        """
        lacks = any(s.count == 0 for s in self.shortages)
        return not (self.unreadable or self.shared or self.contradicting or lacks or self.misplaced)


def audit(data: Data, advance: Callable[[], object] | None = None) -> Audit:
    """Decode every picture of every split. `advance` is called after each, for a progress bar."""
    holders: dict[bytes, list[tuple[str, str, str]]] = defaultdict(list)
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    unreadable = list(data.unreadable)
    present: dict[str, Counter[int]] = defaultdict(Counter)
    for split, dataset in data.splits.items():
        for index, seen in enumerate(for_each(dataset, partial(_look, dataset))):
            if isinstance(seen, Unreadable):
                unreadable.append(seen)
            else:
                told = "" if data.task == "regression" else _told(dataset, index)
                holders[seen.digest].append((split, dataset.names[index], told))
                sizes[seen.size] += 1
                modes[seen.mode] += 1
                present[split].update(seen.labels)
            if advance is not None:
                advance()
    counts = {split: _counts(dataset, data.task, present[split]) for split, dataset in data.splits.items()}
    shortages = [
        Shortage(split, label, count)
        for split, of_class in counts.items()
        for label, count in of_class.items()
        if count < TINY_CLASS and (count or data.task != "recognition")  # whose classes are in one split each
    ]
    return Audit(
        counts=counts,
        unreadable=tuple(unreadable),
        shared=tuple(
            tuple((split, name) for split, name, _ in group)
            for group in holders.values()
            if len({split for split, _, _ in group}) > 1
        ),
        shortages=tuple(sorted(shortages, key=lambda s: s.count)),
        sizes=dict(sizes.most_common()),
        modes=dict(modes.most_common()),
        misplaced=tuple(found for dataset in data.splits.values() for found in _misplaced(dataset)),
        contradicting=tuple(tuple(group) for group in holders.values() if len({told for _, _, told in group}) > 1),
        alike=_alike(next(iter(data.splits.values())).classes),
    )


def _told(dataset: Dataset, index: int) -> str:
    """The class of a sample, or its classes; of objects how many of each."""
    target = dataset.targets[index]
    if target.ndim == 0:
        return dataset.classes[int(target)]
    counts = zip(dataset.classes, target.int().tolist(), strict=False)  # masks have none
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts if count)


def _alike(classes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[name.casefold()].append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _misplaced(dataset: Dataset) -> Iterator[Unreadable]:
    """The objects of a split that are not where they should be."""
    for name, objects in zip(dataset.names, dataset.objects or (), strict=False):
        height, width = objects.size
        limits = torch.tensor([0.0, 0.0, width, height])
        beyond = ((limits - objects.boxes) * torch.tensor([1, 1, -1, -1])).amax(1).tolist()
        inside = has_area(objects).tolist()
        for number, (box, far, there) in enumerate(zip(objects.boxes.tolist(), beyond, inside, strict=True), 1):
            text = ", ".join(f"{side:g}" for side in box)
            if not there:
                yield Unreadable(f"{name}, object {number}", f"no area inside {width} x {height} pixels: {text}")
            elif far > _BEYOND:
                yield Unreadable(f"{name}, object {number}", f"{far:g} pixels beyond {width} x {height}: {text}")


def has_area(objects: Objects) -> Tensor:
    """(M,) whether there is anything of each box inside the picture."""
    height, width = objects.size
    inside = objects.boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    return (inside[:, 2:] > inside[:, :2]).all(1)


def inside_pictures(dataset: Dataset) -> tuple[Dataset, list[Unreadable]]:
    """The split with every box cut off at the picture's edges, and the objects of which nothing is left."""
    if dataset.objects is None:
        return dataset, []
    left_out = [bad for bad in _misplaced(dataset) if bad.reason.startswith("no area")]
    objects = []
    for each in dataset.objects:
        height, width = each.size
        cut = each.boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        objects.append(replace(each, boxes=cut).subset(has_area(each)))
    return dataset.with_objects(objects), left_out


def readable(data: Data, max_share: float = 0.01, advance: Callable[[], object] | None = None) -> Data:
    """The data set without the samples that cannot be decoded, which it names in `unreadable`.

    So it does with objects that have no area inside their picture; others are cut off at its edges. Every picture is
    read to its end, JPEG at an eighth of its size, but those of shards that were written from read ones. `advance` is
    called after each.

    Raises:
        ValueError: more than `max_share` of a split cannot be read.
    """
    if data.read:
        return data
    splits: dict[str, Dataset] = {}
    left_out = list(data.unreadable)
    for split, dataset in data.splits.items():
        kept: list[int] = []
        found: list[Unreadable] = []
        for index, problem in enumerate(for_each(dataset, partial(_problem, dataset))):
            if problem is None:
                kept.append(index)
            else:
                found.append(problem)
            if advance is not None:
                advance()
        if len(found) > max_share * len(dataset):
            examples = "\n".join(f"  {bad.name}: {bad.reason}" for bad in found[:10])
            raise ValueError(
                f"{len(found)} of the {len(dataset)} pictures of {split} in {data.source} cannot be read, "
                f"more than the share of {max_share:g} that is allowed:\n{examples}"
            )
        splits[split], empty = inside_pictures(dataset.subset(kept) if found else dataset)
        left_out += found + empty
    if any(dataset.objects is not None for dataset in splits.values()):
        return replace(data, splits=splits, unreadable=tuple(left_out))
    return replace(data, splits=splits, unreadable=tuple(left_out)) if left_out else data


@dataclass(frozen=True)
class _Seen:
    digest: bytes
    size: tuple[int, int]
    mode: str
    labels: tuple[int, ...] = ()


def _look(dataset: Dataset, index: int) -> _Seen | Unreadable:
    try:
        mode = dataset.open(index).mode
        pixels = dataset.picture(index, 3)
        labels = tuple(dataset.mask(index).unique().tolist()) if dataset.has_masks else ()
    except UnreadablePictureError as error:
        return Unreadable(error.name, error.reason)
    size = (pixels.shape[1], pixels.shape[2])
    digest = hashlib.blake2b(pixels.contiguous().numpy().data, digest_size=16, key=repr(size).encode()).digest()
    return _Seen(digest, size, mode, labels)


def _problem(dataset: Dataset, index: int) -> Unreadable | None:
    try:
        dataset.picture(index, 3, _COARSE)
        if dataset.has_masks:
            dataset.mask(index)
    except UnreadablePictureError as error:
        return Unreadable(error.name, error.reason)
    return None


def _counts(dataset: Dataset, task: str, present: Mapping[int, int]) -> dict[str, int]:
    """Pictures of each class; of masks, those that `present` has found to show it."""
    if task == "regression":
        return {"pictures": len(dataset)}
    if task == "segmentation":
        return {name: present.get(number, 0) for number, name in enumerate(dataset.classes)}
    targets = dataset.targets
    of_class = targets.sum(0) if targets.ndim == 2 else targets.bincount(minlength=len(dataset.classes))
    numbers = [int(count) for count in of_class]
    return dict(zip(dataset.classes, numbers, strict=True))
