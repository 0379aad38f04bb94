"""Shards of a data set: tar files that are read from their beginning to their end, in WebDataset's layout.

A sample is a few files of one tar, one after another, that have all but the ending of their names in common: the
picture as it was (`000000042.jpg`), the number of its class (`.cls`), and its name and class (`.json`). Beside the tars
stand `shards.json`, which names them, and `samples.csv.gz`, which says where in them each picture is.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from resnets.data.dataset import Dataset, UnreadablePictureError
from resnets.data.decoding import decode, encoded, is_grey
from resnets.data.listing import Listing
from resnets.data.order import hashed
from resnets.data.reading import for_each
from resnets.data.sources.shards import COLUMNS, FORMAT, INDEX, SAMPLES, Shard

WHOLE = "all"
"""What shards are called whose source has no splits."""

_COARSE = 1  # pixels: a JPEG is read to its end, but only an eighth of each side is computed


@dataclass(frozen=True)
class _Picture:
    content: bytes
    suffix: str
    grey: bool


def write_shards(
    listing: Listing, folder: Path, shard_bytes: int, advance: Callable[[], object] | None = None
) -> tuple[Shard, ...]:
    """Write all pictures that can be decoded into shards of about `shard_bytes` bytes, in a random order.

    Files are taken as they are; pixels that come from no file are written as PNG. `advance` is called after each.

    Raises:
        ValueError: if the targets are neither classes nor numbers.
        FileExistsError: if there is something in the folder, or beside it what an interrupted writing has left.
    """
    if listing.objects is not None or listing.masks is not None:
        raise ValueError(f"shards hold pictures with classes or numbers, and {listing.name} is for {listing.task}")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not empty; write shards into a new folder")
    classes = listing.classes or tuple(sorted(set(listing.labels)))
    unfinished = folder.with_name(folder.name + ".unfinished")
    if unfinished.exists():
        raise FileExistsError(
            f"{unfinished} is there, which a writing that was interrupted has left or one that is under way fills; "
            "remove it unless it grows, and write again"
        )
    unfinished.mkdir(parents=True)
    shards: list[Shard] = []
    left_out = list(listing.left_out)
    colours = False
    with gzip.open(unfinished / SAMPLES, "wt", newline="", encoding="utf-8", errors="surrogateescape") as table:
        rows = csv.DictWriter(table, COLUMNS)
        rows.writeheader()
        for split in sorted(set(listing.splits), key=str):
            writer = _Writer(unfinished, split, shard_bytes)
            for position, picture in _pictures(listing, split):
                if advance is not None:
                    advance()
                if isinstance(picture, str):
                    left_out.append((listing.names[position], picture))
                    continue
                colours |= not picture.grey
                offset = writer.add(picture, _labels(listing, classes, position))
                values = "" if listing.values is None else "|".join(map(repr, listing.values[position]))
                named = (listing.names[position], listing.labels[position], listing.contents[position])
                rows.writerow(dict(zip(COLUMNS, (*named, offset, len(picture.content), values), strict=True)))
            shards += writer.finish()
    kind = "classes" if listing.values is None else "many" if listing.many_classes else "numbers"
    index = {
        "format": FORMAT,
        "name": listing.name,
        "targets": kind,
        "classes": classes,
        "channels": 3 if colours else 1,
        "shards": [asdict(shard) for shard in shards],
        "left_out": left_out,
    }
    (unfinished / INDEX).write_bytes(_json(index, indent=1) + b"\n")
    if folder.exists():
        folder.rmdir()
    unfinished.replace(folder)
    return tuple(shards)


def _pictures(listing: Listing, split: str | None) -> Iterator[tuple[int, _Picture | str]]:
    """The pictures of a split at random, with their positions; of those that cannot be decoded the reason."""
    positions = [i for i, of in enumerate(listing.splits) if of == split]
    positions.sort(key=lambda i: hashed(0, listing.names[i]))
    names = [listing.names[i] for i in positions]
    pictures = Dataset(str(split), (), names, torch.empty(len(names)), torch.tensor(positions), listing.open_picture)

    def read(index: int) -> _Picture | str:
        try:
            image = pictures.open(index)
            grey, (content, suffix) = is_grey(image), encoded(image)
            decode(image, 3, _COARSE)
        except UnreadablePictureError as error:
            return error.reason
        except Exception as error:  # Pillow raises many kinds for a broken file
            return str(error) or type(error).__name__
        return _Picture(content, suffix, grey)

    return zip(positions, for_each(pictures, read), strict=True)


def _labels(listing: Listing, classes: Sequence[str], position: int) -> dict[str, bytes]:
    """The files beside a picture, by their endings."""
    told: dict[str, Any] = {"name": listing.names[position], "label": listing.labels[position]}
    files: dict[str, bytes] = {}
    if listing.values is None:
        files["cls"] = str(classes.index(listing.labels[position])).encode()
    else:
        told["values"] = dict(zip(classes, listing.values[position], strict=True))
    return files | {"json": _json(told)}


def _json(content: object, indent: int | None = None) -> bytes:
    """In UTF-8; what a name has of another encoding is escaped, as JSON allows."""
    return json.dumps(content, indent=indent, ensure_ascii=False).encode(errors="backslashreplace")


class _Writer:
    """Writes samples into one shard after another."""

    def __init__(self, folder: Path, split: str | None, shard_bytes: int) -> None:
        self._folder, self._split, self._limit = folder, split, shard_bytes
        self._shards: list[Shard] = []
        self._tar: tarfile.TarFile | None = None
        self._samples = self._written = 0

    def add(self, picture: _Picture, labels: dict[str, bytes]) -> int:
        """Append a sample, and give the place of its picture's first byte in its shard."""
        if self._tar is not None and self._tar.offset + len(picture.content) > self._limit:
            self._close()
        if self._tar is None:
            self._path = self._folder / f"{self._split or WHOLE}-{len(self._shards):06d}.tar"
            self._tar = tarfile.open(self._path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - over many calls
        key, offset = f"{self._written:09d}", self._tar.offset + tarfile.BLOCKSIZE  # behind its header
        for suffix, content in {picture.suffix: picture.content, **labels}.items():
            member = tarfile.TarInfo(f"{key}.{suffix}")
            member.size, member.mode = len(content), 0o644
            self._tar.addfile(member, io.BytesIO(content))
        self._samples, self._written = self._samples + 1, self._written + 1
        return offset

    def finish(self) -> list[Shard]:
        """Close the last shard and give all."""
        if self._tar is not None:
            self._close()
        return self._shards

    def _close(self) -> None:
        assert self._tar is not None
        self._tar.close()
        with self._path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = self._path.stat().st_size
        self._shards.append(Shard(self._path.name, self._split, self._samples, size, digest))
        self._tar, self._samples = None, 0
