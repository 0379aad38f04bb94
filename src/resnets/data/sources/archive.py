"""A tar or zip file of class folders, read in place: nothing is extracted to disk."""

from __future__ import annotations

import mmap
import os
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from resnets.data.decoding import open_picture
from resnets.data.listing import Listing, is_picture, read_layout
from resnets.data.sources.folder import written

ACCEPTS = "a .tar or .zip file of such a folder (also .tar.gz, .tgz, .tar.bz2, .tar.xz, read into memory)"

_TAR = (".tar",)
_COMPRESSED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_LARGEST_PICTURE = 256 << 20  # bytes of one file; a member that claims more is not a picture
_LARGEST_COMPRESSED_TAR = 4 << 30  # bytes of pictures taken into memory from a file that has no random access


def recognises(source: str) -> bool:
    """Whether it is a file named like an archive."""
    return source.lower().endswith((*_TAR, *_COMPRESSED_TAR, ".zip")) and Path(source).is_file()


def open(source: str) -> Listing:
    """List the pictures of an archive.

    Raises:
        ValueError: it is no archive, or a compressed tar with more pictures than memory should hold.
    """
    path = Path(source).resolve()
    lower = path.name.lower()
    try:
        pictures: ZipPictures | BytesPictures | TarPictures
        if lower.endswith(".zip"):
            pictures, sizes, members = _open_zip(path)
        elif lower.endswith(_COMPRESSED_TAR):
            pictures, sizes, members = _open_compressed_tar(path)
        else:
            pictures, sizes, members = _open_tar(path)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{source} is not a whole archive: {error}") from error
    names, splits, labels = read_layout(members, source)
    stem = next(path.name[: -len(s)] for s in (*_TAR, *_COMPRESSED_TAR, ".zip") if lower.endswith(s))
    return Listing(stem, names, labels, splits, sizes, pictures)


@dataclass
class TarPictures:
    """Opens the pictures of a tar file by their places in it."""

    path: str
    places: list[tuple[int, int]]  # first byte and number of bytes
    _content: mmap.mmap | None = field(default=None, repr=False)

    def __call__(self, position: int) -> Image.Image:
        """The picture at a position of `places`, its pixels not yet decoded."""
        if self._content is None:
            with Path(self.path).open("rb") as file:
                self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        offset, size = self.places[position]
        return open_picture(self._content[offset : offset + size])

    def version(self, position: int) -> object:
        """Where the archive is, its size, when it was written, and the place in it."""
        return self.path, *written(Path(self.path)), *self.places[position]

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "places": self.places, "_content": None}


@dataclass
class ZipPictures:
    """Opens the pictures of a zip file by their members' names."""

    path: str
    members: list[str]
    _zip: zipfile.ZipFile | None = field(default=None, repr=False)
    _process: int = field(default=0, repr=False)

    def __call__(self, position: int) -> Image.Image:
        """The picture at a position of `members`, its pixels not yet decoded."""
        archive = self._archive()
        info = archive.getinfo(self.members[position])
        if info.file_size > _LARGEST_PICTURE:
            raise ValueError(f"its {info.file_size:,} bytes are too many for a picture")
        return open_picture(archive.read(info))

    def version(self, position: int) -> object:
        """The sum of the member's bytes that the archive has."""
        return self._archive().getinfo(self.members[position]).CRC

    def _archive(self) -> zipfile.ZipFile:
        if self._zip is None or self._process != os.getpid():  # processes must not share a file's position
            self._zip, self._process = zipfile.ZipFile(self.path), os.getpid()
        return self._zip

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "members": self.members, "_zip": None, "_process": 0}


@dataclass(frozen=True)
class BytesPictures:
    """Opens pictures whose files are in memory."""

    files: list[bytes]

    def __call__(self, position: int) -> Image.Image:
        """The picture at a position of `files`, its pixels not yet decoded."""
        return open_picture(self.files[position])

    def version(self, position: int) -> object:
        """A sum of the file's bytes."""
        return zlib.crc32(self.files[position])


def _wanted(member: tarfile.TarInfo) -> bool:
    """Plain files only: links and sparse files have their content elsewhere."""
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and is_picture(_clean(member.name))


def _clean(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./").lstrip("/")


def _open_tar(path: Path) -> tuple[TarPictures, list[int], list[str]]:
    with tarfile.open(path, "r:") as archive:
        # A name that stands twice means its last content, as it would if the archive were extracted.
        found = {_clean(m.name): (m.offset_data, min(m.size, _LARGEST_PICTURE)) for m in archive if _wanted(m)}
    return TarPictures(str(path), list(found.values())), [size for _, size in found.values()], list(found)


def _open_compressed_tar(path: Path) -> tuple[BytesPictures, list[int], list[str]]:
    found: dict[str, bytes] = {}
    total = 0
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if not _wanted(member):
                continue
            total += member.size
            if total > _LARGEST_COMPRESSED_TAR:
                raise ValueError(
                    f"{path.name} holds more than {_LARGEST_COMPRESSED_TAR >> 30} GiB of pictures and cannot "
                    "be read in place; decompress it to a plain .tar, or pack the folder as a .zip"
                )
            content = archive.extractfile(member)
            assert content is not None, "a plain file has content"
            found[_clean(member.name)] = content.read()
    return BytesPictures(list(found.values())), [len(content) for content in found.values()], list(found)


def _open_zip(path: Path) -> tuple[ZipPictures, list[int], list[str]]:
    with zipfile.ZipFile(path) as archive:
        found = {_clean(i.filename): i for i in archive.infolist() if not i.is_dir() and is_picture(_clean(i.filename))}
    members = [info.filename for info in found.values()]
    return ZipPictures(str(path), members), [info.file_size for info in found.values()], list(found)
