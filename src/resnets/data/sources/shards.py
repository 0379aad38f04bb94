"""WebDataset's shards, tar files of pictures and their classes, from disk, HTTP or an object store.

Those that `resnets shard` writes have an index, by which a picture is found in its shard; shards of others are looked
through when they are opened, and must be on this machine.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import mmap
import re
import tarfile
import threading
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resnets.data.decoding import open_picture, picture_suffixes
from resnets.data.listing import SPLITS, Listing, is_hidden
from resnets.data.remote import is_remote, kept_copy, read_remote
from resnets.data.sources.folder import written

REFINES = "folder"
ACCEPTS = "a folder of WebDataset's shards, or the address of one that `resnets shard` wrote: https://..., s3://..."

INDEX, SAMPLES = "shards.json", "samples.csv.gz"
FORMAT = 1
COLUMNS = ("name", "label", "content", "offset", "bytes", "values")
"""Of `samples.csv.gz`, a row a sample, in the order of the shards."""

_LARGEST_PICTURE = 256 << 20  # bytes of one file; a member that claims more is not a picture
_MOST_CLASSES = 1 << 20  # of shards without names for them; each is an output of the network
_FIRST = 100  # members of a tar, among which there is a class if there are any
_OPEN = 64  # shards that a process has open at a time


def recognises(source: str) -> bool:
    """Whether it is an address, or a folder with an index or with tar files.

    Where there are folders beside tar files, these must hold classes: they may be what the folders came in.
    """
    folder = Path(source)
    if is_remote(source) or (folder / INDEX).is_file():
        return True
    tars = sorted(folder.glob("*.tar")) if folder.is_dir() else []
    alone = not any(child.is_dir() and not is_hidden(child.name) for child in folder.iterdir()) if tars else False
    return alone or any(map(_has_classes, tars))


def _has_classes(path: Path) -> bool:
    """Whether one of the first members of a tar is the class of a sample."""
    try:
        with tarfile.open(path, "r:") as archive:
            return any(member.name.lower().endswith(".cls") for member in islice(archive, _FIRST))
    except (tarfile.TarError, OSError):
        return False


def open(source: str) -> Listing:
    """List the samples of all shards, by their index where there is one.

    Raises:
        ValueError: the index is broken, or shards without one are elsewhere or hold no pictures with classes.
        OSError: an address that cannot be fetched.
    """
    root = source.removesuffix(INDEX).rstrip("/")
    if is_remote(root) or Path(root, INDEX).is_file():
        return _indexed(root)
    return _looked_through(Path(root).resolve())


@dataclass(frozen=True)
class Shard:
    """One tar: its file, its split or None, how many samples and bytes it has, and their SHA-256."""

    file: str
    split: str | None
    samples: int
    bytes: int
    sha256: str


@dataclass
class ShardPictures:
    """Opens pictures by their places in shards, of which some are kept open.

    Attributes:
        root: the folder or address.
        shards: all of them; of an address with their SHA-256.
        ends: how many samples there are up to each one's end.
        places: (N, 2) int64: of each picture the place of its first byte in its shard, and its bytes.
    """

    root: str
    shards: Sequence[Shard]
    ends: Sequence[int]
    places: NDArray[np.int64]
    _open: OrderedDict[int, mmap.mmap] = field(default_factory=OrderedDict, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __call__(self, position: int) -> Image.Image:
        """The picture at a position, its pixels not yet decoded."""
        offset, size = self.places[position].tolist()
        content = self._content(bisect_right(self.ends, position))[offset : offset + size]
        return open_picture(content)

    def version(self, position: int) -> object:
        """The shard's SHA-256, or where it is, its size and when it was written; and the place in it."""
        shard = self.shards[bisect_right(self.ends, position)]
        path = Path(self.root, shard.file)
        return shard.sha256 or (str(path), *written(path)), *self.places[position].tolist()

    def fetch(self, number: int) -> Path:
        """The path of a shard on this machine, fetched if it is elsewhere and not here yet."""
        shard = self.shards[number]
        if is_remote(self.root):
            return kept_copy(f"{self.root}/{shard.file}", shard.bytes, shard.sha256)
        return Path(self.root, shard.file)

    def _content(self, number: int) -> mmap.mmap:
        with self._lock:
            if number in self._open:
                self._open.move_to_end(number)
                return self._open[number]
        path = self.fetch(number)
        if path.stat().st_size != self.shards[number].bytes:
            raise ValueError(f"{path} has {path.stat().st_size:,} bytes, not the {self.shards[number].bytes:,} it had")
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with self._lock:
            self._open[number] = content
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)  # closed when nobody reads it any more
        return content

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "shards": self.shards, "ends": self.ends, "places": self.places}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _indexed(root: str) -> Listing:
    """The listing of shards that `packing.write_shards` wrote."""
    origin = f"{root}/{INDEX}"
    try:
        index = json.loads(_read(root, INDEX))
        if index["format"] != FORMAT:
            raise ValueError(f"its format is {index['format']}, and this version reads {FORMAT}")
        shards = [_checked(Shard(**shard)) for shard in index["shards"]]
        classes, kind = tuple(map(str, index["classes"])), index["targets"]
        total = sum(shard.samples for shard in shards)
        with gzip.open(
            io.BytesIO(_read(root, SAMPLES)), "rt", newline="", encoding="utf-8", errors="surrogateescape"
        ) as table:
            rows = list(islice(csv.DictReader(table), total + 1))
        if len(rows) != total:
            raise ValueError(f"{SAMPLES} has not the {total:,} samples of the shards")
        places = np.array([(int(row["offset"]), int(row["bytes"])) for row in rows], dtype=np.int64).reshape(-1, 2)
        sizes = np.repeat([shard.bytes for shard in shards], [shard.samples for shard in shards])
        if (places < 0).any() or (places[:, 1] > _LARGEST_PICTURE).any() or (places.sum(1) > sizes).any():
            raise ValueError(f"{SAMPLES} has places outside of the shards")
        values = None
        if kind != "classes":
            values = [tuple(map(float, row["values"].split("|"))) for row in rows]
        listing = Listing(
            str(index["name"]),
            [row["name"] for row in rows],
            [row["label"] for row in rows],
            [shard.split for shard in shards for _ in range(shard.samples)],
            [row["content"] for row in rows],
            ShardPictures(root, shards, list(accumulate(shard.samples for shard in shards)), places),
            classes,
            values,
            many_classes=kind == "many",
            left_out=tuple((str(name), str(reason)) for name, reason in index["left_out"]),
            channels=int(index["channels"]),
            read=True,
            shard_ends=tuple(accumulate(shard.samples for shard in shards)),
        )
    except (
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
        csv.Error,
    ) as error:
        raise ValueError(f"{origin} is no index of shards: {error}") from error
    return listing


def _checked(shard: Shard) -> Shard:
    if not re.fullmatch(r"[\w-]+\.tar", shard.file) or shard.split not in (None, *SPLITS.values()):
        raise ValueError(f"{shard.file!r} of split {shard.split!r} is no shard's name")
    if not (shard.samples > 0 and shard.bytes > 0 and re.fullmatch("[0-9a-f]{64}", shard.sha256)):
        raise ValueError(f"{shard.file} has no size or no SHA-256")
    return shard


def _read(root: str, name: str) -> bytes:
    return read_remote(f"{root}/{name}") if is_remote(root) else Path(root, name).read_bytes()


def _looked_through(folder: Path) -> Listing:
    """The listing of shards of others: pictures with the numbers of their classes (`.cls`) beside them.

    A shard whose name begins with that of a split is of it; `classes.txt`, a name a line, names the classes.
    """
    shards: list[Shard] = []
    names: list[str] = []
    labels: list[int] = []
    places: list[tuple[int, int]] = []
    for path in sorted(folder.glob("*.tar")):
        found = len(names)
        with path.open("rb") as file:
            for key, (suffix, place), number in _samples(path, file):
                names.append(f"{path.stem}/{key}{suffix}")
                labels.append(number)
                places.append(place)
        if len(names) > found:
            split = SPLITS.get(re.split(r"[^a-z]", path.stem.lower())[0])
            shards.append(Shard(path.name, split, len(names) - found, path.stat().st_size, ""))
    if not names:
        raise ValueError(f"{folder} has tar files, but none has pictures with classes (.jpg and .cls) as WebDataset's")
    known = folder / "classes.txt"
    if not known.is_file() and max(labels) >= _MOST_CLASSES:
        raise ValueError(
            f"{folder}: {max(labels)} is no number of a class without {known.name}; below {_MOST_CLASSES:,} is expected"
        )
    classes = tuple(known.read_text(encoding="utf-8").splitlines() if known.is_file() else map(str, _upto(labels)))
    if not 0 <= min(labels) <= max(labels) < len(classes):
        raise ValueError(f"{folder}: classes run from {min(labels)} to {max(labels)}, and {known} names {len(classes)}")
    ends = list(accumulate(shard.samples for shard in shards))
    return Listing(
        folder.name,
        names,
        [classes[label] for label in labels],
        [shard.split for shard in shards for _ in range(shard.samples)],
        [size for _, size in places],
        ShardPictures(str(folder), shards, ends, np.array(places, dtype=np.int64)),
        classes,
        shard_ends=tuple(ends),
    )


def _upto(labels: Sequence[int]) -> range:
    return range(max(labels) + 1)


def _samples(path: Path, file: IO[bytes]) -> Iterator[tuple[str, tuple[str, tuple[int, int]], int]]:
    """Each sample's key, its picture's ending and place, and the number of its class."""
    present: dict[str, tuple[int, int]] = {}
    key = ""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            members = [
                (m.name, m.offset_data, m.size) for m in archive if m.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
            ]
    except tarfile.TarError as error:
        raise ValueError(f"{path} is not a whole archive: {error}") from error
    for name, offset, size in [*members, ("", 0, 0)]:
        folder, _, base = name.rpartition("/")
        stem, dot, ending = base.partition(".")
        if (whole := f"{folder}/{stem}" if folder else stem) != key:
            pictures = [e for e in present if f".{e}" in picture_suffixes() and present[e][1] <= _LARGEST_PICTURE]
            if pictures and "cls" in present:
                yield key, (f".{pictures[0]}", present[pictures[0]]), _class_number(path, key, file, present["cls"])
            key, present = whole, {}
        present[(dot and ending).lower()] = (offset, size)


def _class_number(path: Path, key: str, file: IO[bytes], place: tuple[int, int]) -> int:
    file.seek(place[0])
    text = file.read(min(place[1], 20))
    if not text.strip().isdigit():
        raise ValueError(f"{path}: {key}.cls holds {text!r}, which is no number of a class")
    return int(text)
