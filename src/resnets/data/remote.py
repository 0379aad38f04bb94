"""Files that lie elsewhere, behind HTTP or in an object store, kept on this machine's disk while they are needed."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import fsspec
from filelock import FileLock

T = TypeVar("T")

PAUSES = (1.0, 3.0, 9.0)
"""Seconds between one attempt to fetch a file and the next."""

SHARE_OF_DISK = 0.5
"""Of the space that is free or holds fetched files, how much they may take."""


def is_remote(source: str) -> bool:
    """Whether it is an address, `https://...`, `s3://...`, and no path."""
    return "://" in source


def read_remote(address: str) -> bytes:
    """All bytes of a small file.

    Raises:
        OSError: if it cannot be fetched.
        ImportError: if fsspec needs a package for this kind of address.
    """

    def read() -> bytes:
        with fsspec.open(address, "rb") as file:
            return bytes(file.read())

    return _attempted(read, address)


def kept_copy(address: str, size: int, sha256: str) -> Path:
    """The path of a copy of a file on this machine, fetched unless it is there; all processes share it.

    It stands in a folder named by its SHA-256, as what is published anew at an address often has the same size. The
    copies that were used longest ago make room for new ones.

    Raises:
        OSError: if it cannot be fetched, or is not what `size` and `sha256` say.
    """
    folder = _cache() / sha256
    path = folder / address.rpartition("/")[2]
    if not _is_kept(path, size):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not _is_kept(path, size):  # another process may have been first
                _make_room(size)
                _fetch(address, path, size, sha256)
    return path


def _cache() -> Path:
    return Path(os.environ.get("RESNETS_CACHE", "~/.cache/resnets")).expanduser() / "shards"


def _is_kept(path: Path, size: int) -> bool:
    try:
        os.utime(path)
        return path.stat().st_size == size
    except OSError:
        return False


def _fetch(address: str, path: Path, size: int, sha256: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        filesystem, remote = _attempted(lambda: fsspec.core.url_to_fs(address), address)
        _attempted(lambda: filesystem.get_file(remote, str(temporary)), address)
        with temporary.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise OSError(
                f"{address} is not what its index says: {temporary.stat().st_size:,} bytes of SHA-256 {found[:12]}, "
                f"not {size:,} of {sha256[:12]}"
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _make_room(size: int) -> None:
    kept = sorted((file for file in _cache().glob("*/*.tar")), key=_last_used)
    held = sum(map(_size, kept))
    limit = SHARE_OF_DISK * (shutil.disk_usage(_cache()).free + held)
    for file in kept:
        if held + size <= limit:
            return
        held -= _size(file)
        file.unlink(missing_ok=True)  # whoever has it open reads on


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # another process has made room
        return 0


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _attempted(action: Callable[[], T], address: str) -> T:
    """What an action gives that may fail for a while."""
    for pause in (*PAUSES, None):
        try:
            return action()
        except (FileNotFoundError, PermissionError) as error:
            raise OSError(f"{address} cannot be fetched: it is not there, or not for you ({error})") from error
        except ImportError:
            raise
        except Exception as error:  # each kind of store raises its own
            if pause is None:
                raise OSError(f"{address} cannot be fetched: {error or type(error).__name__}") from error
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def fetched_ahead(fetch: Callable[[int], object], needed: Sequence[tuple[int, int]], ahead: int) -> Iterator[Progress]:
    """Fetch what steps need before they need it, in a thread.

    Args:
        fetch: brings one thing here, by its number.
        needed: the first step that needs a thing, and its number, in that order.
        ahead: how many things beyond those of the present step.
    """
    progress = Progress()

    def run() -> None:
        first_steps = [step for step, _ in needed]
        for position, (_, number) in enumerate(needed):
            begun = first_steps[max(position - ahead, 0)]
            if not progress.reached(begun if position >= ahead else 0):
                return
            try:
                fetch(number)
            except (OSError, ImportError):
                return  # whoever needs it meets the same, and says so

    thread = threading.Thread(target=run, name="fetching", daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        progress.stop()
        thread.join()


class Progress:
    """How far the steps have come that things are fetched for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._step = 0
        self._stopped = False

    def at(self, step: int) -> None:
        """A step has begun."""
        with self._changed:
            self._step = step
            self._changed.notify_all()

    def stop(self) -> None:
        """Nothing more is needed."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def reached(self, step: int) -> bool:
        """Wait for a step; False if it never comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._step >= step)
            return not self._stopped
