"""Option A shortcuts with zeros on both sides of the channels, as some have them, and with zeros behind, as we do.

The channels of a stage may stand in any order, if all layers that write and read them agree. So the tensors of a
network of the one kind become those of the other by an order of each stage's channels, with the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

KIND = ("A", "basic")
"""Shortcut and block of the networks that are concerned."""


def zeros_behind(tensors: Mapping[str, Tensor], widths: Sequence[int]) -> dict[str, Tensor]:
    """The tensors of a basic network with zeros on both sides, its channels ordered so that the zeros come last.

    Args:
        tensors: under our names; `conv1` and the first stage stay as they are.
        widths: channels of each stage, each at least those before.
    """
    found = dict(tensors)
    order = torch.arange(widths[0])
    for stage, width in enumerate(widths[1:], 2):
        before, side = order, (width - len(order)) // 2
        middle = before + side  # where each of the channels before stands, zeros on both sides
        outer = torch.cat([torch.arange(side), torch.arange(side + len(before), width)])
        order = torch.cat([middle, outer])
        for name in (name for name in tensors if name.startswith(f"layer{stage}.")):
            block, layer = name.split(".")[1:3]
            if layer == "conv1":
                found[name] = found[name][:, before if block == "0" else order]
            elif layer == "conv2" or (layer == "bn2" and found[name].ndim > 0):
                found[name] = found[name][order]
    if "fc.weight" in found:
        found["fc.weight"] = found["fc.weight"][:, order]
    return found
