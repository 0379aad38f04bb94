"""Whether an export gives what its network gives, from the bytes of picture files on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from resnets.data.decoding import decode, open_picture
from resnets.data.order import uniform
from resnets.data.transforms import normalise
from resnets.data.views import view
from resnets.inference.engines import open_engine
from resnets.inference.exported import generating_network, open_export
from resnets.inference.parts import Finished, dense_part
from resnets.inference.samples import pixels_of
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.tasks import task_class
from resnets.tasks.generation import on_paths
from resnets.types import Batch

Inputs = tuple[Tensor, ...]
CPU = torch.device("cpu")


def compare(
    network: nn.Module, written: Run, files: Iterable[bytes], program: nn.Module | None = None
) -> tuple[float, int]:
    """How far an export's outputs are from the network's, and on how many picture files; of several outputs the worst.

    The folder is opened as whoever uses it does. Of a detector, what is dense is compared: boxes that are nearly as
    sure change places by a rounding.

    Args:
        network: on the CPU, in evaluation mode.
        written: its export.
        files: contents of picture files.
        program: what stands in a `model.pt2`, which is compared in the place of what resnets reads.
    """
    card = written.card()
    told = task_class(card.task).tells
    reference: Any = open_engine("eager", dense_part(network), card.preprocessing, "float32", CPU) if told else network
    opened: Any = open_export(written.folder, card, CPU) if told else generating_network(written, CPU)
    engine: Any = program or (opened.compute if isinstance(opened, Finished) else opened)
    differences: list[Difference] = []
    for given, seen in (asked_of_pictures if told else asked_of_paths)(card, files):
        if program is not None and card.export["batch"]:
            given = tuple(each.expand(card.export["batch"], *each.shape[1:]) for each in given)
        with torch.inference_mode():
            found, expected = tree_leaves(engine(*given)), tree_leaves(reference(*seen))
        differences = differences or [Difference() for _ in expected]
        for difference, one, other in zip(differences, found, expected, strict=True):
            difference.add(one[0], other[0])
    return float(torch.tensor([difference.share() for difference in differences]).max()), differences[0].count


def asked_of_pictures(card: Card, files: Iterable[bytes]) -> Iterator[tuple[Inputs, Inputs]]:
    """What an export and its network are each given of every picture: pixels (1, H, W, C)."""
    for file in files:
        picture = decode(open_picture(file), card.preprocessing.channels)  # (C, H, W)
        given = pixels_of(picture, card.preprocessing, whole=card.export["preprocess"])
        yield (given,), (pixels_of(picture, card.preprocessing, whole=False),)


def asked_of_paths(card: Card, files: Iterable[bytes]) -> Iterator[tuple[Inputs, Inputs]]:
    """A point on the path from noise to every picture, its time and its class, of the classes in turn."""
    for number, file in enumerate(files):
        picture = view(decode(open_picture(file), card.preprocessing.channels), card.preprocessing)
        images, index = normalise(picture[None], card.preprocessing), torch.tensor([number])
        times, labels = uniform(0, 0, index, "times")[:, 0], index % (len(card.classes) + 1)
        inputs = on_paths(Batch(images, labels, index), times).contiguous(), times, labels
        yield inputs, inputs


class Difference:
    """How far an output is from what it should be over several pictures, of which only sums are kept."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | float = 0.0
        self.squares = self.errors = 0.0

    def add(self, found: Tensor, expected: Tensor) -> None:
        """Count a picture."""
        self.count += 1
        self.total = self.total + expected.double()
        self.squares += expected.double().square().sum().item()
        self.errors += (found.double() - expected.double()).square().sum().item()

    def share(self) -> float:
        """The norm of the errors over that of what differs between pictures; of a single one, over that of all."""
        same = torch.as_tensor(self.total).square().sum().item() / self.count if self.count > 1 else 0.0
        return math.sqrt(self.errors / max(self.squares - same, 1e-12))
