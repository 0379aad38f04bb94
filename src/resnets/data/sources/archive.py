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

from resnets.data.decoding import open_picture, why_left_out
from resnets.data.listing import Listing, is_hidden, is_picture, read_layout
from resnets.data.sources.folder import written

ACCEPTS = "a .tar or .zip file of such a folder (also .tar.gz, .tgz, .tar.bz2, .tar.xz, read into memory)"

_TAR = (".tar",)
_COMPRESSED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_NO_CONTENT = "it is a link or another special file, which is not read in an archive"
_SAYS_UTF8 = 0x800  # flag of a zip's member
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
            pictures, sizes, left_out = _open_zip(path)
        elif lower.endswith(_COMPRESSED_TAR):
            pictures, sizes, left_out = _open_compressed_tar(path)
        else:
            pictures, sizes, left_out = _open_tar(path)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{source} is not a whole archive: {error}") from error
    names, splits, labels = read_layout(list(sizes), source)
    stem = next(path.name[: -len(s)] for s in (*_TAR, *_COMPRESSED_TAR, ".zip") if lower.endswith(s))
    left = tuple(left_out.items())
    return Listing(stem, names, labels, splits, list(sizes.values()), pictures, left_out=left)


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


def _clean(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./").lstrip("/")


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Whether its content is in its place; that of links and sparse files is not."""
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)


def _open_tar(path: Path) -> tuple[TarPictures, dict[str, int], dict[str, str]]:
    """What opens the pictures, their sizes by their names, and why others are left out.

    A name that stands twice means its last content, as it would if the archive were extracted; a hard link means what
    its name has meant so far.
    """
    found: dict[str, tuple[int, int]] = {}
    left_out: dict[str, str] = {}
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            name, target = _clean(member.name), _clean(member.linkname)
            if _is_plain(member):
                found[name] = (member.offset_data, min(member.size, _LARGEST_PICTURE))
            elif member.islnk() and target in found:
                found[name] = found[target]
            elif not member.isdir() and is_picture(name):
                left_out[name] = _NO_CONTENT
    with path.open("rb") as file:
        for name, (offset, _) in found.items():
            if not is_picture(name) and not is_hidden(name):
                file.seek(offset)
                _note(left_out, name, file.read(16))
    places = {name: place for name, place in found.items() if is_picture(name)}
    return TarPictures(str(path), list(places.values())), {name: size for name, (_, size) in places.items()}, left_out


def _open_compressed_tar(path: Path) -> tuple[BytesPictures, dict[str, int], dict[str, str]]:
    """As `_open_tar`, but that only what links to a picture is found."""
    found: dict[str, bytes] = {}
    left_out: dict[str, str] = {}
    total = 0
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            name, target = _clean(member.name), _clean(member.linkname)
            if member.islnk() and target in found:
                found[name] = found[target]
            elif not _is_plain(member):
                if not member.isdir() and is_picture(name):
                    left_out[name] = _NO_CONTENT
            elif not is_picture(name):
                if not is_hidden(name):
                    _note(left_out, name, _content(archive, member, 16))
            else:
                total += member.size
                if total > _LARGEST_COMPRESSED_TAR:
                    raise ValueError(
                        f"{path.name} holds more than {_LARGEST_COMPRESSED_TAR >> 30} GiB of pictures and cannot "
                        "be read in place; decompress it to a plain .tar, or pack the folder as a .zip"
                    )
                found[name] = _content(archive, member)
    pictures = {name: content for name, content in found.items() if is_picture(name)}
    return BytesPictures(list(pictures.values())), {name: len(found) for name, found in pictures.items()}, left_out


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, count: int = -1) -> bytes:
    content = archive.extractfile(member)
    assert content is not None, "a plain file has content"
    return content.read(count)


def _open_zip(path: Path) -> tuple[ZipPictures, dict[str, int], dict[str, str]]:
    """As `_open_tar`; there are no hard links."""
    found: dict[str, zipfile.ZipInfo] = {}
    left_out: dict[str, str] = {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = _clean(_name_in_zip(info))
            if is_picture(name) and not info.is_dir():
                found[name] = info
            elif not info.is_dir() and not is_hidden(name):
                _note(left_out, name, _beginning_in_zip(archive, info))
    members = [info.filename for info in found.values()]
    return ZipPictures(str(path), members), {name: info.file_size for name, info in found.items()}, left_out


def _name_in_zip(info: zipfile.ZipInfo) -> str:
    """A member's name; some programs, macOS's among them, write UTF-8 and do not say so."""
    if info.flag_bits & _SAYS_UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _beginning_in_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(info) as file:
            return file.read(16)
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile):  # encrypted, or packed in a way that is not read
        return b""


def _note(left_out: dict[str, str], name: str, beginning: bytes) -> None:
    if reason := why_left_out(name, beginning):
        left_out[name] = reason
