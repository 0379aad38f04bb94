"""A run: the folder that holds all there is about one trained network.

| file | what it holds |
|---|---|
| `model.safetensors` | the weights to use |
| `model.json` | the card |
| `metrics.csv` | a row an epoch |
| `checkpoint.pt` | what resuming needs: weights, optimiser, averages, position |
| `checkpoint-before.pt` | the one before, until the training ends |
| `report.html` | the report |
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from resnets.networks.catalogue import build, declaration_from_dict
from resnets.runs.card import Card
from resnets.weights.files import read_tensors, write_tensors
from resnets.weights.loading import load_tensors
from resnets.weights.sources import shipped


@dataclass(frozen=True)
class Run:
    """One run's folder, whether or not it exists yet."""

    folder: Path

    @property
    def weights_path(self) -> Path:
        """The weights to use."""
        return self.folder / "model.safetensors"

    @property
    def card_path(self) -> Path:
        """The card."""
        return self.folder / "model.json"

    @property
    def checkpoint_path(self) -> Path:
        """What resuming needs."""
        return self.folder / "checkpoint.pt"

    @property
    def checkpoint_before_path(self) -> Path:
        """What resuming needs where the last checkpoint is damaged."""
        return self.folder / "checkpoint-before.pt"

    def checkpoints(self) -> list[Path]:
        """The checkpoints that are there, the newest first."""
        return [path for path in (self.checkpoint_path, self.checkpoint_before_path) if path.is_file()]

    @property
    def metrics_path(self) -> Path:
        """The history, a row an epoch."""
        return self.folder / "metrics.csv"

    @property
    def report_path(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    def card(self) -> Card:
        """The run's card.

        Raises:
            FileNotFoundError: if the folder is no run.
        """
        if not self.card_path.is_file():
            raise FileNotFoundError(f"{self.folder} is not a run: it has no model.json; `resnets train` makes one")
        return Card.read(self.card_path)

    def finished_card(self) -> Card:
        """The card of a run that can be used.

        Raises:
            FileNotFoundError: if the folder is no run, or its training has not ended.
        """
        card = self.card()
        if not card.export and not self.weights_path.is_file():
            raise FileNotFoundError(
                f"{self.folder} has no weights yet: its training has not ended; go on with "
                f"`resnets train --resume {self.folder}`"
            )
        return card

    def network(self) -> nn.Module:
        """The trained network, in evaluation mode, on the CPU.

        Raises:
            FileNotFoundError: if the folder is no run, its training has not ended, or it is an export without weights.
            ValueError: if the weights do not fit the card's architecture.
        """
        card = self.finished_card()
        if not self.weights_path.is_file():
            raise FileNotFoundError(
                f"{self.folder} is an export to {card.export['format']}, without the weights that this needs; "
                f"name the run it was made from, {card.export['source']}"
            )
        network = build(declaration_from_dict(card.architecture))
        load_tensors(network, read_tensors(self.weights_path), str(self.weights_path))
        return network.eval()

    def write_card(self, card: Card) -> None:
        """Write the card."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.card_path, card.to_json())

    def write_network(self, network: nn.Module) -> None:
        """Write the weights."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.weights_path.with_suffix(".tmp")
        write_tensors(network.state_dict(), temporary)
        temporary.replace(self.weights_path)

    def history(self) -> list[dict[str, float]]:
        """The rows of `metrics.csv`, oldest first, without the empty cells; none if there is no such file."""
        if not self.metrics_path.is_file():
            return []
        with self.metrics_path.open(newline="", encoding="utf-8") as file:
            return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]

    def write_history(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Write `metrics.csv`; a column appears with the first row that has it."""
        rows = list(rows)
        names = list(dict.fromkeys(name for row in rows for name in row))
        temporary = self.metrics_path.with_suffix(".tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        temporary.replace(self.metrics_path)


def find_run(run: str | Path) -> Run:
    """The run in a folder, or that of a name in `weights.sources.shipped()` where there is no such folder."""
    path = Path(run)
    return Run(path if path.exists() else shipped().get(str(run), path))


def unfinished_path(path: Path) -> Path:
    """Where `write_whole` writes a file before it takes its place."""
    return path.with_name(path.name + ".tmp")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever reads it finds the old text or the new, never a part.

    What a file name has of another encoding is escaped, as JSON allows.
    """
    temporary = unfinished_path(path)
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    temporary.replace(path)
