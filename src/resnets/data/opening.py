"""A data set with all its splits, and one way to open whatever holds it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from resnets.data.dataset import Dataset, Unreadable
from resnets.data.decoding import is_grey
from resnets.data.listing import Listing
from resnets.data.masks import ignoring
from resnets.data.order import permutation
from resnets.data.sources import find_source
from resnets.data.splitting import Fold, split_listing

_HEADERS_READ = 256  # pictures whose headers tell whether a data set is grey


@dataclass(frozen=True)
class Data:
    """A data set with its splits, as `open_dataset` gives it.

    Attributes:
        source: what was asked for.
        name: what to call it in a title.
        format: the kind of source, a module of `resnets.data.sources`.
        task: what the targets are for: "classification", "regression", "multilabel", "detection" or "segmentation"; or
            if asked for "recognition" or "generation".
        classes: the names of the classes, the same in every split; of numbers, what each is called.
        splits: "train", "val" and "test", as far as they are there.
        channels: 1 if all pictures looked at are grey, else 3.
        fingerprint: sha256 over the names, classes and sizes in bytes of all samples.
        splits_made: the splits that were held out here, because the source does not have them.
        split_seed: the seed by which they were chosen.
        val_share, fold, ignore: as it was opened with.
        unreadable: the samples that `audit.readable` left out.
        read: whether all others are known to be readable.
    """

    source: str
    name: str
    format: str
    task: str
    classes: tuple[str, ...]
    splits: Mapping[str, Dataset]
    channels: int
    fingerprint: str
    splits_made: tuple[str, ...] = ()
    split_seed: int = 0
    val_share: float | None = None
    fold: Fold | None = None
    ignore: str | None = None
    unreadable: tuple[Unreadable, ...] = ()
    read: bool = False

    def whole(self) -> Dataset:
        """All pictures as one split, called "all"."""
        parts = list(self.splits.values())
        return Dataset(
            "all",
            self.classes,
            [name for part in parts for name in part.names],
            torch.cat([part.targets for part in parts]),
            torch.cat([part._positions for part in parts]),
            parts[0]._open_picture,
            None if parts[0].objects is None else [each for part in parts for each in part.objects or ()],
            parts[0]._masks,
            parts[0]._shard_ends,
        )


def open_dataset(
    source: str | Path,
    *,
    task: str = "auto",
    val_share: float | None = None,
    fold: Fold | None = None,
    split_seed: int = 0,
    ignore: str | None = None,
    fewest_classes: int = 2,
) -> Data:
    """Open a data set: a folder, shards, an archive, a table, a Hugging Face id `hf:OWNER/NAME`, or a built-in name.

    No picture is decoded. The task is what the targets ask for; labels that are numbers are classes unless `task` is
    "regression". Splits that the source has are used as they are. Where it has one split only, or
    none, a fifth of each class is held out for testing. `val_share` holds out that share of the training
    pictures of each class for validation; with `fold`, a number and how many there are, that part of the training and
    validation pictures is for validation, and there is no test split. What is held out is a function of `split_seed`
    and the samples' names. With task "recognition" whole classes are held out, so that none is in two splits. Of masks,
    the pixels of the class `ignore` count neither way.

    Nothing is fetched from the network unless the source's name asks for it (`hf:...`, `https://...`,
    `s3://...`, `cifar10`, `mnist`...).

    Raises:
        ValueError: no source, or more than one, knows `source`; or it holds fewer classes than `fewest_classes`, two.
    """
    asked = source if isinstance(source, str) else os.fspath(source.absolute())
    format_name, module = find_source(asked)
    opened: Listing = module.open(asked)
    listing = opened.for_task(task, asked)
    if ignore is not None:
        listing = ignoring(listing, ignore, asked)
    classes = listing.classes or tuple(sorted(set(listing.labels)))
    if listing.values is None and len(classes) < fewest_classes:
        raise ValueError(f"{source} has one class only ({classes[0]}); expected pictures of two classes or more")
    if len(set(listing.names)) != len(listing.names):
        raise ValueError(f"{source} names a picture twice; expected every sample once")
    if listing.values is None:
        number = {label: i for i, label in enumerate(classes)}
        targets = torch.tensor([number[label] for label in listing.labels])
    else:
        targets = torch.tensor(listing.values, dtype=torch.float32)
    members, made = split_listing(listing, val_share, split_seed, fold)
    splits = {
        split: Dataset(
            split,
            classes,
            [listing.names[i] for i in positions],
            targets[positions],
            torch.tensor(positions),
            listing.open_picture,
            None if listing.objects is None else [listing.objects[i] for i in positions],
            listing.masks,
            listing.shard_ends,
        )
        for split, positions in members.items()
    }
    return Data(
        source=os.fspath(source),
        name=listing.name,
        format=format_name,
        task=listing.task,
        classes=classes,
        splits=splits,
        channels=_channels(listing),
        fingerprint=_fingerprint(listing),
        splits_made=made,
        split_seed=split_seed,
        val_share=val_share,
        fold=fold,
        ignore=ignore,
        unreadable=tuple(Unreadable(name, reason) for name, reason in listing.left_out),
        read=listing.read,
    )


def reopen(known: Mapping[str, Any]) -> Data:
    """Open a data set again as a card says that it was; see `open_dataset`."""
    fold = known.get("fold")
    return open_dataset(
        known["source"],
        task=known.get("task", "auto"),
        val_share=known["val_share"],
        fold=None if fold is None else (fold[0], fold[1]),
        split_seed=known["split_seed"],
        ignore=known.get("ignore"),
    )


def _fingerprint(listing: Listing) -> str:
    lines = sorted(zip(listing.names, listing.labels, map(str, listing.contents), strict=True))
    told = "\n".join("\t".join(line) for line in lines)
    return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()  # names may be in another encoding


def _channels(listing: Listing) -> int:
    if listing.channels is not None:
        return listing.channels
    ordered = sorted(range(len(listing.names)), key=lambda i: listing.names[i])
    for position in permutation(0, 0, len(ordered))[:_HEADERS_READ].tolist():
        try:
            grey = is_grey(listing.open_picture(ordered[position]))
        except Exception:  # an unreadable picture is reported when all are read; here it says nothing
            continue
        if not grey:
            return 3
    return 1
