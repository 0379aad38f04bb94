"""What a source tells of its pictures before any is decoded, and how folder names are read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image
from torch import Tensor

from resnets.data.decoding import picture_suffixes
from resnets.types import Objects

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Names of splits as folders and tables have them, and the split that each one means."""


def split_in(name: str) -> str | None:
    """The split that a name tells by one of its words ("train2017", "annotations_val"); None where two differ."""
    words = re.split("[^a-z]+", name.lower())
    found = {SPLITS[word] for word in words if word in SPLITS}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class Listing:
    """All samples of a source, in any order.

    Attributes:
        name: what to call it in a title.
        names: one a sample, unique, the same on every machine ("train/ants/0013035.jpg").
        labels: the class of each sample; of numbers, the text they were read from.
        splits: "train", "val" or "test" of each sample, or None where the source does not say.
        contents: what stands for each sample's content in the fingerprint; its size in bytes, or a hash.
        open_picture: from a sample's position to an opened, not yet decoded picture. It must be picklable,
            and safe to call from several threads.
        classes: the classes in their own order, by default sorted by name; of numbers, what each is called.
        values: where each sample has numbers, or any number of classes (1 where it has one, 0 where not), those.
        many_classes: whether `values` are classes.
        of_classes: what is asked where each picture has a single class: "classification", "generation" or
            "recognition".
        objects: what is where in each picture, where the source says so; `values` count the objects of each class.
        masks: from a sample's position to the classes of its pixels, (h, w) uint8, `IGNORED` where they count neither
            way; as picklable as `open_picture`. It raises ValueError for what is no mask.
        as_masks: gives the listing of the masks, where the source has those beside other targets.
        left_out: names of files that are no samples though they look like some, and why.
        channels: 1 if all pictures are known to be grey, else 3; None where only looking at them would tell.
        read: whether all pictures are known to be readable.
        shard_ends: where samples lie one after another in shards, how many there are up to each one's end.
    """

    name: str
    names: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str | None]
    contents: Sequence[int | str]
    open_picture: Callable[[int], Image.Image]
    classes: tuple[str, ...] | None = None
    values: Sequence[tuple[float, ...]] | None = None
    many_classes: bool = False
    objects: Sequence[Objects] | None = None
    of_classes: str = "classification"
    masks: Callable[[int], Tensor] | None = None
    as_masks: Callable[[], Listing] | None = None
    left_out: tuple[tuple[str, str], ...] = ()
    channels: int | None = None
    read: bool = False
    shard_ends: tuple[int, ...] = ()

    @property
    def task(self) -> str:
        """What the targets are for: "classification", "regression", "multilabel", "detection", "segmentation"..."""
        if self.masks is not None:
            return "segmentation"
        if self.objects is not None:
            return "detection"
        if self.values is None:
            return self.of_classes
        return "multilabel" if self.many_classes else "regression"

    @property
    def open_set(self) -> bool:
        """Whether each class has to be in one split alone, so that what is judged are classes never trained on."""
        return self.of_classes == "recognition"

    @property
    def strata(self) -> Sequence[str]:
        """What is spread evenly over splits: the classes; numbers are not."""
        return self.labels if self.values is None else [""] * len(self.labels)

    def for_task(self, task: str, source: str) -> Listing:
        """The listing as a task takes it; labels that are numbers, and zeros and ones, can be read as such.

        Raises:
            ValueError: if the task is not one that these targets answer.
        """
        if task in ("auto", self.task):
            return self
        if task == "segmentation" and self.as_masks is not None:
            return self.as_masks()
        if self.masks is not None:
            raise ValueError(f"{source} has masks, so it cannot be used for {task}; leave out --task")
        if task in ("generation", "recognition") and self.values is None:
            return replace(self, of_classes=task)
        if task == "regression" and self.many_classes:
            return replace(self, many_classes=False)
        if task == "regression" and self.objects is not None:
            return replace(self, objects=None)
        if task == "multilabel" and self.objects is not None and self.values is not None:
            there = [tuple(float(count > 0) for count in counts) for counts in self.values]
            return replace(self, objects=None, values=there, many_classes=True)
        if task != "regression":
            raise ValueError(f"{source} has {self.task} targets, so it cannot be used for {task}; leave out --task")
        try:
            values = [(float(label),) for label in self.labels]
        except ValueError:
            raise ValueError(f"{source} has classes that are no numbers, so it cannot be used for regression") from None
        return replace(self, values=values, classes=("label",))


def listing_of_objects(
    name: str,
    names: Sequence[str],
    splits: Sequence[str | None],
    contents: Sequence[int | str],
    open_picture: Callable[[int], Image.Image],
    classes: tuple[str, ...],
    objects: Sequence[Objects],
    source: str,
) -> Listing:
    """The listing of pictures in which objects are marked.

    Raises:
        ValueError: there are no pictures, or none has an object.
    """
    if not any(map(len, objects)):
        raise ValueError(f"{source} marks no object in {len(objects):,} pictures; expected boxes of objects")
    counts = [tuple(map(float, each.labels.bincount(minlength=len(classes)).tolist())) for each in objects]
    texts = [repr((each.size, each.boxes.tolist(), each.labels.tolist(), each.ignored.tolist())) for each in objects]
    texts = [text + digest_of_outlines(each) for text, each in zip(texts, objects, strict=True)]
    return Listing(name, names, texts, splits, contents, open_picture, classes, counts, objects=objects)


def digest_of_outlines(objects: Objects) -> str:
    """What tells the outlines of a picture's objects from others, in few letters; "" where there are none."""
    if not objects.outlines:
        return ""
    points = repr([[polygon.tolist() for polygon in polygons] for polygons in objects.outlines])
    return f" outlines {hashlib.sha256(points.encode()).hexdigest()[:16]}"


def is_picture(path: str) -> bool:
    """Whether a file's name is that of a picture: a known ending, and nothing hidden on the way to it."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))
    return not hidden and path.lower().endswith(picture_suffixes())


def read_layout(paths: Sequence[str], source: str) -> tuple[list[str], list[str | None], list[str]]:
    """Names, splits and classes from the paths of pictures, `[split/]class/.../file`, "/" between their
    parts.

    A folder that holds all the others is skipped; the names come without it.

    Raises:
        ValueError: no pictures, pictures outside class folders, or split folders beside class folders.
    """
    if not paths:
        raise ValueError(f"{source} holds no pictures; expected folders of pictures, one a class")
    parts = [path.split("/") for path in paths]
    shared = 0
    while (
        min(map(len, parts)) > shared + 2
        and parts[0][shared].lower() not in SPLITS
        and len({p[shared] for p in parts}) == 1
    ):
        shared += 1
    parts = [p[shared:] for p in parts]
    for path in parts:
        if len(path) < 2:
            raise ValueError(f"{source}: {'/'.join(path)} is in no class folder; expected one folder a class")
    names = ["/".join(path) for path in parts]
    tops = {path[0] for path in parts}
    split_tops = {top for top in tops if top.lower() in SPLITS}
    deep = {path[0] for path in parts if len(path) > 2}
    if split_tops == tops:
        for path in parts:
            if len(path) < 3:
                raise ValueError(
                    f"{source}: {'/'.join(path)} is in a split folder but in no class folder; "
                    "expected split/class/picture; move pictures without a class elsewhere"
                )
        return names, [SPLITS[path[0].lower()] for path in parts], [path[1] for path in parts]
    if split_tops & deep:
        raise ValueError(
            f"{source} has split folders ({', '.join(sorted(split_tops))}) beside other folders "
            f"({', '.join(sorted(tops - split_tops)[:5])}); expected either split folders or class folders"
        )
    return names, [None] * len(parts), [path[0] for path in parts]
