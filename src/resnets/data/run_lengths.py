"""COCO's run-length codes of an object's pixels: how many are outside and inside by turns, down column after column.

The numbers stand in a list, or in a string of 5 bits a letter, as pycocotools writes them (maskApi.c of cocodataset).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor


def outline_of_runs(code: Mapping[str, Any], size: tuple[int, int]) -> Tensor | None:
    """One polygon (P, 2) around all pixels of a code, by the even-odd rule; None where there are none.

    Args:
        code: with "counts", and "size", height and width.
        size: the picture's height and width.

    Raises:
        ValueError: if it is no such code, or of another size than the picture.
    """
    counts = code.get("counts")
    runs = _numbers(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise ValueError("its counts are no numbers of pixels")
    if code.get("size") != list(size):
        raise ValueError(f"its size is {code.get('size')}, but the picture is of {list(size)} pixels")
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"its runs are of {sum(runs)} pixels, but the picture has {size[0]} x {size[1]}")
    pairs = list(pairwise(accumulate(runs)))[::2]
    rectangles = [each for start, stop in pairs for each in _rectangles(start, stop, size[0])]
    if not rectangles:
        return None
    edge = min(top for _, top, _, _ in rectangles)
    points = [
        point
        for left, top, right, bottom in rectangles
        # To each one from the upper edge of all, and back by the same way, so that what is on the way does not count.
        for point in ((left, edge), (left, bottom), (right, bottom), (right, top), (left, top), (left, edge))
    ]
    return torch.tensor(points, dtype=torch.float32)


def _rectangles(start: int, stop: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Left, top, right and bottom of what a run covers: the end of a column, whole ones, the beginning of one."""
    while start < stop:
        column, top = divmod(start, height)
        columns = max((stop - start) // height, 1) if top == 0 else 1
        bottom = min(top + stop - start, height)
        yield column, top, column + columns, bottom
        start += (bottom - top) * columns


def _numbers(text: str) -> list[int]:
    """The counts in a string: 5 bits a letter, the lowest first; from the third on, less the last but one."""
    found: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << 1 << (shift - 5)  # its sign
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value = shift = 0
    return found
