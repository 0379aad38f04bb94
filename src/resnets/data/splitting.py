"""Which samples train, which choose, which test."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from resnets.data.listing import Listing
from resnets.data.order import hashed

TEST_SHARE = 0.2
"""The share held out for testing where a source has one split only: of each class, or of the classes."""


Fold = tuple[int, int]
"""A fold's number, from 1, and how many there are."""


def split_listing(
    listing: Listing, val_share: float | None, seed: int, fold: Fold | None = None
) -> tuple[dict[str, list[int]], tuple[str, ...]]:
    """The positions of each split's samples, sorted by name, and the splits that were made here.

    Raises:
        ValueError: a share or a fold out of range, no training pictures, `val_share` where there is a "val" already, or
            a class of an open set in two splits.
    """
    if fold is not None and (val_share is not None or not 1 <= fold[0] <= fold[1] or fold[1] < 2):
        raise ValueError(f"a fold is a number from 1 to that of all folds, two or more, without val_share; not {fold}")
    if val_share is not None and not 0 < val_share < 1:
        raise ValueError(f"val_share must be above 0 and below 1, not {val_share}")
    members: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    there = {split for split in listing.splits if split is not None}
    if len(there) > 1 and "train" not in there:
        raise ValueError(f"{listing.name} has {' and '.join(sorted(there))}, but no pictures to train on")
    made: tuple[str, ...] = ()
    for position in sorted(range(len(listing.names)), key=lambda i: listing.names[i]):
        split = listing.splits[position]
        if split is None and len(there) > 1:
            raise ValueError(f"{listing.name}: {listing.names[position]} belongs to no split, but others do")
        members[split if split is not None and len(there) > 1 else "train"].append(position)
    if listing.open_set:
        check_apart(listing, members)
    if len(there) <= 1:
        members["train"], members["test"] = hold_out(listing, members["train"], TEST_SHARE, seed)
        made = ("test",)
    if val_share is not None:
        if members["val"]:
            raise ValueError(f"{listing.name} has a validation split already; leave val_share out")
        members["train"], members["val"] = hold_out(listing, members["train"], val_share, seed)
        made = (*made, "val")
    if fold is not None:
        members["train"], members["val"] = fold_out(listing, sorted(members["train"] + members["val"]), fold, seed)
        members["test"] = []  # no part of cross-validation
        made = ("val",)
    return {split: positions for split, positions in members.items() if positions}, made


def fold_out(listing: Listing, positions: Iterable[int], fold: Fold, seed: int) -> tuple[list[int], list[int]]:
    """Part `positions` into those of the other folds and those of this one; the classes are spread over all folds.

    Of an open set, each fold has classes of its own.

    Raises:
        ValueError: if a class has fewer samples than there are folds, or an open set fewer than two classes for each.
    """
    number, count = fold
    if listing.open_set:
        classes = shuffled_classes(listing, positions, seed)
        if len(classes) < 2 * count:
            raise ValueError(f"{listing.name}: {len(classes)} classes are too few for {count} folds of two or more")
        return without_classes(listing, positions, classes[number - 1 :: count])
    strata = listing.strata
    everyone = sorted(positions, key=lambda i: (strata[i], hashed(seed, listing.names[i])))
    sizes = Counter(strata[i] for i in everyone)
    if too_small := [label for label, size in sizes.items() if size < count]:
        lacking = f"its class {too_small[0]}" if too_small[0] else "it"
        raise ValueError(f"{listing.name}: {lacking} has fewer pictures than the {count} folds; ask for fewer")
    held = set(everyone[number - 1 :: count])
    return [i for i in everyone if i not in held], [i for i in everyone if i in held]


def hold_out(listing: Listing, positions: Iterable[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Part `positions` into those kept and those held out, `share` of each class to the nearest sample.

    Of a class with two samples or more, at least one is held out and at least one kept; a single one is kept.
    The samples with the smallest hashes of (seed, name) are held out, so that one picture more or less moves
    few others. Of an open set, `share` of the classes is held out, at least two of four or more.
    """
    if listing.open_set:
        classes = shuffled_classes(listing, positions, seed)
        least = 2 if len(classes) >= 4 else 1
        count = min(max(round(len(classes) * share), least), len(classes) - 1)
        return without_classes(listing, positions, classes[:count])
    of_class: dict[str, list[int]] = defaultdict(list)
    everyone, strata = list(positions), listing.strata
    for position in everyone:
        of_class[strata[position]].append(position)
    held: set[int] = set()
    for group in of_class.values():
        group.sort(key=lambda i: hashed(seed, listing.names[i]))
        count = min(max(round(len(group) * share), 1), len(group) - 1)
        held.update(group[:count])
    return [i for i in everyone if i not in held], [i for i in everyone if i in held]


def shuffled_classes(listing: Listing, positions: Iterable[int], seed: int) -> list[str]:
    """The classes of some samples, by the hashes of (seed, class)."""
    return sorted({listing.labels[i] for i in positions}, key=lambda label: hashed(seed, label))


def without_classes(listing: Listing, positions: Iterable[int], classes: Iterable[str]) -> tuple[list[int], list[int]]:
    """Part `positions` into those of all other classes and those of the given ones."""
    everyone, chosen = list(positions), set(classes)
    others = [i for i in everyone if listing.labels[i] not in chosen]
    return others, [i for i in everyone if listing.labels[i] in chosen]


def check_apart(listing: Listing, members: Mapping[str, Iterable[int]]) -> None:
    """Raise ValueError if a class of an open set is in two splits of its source."""
    home: dict[str, str] = {}
    for split, positions in members.items():
        for position in positions:
            label = listing.labels[position]
            if home.setdefault(label, split) != split:
                raise ValueError(
                    f"{listing.name} has {label} in {home[label]} and in {split}, but recognition is judged on classes "
                    "that were not trained on: keep each class in one split, or give the data without splits"
                )
