"""Opening an exported run: the engine that its files are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resnets.inference.engines import PRECISIONS, Engine, engine_class, open_engine
from resnets.inference.graph import Outputs
from resnets.inference.parts import Finished, read_following
from resnets.networks.catalogue import declaration_from_dict
from resnets.networks.detector import DetectorArchitecture
from resnets.runs.card import Card
from resnets.runs.run import Run

FORMATS = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "eager"}
"""The engine that writes each format."""


def engine_of(format: str) -> Any:
    """The class of the engine that writes a format.

    Raises:
        ValueError: if there is none.
        ImportError: if its library is not installed, naming the extra.
    """
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r}; there is {', '.join(FORMATS)}")
    return engine_class(FORMATS[format])


def takes_whole_pictures(card: Card) -> bool:
    """Whether the engine that `open_export` gives resizes and crops."""
    return bool(card.export.get("preprocess")) and card.export["format"] != "torch"


def chosen_device(asked: str | torch.device | None, card: Card | None) -> torch.device:
    """The device that is asked for, or the usual one.

    Raises:
        ValueError: if PyTorch does not compute on it here.
    """
    if asked is None:
        return usual_device(card)
    try:
        device = torch.device(asked)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):  # the latter where PyTorch was built without CUDA
        here = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise ValueError(f"nothing can be computed on {asked} here; there is {', '.join(here)}") from None
    return device


def usual_device(card: Card | None) -> torch.device:
    """A GPU if there is one; the CPU for the graphs of exports, whose engines compute there."""
    is_graph = card is not None and bool(card.export) and card.export["format"] != "torch"
    return torch.device("cuda" if torch.cuda.is_available() and not is_graph else "cpu")


def open_export(
    folder: Path, card: Card, device: torch.device, engine: str | None = None, precision: str | None = None
) -> Engine:
    """The engine of an exported run.

    Raises:
        ValueError: if another engine or precision is asked for than it was exported to.
        ImportError: if the engine's library is not installed, naming the extra.
    """
    facts = card.export
    name = FORMATS.get(facts["format"])
    if name is not None and (engine not in (None, "auto", name) or precision not in (None, "auto", facts["precision"])):
        raise ValueError(
            f"{folder} is an export for {name} in {facts['precision']}, not for {engine or name} in "
            f"{precision or facts['precision']}; give the run it was made from, {facts['source']}"
        )
    if facts["format"] == "torch":
        return open_engine("eager", Run(folder).network(), card.preprocessing, known_precision(folder, card), device)
    opened = open_graph(folder, card, device)
    architecture = declaration_from_dict(card.architecture)
    if isinstance(architecture, DetectorArchitecture):
        return Finished(opened, opened.parallel, read_following(architecture, folder))
    return opened


def open_graph(folder: Path, card: Card, device: torch.device) -> Engine:
    """The engine of an exported graph, which of a detector is what is dense.

    Raises:
        ValueError: if the engine does not compute on the device.
        ImportError: if the engine's library is not installed, naming the extra.
    """
    facts, kind = card.export, engine_of(card.export["format"])
    if device.type != "cpu":
        raise ValueError(f"the engine {FORMATS[facts['format']]} computes on the cpu here, not on {device}")
    outputs = Outputs(facts["outputs"]["count"], tuple(facts["outputs"]["names"]))
    opened: Engine = kind.read(folder, outputs, known_precision(folder, card))
    return opened


def known_precision(folder: Path, card: Card) -> str:
    """The precision of an export.

    Raises:
        ValueError: if it is none.
    """
    precision = str(card.export["precision"])
    if precision not in PRECISIONS:
        raise ValueError(f"{folder} is an export in {precision!r}; there is {', '.join(PRECISIONS)}")
    return precision


class Field(nn.Module):
    """The velocity of a network that makes pictures, computed by the engine of its export."""

    def __init__(self, engine: Engine, architecture: Any) -> None:
        super().__init__()
        self.engine, self.architecture = engine, architecture

    def forward(self, x: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        """(N, C, H, W) at x, of the same shape, times (N,) and labels (N,); on the CPU."""
        velocity: Tensor = self.engine(x, times, labels)
        return velocity


def generating_network(run: Run, device: torch.device) -> Any:
    """The network of a run that makes pictures, as a module on a device, or its export's `Field`.

    Raises:
        ValueError: if an export's engine does not compute on the device.
    """
    card = run.finished_card()
    if not card.export or card.export["format"] == "torch":
        return run.network().to(memory_format=torch.channels_last).to(device)
    return Field(open_graph(run.folder, card, device), declaration_from_dict(card.architecture))
