"""What computes a network: one module an engine, found by its name; nothing that calls one knows it by name.

A module here defines `ENGINE`, a class with what `Engine` says. An engine takes pixels (N, H, W, C) uint8 of the
input's size, or whole pictures where its graph resizes them, and gives what the network gives, float32 on the CPU. Of
a network that makes pictures, an exported graph takes what the network takes.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from resnets.inference.graph import Answer, Graph, Outputs
from resnets.inference.parts import Dense, Finished
from resnets.networks.detector import Detector
from resnets.types import Preprocessing

PRECISIONS = ("float32", "bfloat16", "int8")


@dataclass(frozen=True)
class Port:
    """An input or output of a graph: its name, "uint8" or "float32", and its shape, -1 for any number."""

    name: str
    kind: str
    shape: tuple[int, ...]


class Engine(Protocol):
    """A network ready to compute.

    Attributes:
        parallel: how many batches are worth handing over at the same time, each from a thread of its own.
    """

    parallel: int

    def __call__(self, *inputs: Tensor) -> Answer:
        """What the network gives for pixels (N, H, W, C)."""


class Kind(Protocol):
    """A class of engines.

    Attributes:
        precisions: in which it computes a network as it was trained; int8 needs an export.
        programs: the precisions in which it computes networks that are no graphs, too; of a detector, the others
            compute what is dense.
    """

    precisions: ClassVar[tuple[str, ...]]
    programs: ClassVar[tuple[str, ...]]

    @classmethod
    def of(cls, network: nn.Module, preprocessing: Preprocessing, precision: str, device: torch.device) -> Engine:
        """An engine for a network on the CPU in evaluation mode."""


class Exporter(Protocol):
    """An engine that reads and writes files of its own.

    Attributes:
        format: what the files are called on the command line.
        exports: the precisions in which it writes, each with the type of the graph that is handed to `write`.
    """

    format: ClassVar[str]
    exports: ClassVar[dict[str, torch.dtype]]

    @classmethod
    def read(cls, folder: Path, outputs: Outputs, precision: str) -> Engine:
        """The engine of an exported network."""

    @classmethod
    def write(cls, graph: Graph, folder: Path, precision: str, calibration: list[Tensor]) -> None:
        """Write a graph into a folder; `calibration` are pixels of training pictures, for int8."""


def list_engines() -> list[str]:
    """The names of all engines, whether or not their libraries are installed."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def engine_class(name: str) -> Any:
    """The class of an engine.

    Raises:
        ValueError: if there is no such module.
        ImportError: if its library is not installed, naming the extra.
    """
    if name not in list_engines():
        raise ValueError(f"there is no engine {name!r}; there is {', '.join(list_engines())}")
    return import_module(f"{__name__}.{name}").ENGINE


def open_engine(
    name: str, network: nn.Module, preprocessing: Preprocessing, precision: str, device: torch.device
) -> Engine:
    """An engine for a trained network.

    Raises:
        ValueError: if there is no such engine, or it does not compute in that precision or on that device.
        ImportError: if its library is not installed, naming the extra.
    """
    kind = engine_class(name)
    check_uncalibrated(precision)
    if precision not in kind.precisions:
        raise ValueError(f"the engine {name} computes in {' or '.join(kind.precisions)}, not {precision!r}")
    if isinstance(network, Detector) and precision not in kind.programs:
        dense: Engine = kind.of(Dense(network), preprocessing, precision, device)
        return Finished(dense, dense.parallel, network)
    engine: Engine = kind.of(network, preprocessing, precision, device)
    return engine


def check_uncalibrated(precision: str) -> None:
    """Raise ValueError for int8, which no engine makes of a network as it was trained."""
    if precision == "int8":
        raise ValueError("int8 has to be calibrated with training pictures: `resnets export RUN --precision int8`")


def by_batches(inputs: Sequence[Tensor], count: int, compute: Callable[..., list[Tensor]]) -> list[Tensor]:
    """What a graph that takes `count` pictures and no other number gives for any number, the last batch filled up."""
    parts = []
    for batch in zip(*(tensor.split(count) for tensor in inputs), strict=True):
        own = len(batch[0])
        filled = [torch.cat([each, each[-1:].expand(count - own, *each.shape[1:])]) for each in batch]
        parts.append([tensor[:own] for tensor in compute(*(batch if own == count else filled))])
    return [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
