"""Where a training stands: everything that resuming needs besides the weights and the optimiser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class State:
    """Where a training stands.

    Attributes:
        step: optimiser steps taken.
        history: a row an epoch, as `metrics.csv` holds them.
        totals: (3,) float64: of the present epoch, pictures seen, the sum of their losses, and that of their scores.
        seconds: spent on the steps of the present epoch.
        trained_seconds: spent on all steps before the present epoch.
        best: of the best validation so far, the task's aim (the more the better) and the loss, negated.
        epochs_since_best: evaluations since then, in epochs.
        accumulate: parts in which a batch has to be computed to fit into memory, as far as that is known.
        skipped: steps in a row, up to now, whose loss or gradient was not finite.
        rollbacks: how often the training went back to a checkpoint, at half the rate each time.
        incidents: what went wrong and was survived, each with its epoch and step.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    totals: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    seconds: float = 0.0
    trained_seconds: float = 0.0
    best: tuple[float, float] = (-math.inf, -math.inf)
    epochs_since_best: int = 0
    accumulate: int = 1
    skipped: int = 0
    rollbacks: int = 0
    incidents: list[dict[str, Any]] = field(default_factory=list)

    def count(self, loss: Tensor, score: Tensor, pictures: int) -> None:
        """Add a step's pictures, their mean loss and their scores' sum; nothing waits for the device."""
        sums = torch.stack((torch.full_like(loss, pictures), loss.detach() * pictures, score.detach()))
        self.totals = self.totals.to(sums.device) + sums.double()
        self.step += 1
        self.skipped = 0

    def skip(self) -> None:
        """Pass over a step, of which nothing is counted."""
        self.step += 1
        self.skipped += 1

    def end_epoch(self, row: dict[str, float]) -> None:
        """Keep the epoch's row and begin the next one's sums."""
        self.history.append(row)
        self.trained_seconds += self.seconds
        self.seconds = 0.0
        self.totals = torch.zeros_like(self.totals)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, as a checkpoint keeps them."""
        return dict(vars(self))

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Stand where `state_dict` was taken; what an older version did not know stays as it is."""
        for name in vars(self).keys() & values.keys():
            setattr(self, name, values[name])
