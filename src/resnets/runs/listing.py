"""Runs beside each other: a line about each, and in what they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.tasks import task_class

State = Literal["finished", "interrupted", "export"]

LEFT_OUT = (
    "provenance.command",
    "provenance.started",
    "provenance.seconds",
    "provenance.incidents",
    "data.task",
)
"""What no two runs have in common, and what is told elsewhere."""

COMPARED = ("task", "architecture", "preprocessing", "recipe", "data", "provenance", "settings")
"""Parts of the card whose fields are compared."""


@dataclass(frozen=True)
class Summary:
    """A run in a line.

    Attributes:
        run: its folder.
        card: its card.
        state: "finished", "interrupted" (a training that has not ended, or is under way), or "export".
        metric: the name of the figure by which its task judges; "" where nothing has been judged.
        value: that figure, of an interrupted run in its last evaluated epoch.
        epochs: that it has been trained.
        planned: epochs that its recipe asks for; None where that counts steps.
        size: bytes of all its files.
    """

    run: Run
    card: Card
    state: State
    metric: str
    value: float | None
    epochs: int
    planned: int | None
    size: int

    @property
    def score(self) -> str:
        """The figure as its task writes it."""
        formats = task_class(self.card.task).formats
        if self.value is None:
            return ""
        label, form = formats.get(self.metric, (self.metric, "{:.4g}"))
        return f"{label} {form.format(self.value)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "run": str(self.run.folder),
            "model": self.card.model,
            "task": self.card.task,
            "data": self.card.data.get("name"),
            "state": self.state,
            "metric": self.metric,
            "value": self.value,
            "epochs": self.epochs,
            "planned_epochs": self.planned,
            "started": self.card.provenance.get("started"),
            "bytes": self.size,
        }


def summarise(run: Run) -> Summary:
    """A run in a line.

    Raises:
        FileNotFoundError: if the folder is no run.
        ValueError: if its card cannot be read.
    """
    card, history = run.card(), run.history()
    state: State = "export" if card.export else "finished" if "seconds" in card.provenance else "interrupted"
    metric = task_class(card.task).aim[0]
    value = card.metrics.get(metric)
    if value is None:
        judged = (row.get(f"{split}_{metric}") for row in reversed(history) for split in ("val", "test"))
        value = next((figure for figure in judged if figure is not None), None)
    return Summary(
        run=run,
        card=card,
        state=state,
        metric="" if value is None else metric,
        value=value,
        epochs=len(history),
        planned=None if card.recipe.get("steps") else card.recipe.get("epochs"),
        size=sum(file.stat().st_size for file in run.folder.rglob("*") if file.is_file()),
    )


def find_runs(folder: Path) -> Iterator[Run]:
    """The runs in a folder, at any depth, in the order of their names; the folder itself may be one.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder} of runs; `resnets train` makes one")
    for path in sorted(folder.rglob(Run(folder).card_path.name)):
        yield Run(path.parent)


def differences(cards: Sequence[Card]) -> dict[str, list[Any]]:
    """The fields in which cards differ, by their names, such as "recipe.lr", with each card's value or None.

    What an older version did not write is taken for nothing, as are False, 0 and "".
    """
    flat = [dict(_fields({part: getattr(card, part) for part in COMPARED})) for card in cards]
    names = [name for name in dict.fromkeys(name for fields in flat for name in fields) if name not in LEFT_OUT]
    values = {name: [fields.get(name) for fields in flat] for name in names}
    return {name: row for name, row in values.items() if any((value or None) != (row[0] or None) for value in row)}


def _fields(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name in ("reasons", "left_out", "weights_account"):
            continue
        if hasattr(value, "__dataclass_fields__"):
            value = vars(value)
        if isinstance(value, Mapping):
            yield from _fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value
