"""Several trained networks as a single one, which answers by the mean of their answers; see `inference.ensemble`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.tasks import create_task, task_class


class Joined(nn.Module):
    """Networks of one task, each with its own settings, such as the temperature of its probabilities.

    Args:
        networks: each from images (N, C, H, W) to outputs (N, K).
        tasks: theirs; the outputs are such as the first one reads.
    """

    def __init__(self, networks: Sequence[nn.Module], tasks: Sequence[Any]) -> None:
        super().__init__()
        self.networks, self.tasks = nn.ModuleList(networks), tuple(tasks)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs (N, K) whose answers are the mean of all networks' answers."""
        each = zip(self.networks, self.tasks, strict=True)
        answers = torch.stack([task.answers(network(images)) for network, task in each])
        outputs: Tensor = self.tasks[0].outputs_for(answers.mean(0))
        return outputs


def joined_network(runs: Sequence[Run]) -> nn.Module:
    """The network of a run, or of several the network of their mean, on the CPU in evaluation mode."""
    if len(runs) == 1:
        return runs[0].network()
    cards = [run.finished_card() for run in runs]
    tasks = [create_task(card.task, card.classes, card.settings) for card in cards]
    return Joined([run.network() for run in runs], tasks).eval()


def joined_card(runs: Sequence[Run]) -> Card:
    """The card of a run, or of several that of their mean, which has neither metrics nor a calibration of its own yet.

    Raises:
        ValueError: for runs that have no mean, or differ in task, classes or preprocessing.
        FileNotFoundError: if one is no finished run.
    """
    first, *others = cards = [run.finished_card() for run in runs]
    if not others:
        return first
    check_mean(first)
    for run, other in zip(runs[1:], others, strict=True):
        for what in ("task", "classes", "preprocessing"):
            if getattr(other, what) != getattr(first, what):
                raise ValueError(
                    f"{run.folder} and {runs[0].folder} differ in {what}, so that they cannot be one graph; "
                    f"{shortly(getattr(other, what))} is not {shortly(getattr(first, what))}"
                )
    settings = {name: value for name, value in first.settings.items() if name != "conformal"}
    model = "+".join(card.model for card in cards)
    return replace(first, model=model, settings=settings, metrics={}, recipe={}, provenance={})


def check_mean(card: Card) -> None:
    """Raise ValueError for a network whose answers have no mean with those of others: places, embeddings, pictures."""
    kind = task_class(card.task)
    if kind.embeds or not kind.tells or card.preprocessing.fit == "contain":
        raise ValueError(f"answers of {card.task} have no mean over several networks; name one run")


def shortly(value: Any) -> str:
    """A value as text, cut off where it is long."""
    text = str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
