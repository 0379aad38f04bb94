"""What a source tells of its pictures before any is decoded, and how folder names are read."""

from __future__ import annotations

import hashlib
import re
import unicodedata
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
    "testing": "test",
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


_NOT_OURS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "#recycle")
"""Folders of archivers, of storage devices for their previews, and of what was deleted."""

_NEUTRAL = ("data", "dataset", "folder", "images", "imgs", "pictures", "seg", "set", "split")
"""Words that stand beside a split's in the names of its folders."""

_KINDS = ("image", "images", "mask", "masks", "label", "labels", "annotation", "annotations")
"""Names of folders that tell what is in them, and no class."""


def is_hidden(path: str) -> bool:
    """Whether a file, or a folder on the way to it, is hidden or another program's."""
    return any(part.startswith(".") or part in _NOT_OURS for part in path.split("/"))


def is_picture(path: str) -> bool:
    """Whether a file's name is that of a picture: a known ending, and nothing hidden on the way to it."""
    return not is_hidden(path) and path.lower().endswith(picture_suffixes())


def split_of(folder: str) -> str | None:
    """The split that a folder is of: "val", "Testing", "train2017", "test_set"; "train station" may be a class."""
    words = re.findall("[a-z]+", folder.lower())
    return split_in(folder) if all(word in SPLITS or word in _NEUTRAL for word in words) else None


def read_layout(paths: Sequence[str], source: str) -> tuple[list[str], list[str | None], list[str]]:
    """Names, splits and classes from the paths of pictures, `[split/]class/.../file`, "/" between their
    parts.

    A folder that holds all the others is skipped; the names come without it. So is one below a split's folder that is
    called like it. However the letters of a class are composed, it is one.

    Raises:
        ValueError: no pictures, pictures outside class folders, split folders beside or below class folders, or folders
            of other things than classes.
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
    splits: list[str | None] = [None] * len(parts)
    labels = [path[0] for path in parts]
    if all(map(split_of, tops)):
        for path in parts:
            if len(path) < 3:
                raise ValueError(
                    f"{source}: {'/'.join(path)} is in a split folder but in no class folder; "
                    "expected split/class/picture; move pictures without a class elsewhere"
                )
        splits = [split_of(path[0]) for path in parts]
        once = {path[0] for path in parts if len(path) < 4 or split_of(path[1]) != split_of(path[0])}
        labels = [path[1 if path[0] in once else 2] for path in parts]
    else:
        _refuse_misplaced_splits(parts, source)
    if len(kinds := set(labels)) > 1 and all(kind.lower() in _KINDS for kind in kinds):
        raise ValueError(
            f"{source} has the folders {', '.join(sorted(kinds))}, which name no classes; pictures with masks are read "
            "from images/ and masks/ in a folder, not in an archive, and objects as YOLO, COCO or Pascal VOC keep them"
        )
    return names, splits, [unicodedata.normalize("NFC", label) for label in labels]


def _refuse_misplaced_splits(parts: Sequence[Sequence[str]], source: str) -> None:
    """Raise ValueError where folders, not all of which are splits', seem to be of splits all the same."""
    tops = {path[0] for path in parts}
    split_tops = {top for top in tops if split_of(top)}
    if split_tops & {path[0] for path in parts if len(path) > 2}:
        raise ValueError(
            f"{source} has split folders ({', '.join(sorted(split_tops))}) beside other folders "
            f"({', '.join(sorted(tops - split_tops)[:5])}); expected either split folders or class folders"
        )
    telling = {top for top in tops if split_in(top)}
    if len(set(map(split_of, split_tops))) > 1 or (
        len(set(map(split_in, telling))) > 1 and 2 * len(telling) > len(tops)  # few of many may be classes
    ):
        raise ValueError(
            f"{source} has folders that are named like splits ({', '.join(sorted(telling)[:5])}), but not as "
            "split/class/picture, which is expected; of pictures with masks, images/split/ and masks/split/"
        )
    below = {path[1] for path in parts if len(path) > 2 and split_of(path[1])}
    if len(set(map(split_of, below))) > 1:
        raise ValueError(
            f"{source} has split folders ({', '.join(sorted(below))}) below others, such as {parts[0][0]}; expected "
            "split/class/picture"
        )
