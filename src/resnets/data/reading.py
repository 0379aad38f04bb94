"""Doing something with every picture of a data set, in parallel."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from PIL import Image

from resnets.data.dataset import Dataset, UnreadablePictureError

T = TypeVar("T")

_WORTH_A_THREAD = 128 * 128  # pixels; below it threads wait for Python's lock more than they decode (measured)
_CHUNK = 64


def for_each(dataset: Dataset, function: Callable[[int], T], workers: int | None = None) -> Iterator[T]:
    """`function(index)` of every sample, in order, on threads where pictures are large enough to gain by it.

    By default there are as many threads as processors that this process may use.
    """
    if workers is None:
        workers = available_processors() if _mean_pixels(dataset) >= _WORTH_A_THREAD else 1
    if workers <= 1:
        yield from map(function, range(len(dataset)))
        return
    with ThreadPoolExecutor(workers) as pool:
        # In portions, so that results wait in memory for their reader only by some chunks.
        portion = _CHUNK * workers
        for start in range(0, len(dataset), portion):
            yield from pool.map(function, range(start, min(start + portion, len(dataset))))


def available_processors() -> int:
    """Processors that this process may use, which containers and job schedulers limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical_memory() -> int:
    """Bytes of memory of this machine; where it does not say, more than any has."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, and others may not know the names
        return sys.maxsize


def _mean_pixels(dataset: Dataset, samples: int = 16) -> float:
    areas = []
    for index in range(0, len(dataset), max(len(dataset) // samples, 1)):
        try:
            image: Image.Image = dataset.open(index)
        except UnreadablePictureError:
            continue
        areas.append(image.width * image.height)
    return sum(areas) / max(len(areas), 1)
