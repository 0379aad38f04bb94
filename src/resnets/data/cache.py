"""Decoded pictures in one file, mapped into memory, for data sets that do not fit there.

| file | what it holds |
|---|---|
| `KEY.bin` | the pictures one after another, each (H, W, C) uint8 |
| `KEY.npy` | their heights and widths, (N, 2) int32; written last, so that it is there only where the other is whole |
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FORMAT = 1
"""Of the files; part of every key."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a cache by their positions, (C, H, W) uint8 each, read from the disk where they are looked at."""

    pixels: Tensor
    sizes: NDArray[np.int32]
    channels: int

    def __post_init__(self) -> None:
        areas = self.sizes.prod(1, dtype=np.int64)
        object.__setattr__(self, "_ends", np.cumsum(areas) * self.channels)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Tensor:
        height, width = self.sizes[index].tolist()
        ends: NDArray[np.int64] = self._ends  # type: ignore[attr-defined]
        start = int(ends[index - 1]) if index else 0
        return self.pixels[start : int(ends[index])].view(height, width, self.channels).permute(2, 0, 1)

    def together(self) -> Tensor:
        """All of them, (N, C, H, W), where they are of one size."""
        height, width = self.sizes[0].tolist()
        return self.pixels.view(len(self), height, width, self.channels).permute(0, 3, 1, 2)


def key_of(*what: object) -> str:
    """A file name for pictures that are determined by some values."""
    return hashlib.sha256(repr((FORMAT, *what)).encode()).hexdigest()[:32]


def open_cache(folder: Path, key: str, count: int, channels: int) -> Pictures | None:
    """The pictures that were written under a key; None if they were not, or not all of them are there."""
    try:
        sizes = np.load(folder / f"{key}.npy", allow_pickle=False)
        there = (folder / f"{key}.bin").stat().st_size
    except (OSError, ValueError, EOFError):
        return None
    if sizes.shape != (count, 2) or there != int(sizes.prod(1, dtype=np.int64).sum()) * channels:
        return None
    pixels = torch.from_file(str(folder / f"{key}.bin"), shared=False, size=there, dtype=torch.uint8)
    return Pictures(pixels, sizes, channels)


def write_cache(folder: Path, key: str, pictures: Iterable[Tensor], expected: int) -> None:
    """Write pictures (C, H, W) under a key; until all of them are on the disk there is nothing under it.

    Args:
        folder: made if it is not there.
        key: of `key_of`.
        pictures: in their order.
        expected: bytes that they take, about.

    Raises:
        OSError: if there is no room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if expected > free:
        raise OSError(
            f"the decoded pictures take about {expected / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free in {folder}; "
            "give another folder, or leave out --cache"
        )
    sizes = []
    with whole_file(folder / f"{key}.bin") as path, path.open("wb") as file:
        for picture in pictures:
            sizes.append(tuple(picture.shape[1:]))
            file.write(picture.permute(1, 2, 0).contiguous().numpy().data)
        file.flush()
        os.fsync(file.fileno())
    with whole_file(folder / f"{key}.npy") as path, path.open("wb") as file:
        np.save(file, np.array(sizes, np.int32), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes the file when all is written, and is removed when that fails."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
