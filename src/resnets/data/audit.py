"""Reading everything before it is trusted: what cannot be read, what leaks, what is missing."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from resnets.data.dataset import Data, Dataset, Unreadable, UnreadablePictureError
from resnets.data.reading import for_each

TINY_CLASS = 10
"""A class with fewer pictures than this in a split is reported."""

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
        counts: pictures of each class in each split, those that cannot be read included; of numbers, of all.
        unreadable: samples that cannot be decoded, and why.
        shared: groups of samples with the same pixels that stand in more than one split, as (split, name).
        shortages: classes with fewer than 10 pictures in a split, those with none first.
        sizes: how many pictures there are of each (height, width), upright, the most frequent first.
        modes: how many there are of each of Pillow's modes ("RGB", "L", "I;16"...), the most frequent first.
    """

    counts: Mapping[str, Mapping[str, int]]
    unreadable: tuple[Unreadable, ...]
    shared: tuple[tuple[tuple[str, str], ...], ...]
    shortages: tuple[Shortage, ...]
    sizes: Mapping[tuple[int, int], int]
    modes: Mapping[str, int]

    @property
    def sound(self) -> bool:
        """Whether nothing spoils training or its figures: all is readable, nothing leaks, no class lacks."""
        return not (self.unreadable or self.shared or any(s.count == 0 for s in self.shortages))


def audit(data: Data, advance: Callable[[], object] | None = None) -> Audit:
    """Decode every picture of every split. `advance` is called after each, for a progress bar."""
    holders: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    unreadable = list(data.unreadable)
    for split, dataset in data.splits.items():
        for name, seen in zip(dataset.names, for_each(dataset, partial(_look, dataset)), strict=True):
            if isinstance(seen, Unreadable):
                unreadable.append(seen)
            else:
                holders[seen.digest].append((split, name))
                sizes[seen.size] += 1
                modes[seen.mode] += 1
            if advance is not None:
                advance()
    counts = {split: _counts(dataset, data.task) for split, dataset in data.splits.items()}
    shortages = [
        Shortage(split, label, count)
        for split, of_class in counts.items()
        for label, count in of_class.items()
        if count < TINY_CLASS
    ]
    return Audit(
        counts=counts,
        unreadable=tuple(unreadable),
        shared=tuple(tuple(group) for group in holders.values() if len({split for split, _ in group}) > 1),
        shortages=tuple(sorted(shortages, key=lambda s: s.count)),
        sizes=dict(sizes.most_common()),
        modes=dict(modes.most_common()),
    )


def readable(data: Data, max_share: float = 0.01, advance: Callable[[], object] | None = None) -> Data:
    """The data set without the samples that cannot be decoded, which it names in `unreadable`.

    Every picture is read to its end, JPEG at an eighth of its size. `advance` is called after each.

    Raises:
        ValueError: more than `max_share` of a split cannot be read.
    """
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
        splits[split] = dataset.subset(kept) if found else dataset
        left_out += found
    return replace(data, splits=splits, unreadable=tuple(left_out)) if left_out else data


@dataclass(frozen=True)
class _Seen:
    digest: bytes
    size: tuple[int, int]
    mode: str


def _look(dataset: Dataset, index: int) -> _Seen | Unreadable:
    try:
        mode = dataset.open(index).mode
        pixels = dataset.picture(index, 3)
    except UnreadablePictureError as error:
        return Unreadable(error.name, error.reason)
    size = (pixels.shape[1], pixels.shape[2])
    digest = hashlib.blake2b(pixels.numpy().data, digest_size=16, key=repr(size).encode()).digest()
    return _Seen(digest, size, mode)


def _problem(dataset: Dataset, index: int) -> Unreadable | None:
    try:
        dataset.picture(index, 3, _COARSE)
    except UnreadablePictureError as error:
        return Unreadable(error.name, error.reason)
    return None


def _counts(dataset: Dataset, task: str) -> dict[str, int]:
    if task == "regression":
        return {"pictures": len(dataset)}
    targets = dataset.targets
    of_class = targets.sum(0) if targets.ndim == 2 else targets.bincount(minlength=len(dataset.classes))
    numbers = [int(count) for count in of_class]
    return dict(zip(dataset.classes, numbers, strict=True))
