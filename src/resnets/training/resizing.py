"""Progressive resizing: small pictures first, which cost less, and the network's own size at the end."""

from __future__ import annotations

FULL_FROM = 0.75
"""The share of the epochs after which pictures have their full size."""

SMALL, MULTIPLES = 64, (4, 16)
"""Sides up to `SMALL` pixels grow by multiples of the one, larger ones by multiples of the other."""


def input_size(first: int, size: tuple[int, int], epoch: int, epochs: int) -> tuple[int, int]:
    """Height and width of the pictures that an epoch trains on.

    The shorter side grows evenly from `first` pixels to that of `size`, as in progressive learning (arXiv:2104.00298,
    section 4), and has it in the last quarter of the epochs, or in the last alone where there are few. It is rounded
    down to a multiple of 4 or 16; the other side keeps the proportion.

    Args:
        first: the shorter side in the first epoch; 0 for the full size in all.
        size: of the network's input.
        epoch: from 0.
        epochs: how many there are.
    """
    full = min(size)
    done = epoch / max(min(FULL_FROM * epochs, epochs - 1), 1)
    if not first or done >= 1:
        return size
    multiple = MULTIPLES[full > SMALL]
    side = max(first, int(first + done * (full - first)) // multiple * multiple)
    return round(size[0] * side / full), round(size[1] * side / full)
