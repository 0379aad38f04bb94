"""A folder of class folders, with or without train, val and test folders above, as ImageNet's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from resnets.data.decoding import open_picture, why_left_out
from resnets.data.listing import Listing, is_hidden, is_picture, read_layout

ACCEPTS = "a folder of class folders, with or without train, val and test folders above them"


def recognises(source: str) -> bool:
    """Whether it is a folder."""
    return Path(source).is_dir()


def open(source: str) -> Listing:
    """List all pictures under a folder, at any depth below their class folder; links are followed."""
    root = Path(source).resolve()
    everything = sorted(walk(root, "", frozenset()))
    found = [(path, size) for path, size in everything if is_picture(path)]
    names, splits, labels = read_layout([path for path, _ in found], source)
    files = tuple(path for path, _ in found)
    others = [path for path, _ in everything if not is_picture(path) and not is_hidden(path)]
    return Listing(
        root.name,
        names,
        labels,
        splits,
        [size for _, size in found],
        Files(str(root), files),
        left_out=tuple((path, reason) for path in others if (reason := why_left_out(path, _beginning(root / path)))),
    )


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError:
        return b""


@dataclass(frozen=True)
class Files:
    """Opens the pictures of a folder by their positions."""

    root: str
    paths: tuple[str, ...]

    def __call__(self, position: int) -> Image.Image:
        """The picture at a position of `paths`, its pixels not yet decoded."""
        return open_picture(Path(self.root, self.paths[position]).read_bytes())

    def version(self, position: int) -> object:
        """Where the file is, its size and when it was written."""
        path = Path(self.root, self.paths[position])
        return str(path), *written(path)


def written(path: Path) -> tuple[int, ...]:
    """Size and time of writing, ns, by which a file's change is noticed; () where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns


def walk(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, int]]:
    """Relative paths and sizes of all files; a link to a folder that it stands in is not followed again."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from walk(Path(entry.path), f"{prefix}{entry.name}/", above | {here})
            elif entry.is_file():
                yield prefix + entry.name, entry.stat().st_size
