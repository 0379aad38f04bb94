"""How a training is shown while it runs: a bar in a terminal, a line an epoch in a log file."""

from __future__ import annotations

import math
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from resnets.runs.card import Card
from resnets.tasks import Task
from resnets.training.freezing import frozen_stages
from resnets.training.job import Job
from resnets.training.state import State

SECONDS_BETWEEN_UPDATES = 0.5
"""Reading the loss waits for the device, so the bar does it this seldom."""


IMBALANCED = 3
"""The largest class has so many times the pictures of the smallest where that is said before the training."""


class TrainingDisplay:
    """A bar with the loss, the score, pictures per second and the time left; above it a line an epoch."""

    def __init__(self, console: Console, task: Task, total_steps: int, steps_per_epoch: int, first_step: int) -> None:
        self.console = console
        self.score, (_, self.form) = task.score, task.formats[task.score]
        self.steps_per_epoch = steps_per_epoch
        self.epochs = -(-total_steps // steps_per_epoch)
        self.updated = 0.0
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[news]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.bar = self.progress.add_task("", total=total_steps, completed=first_step, epoch="", news="")

    def __enter__(self) -> TrainingDisplay:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def step(self, state: State) -> None:
        """Move the bar on."""
        now = time.perf_counter()
        if self.progress.disable or now - self.updated < SECONDS_BETWEEN_UPDATES:
            return
        self.updated = now
        pictures, loss, score = state.totals.tolist()
        speed = pictures / max(state.seconds, 1e-9)
        news = f"loss {loss / pictures:.3f}  {self.scored(score / pictures)}  " if pictures else ""
        self.progress.update(
            self.bar,
            completed=state.step,
            epoch=f"{-(-state.step // self.steps_per_epoch)}/{self.epochs}",
            news=f"{news}{speed:,.0f} pictures/s",
        )

    def scored(self, value: float) -> str:
        """The score with its name; nothing where it is not counted, or is the loss, which is told anyway."""
        return "" if math.isnan(value) or self.score == "loss" else f"{self.score} {self.form.format(value)}"

    def epoch(self, row: dict[str, float]) -> None:
        """Write the epoch's line."""
        parts = [
            f"epoch {row['epoch']:>3.0f}/{self.epochs}",
            f"lr {row['lr']:.4f}",
        ]
        for split in ("train", "val", "test"):
            loss, score = row.get(f"{split}_loss"), row.get(f"{split}_{self.score}", math.nan)
            told = ("" if loss is None else f"loss {loss:.3f}", self.scored(score))
            if any(told):
                parts.append(" ".join((split, *filter(None, told))))
        parts.append(f"{row['images_per_second']:,.0f}/s")
        self.console.print("  ".join(parts), highlight=False, soft_wrap=True)


def class_sizes(job: Job) -> tuple[int, int]:
    """How many training pictures the smallest and the largest class have; alike where there are none."""
    targets = job.train.dataset.targets
    if targets.is_floating_point():
        return 1, 1
    counts = targets.bincount(minlength=len(job.card.classes))
    if job.task.embeds:  # other classes are there to be judged on
        counts = counts[counts > 0]
    return int(counts.min()), int(counts.max())


def recipe_reasons(card: Card) -> list[tuple[str, str]]:
    """What `auto` chose, such as "epochs 30", and why."""
    recipe, reasons = card.recipe, card.recipe.get("reasons", {})
    return [(f"{name} {recipe[name]}" if name in recipe else name, reason) for name, reason in reasons.items()]


def print_plan(console: Console, job: Job) -> None:
    """What is about to run, in a few lines, and what became of the weights that it begins from."""
    card, recipe = job.card, job.recipe
    parameters = sum(parameter.numel() for parameter in job.bare_network.parameters())
    pictures = ", ".join(f"{count:,} {split}" for split, count in card.data["pictures"].items())
    console.print(f"[bold]{card.model}[/], {parameters:,} parameters, on {card.data['name']}: {pictures} pictures")
    console.print(
        f"{job.total_steps:,} steps of {recipe.batch_size}; {card.provenance['device']}, "
        f"{card.provenance['precision']}, channels last; run {job.run.folder}",
        highlight=False,
    )
    for name, reason in recipe_reasons(card):
        console.print(f"  {name}: {reason}", style="dim", highlight=False)
    smallest, largest = class_sizes(job)
    if largest >= IMBALANCED * smallest:
        advice = "" if recipe.balance else "; --balance sampling or loss would even them out"
        console.print(f"the classes have from {smallest:,} to {largest:,} training pictures{advice}", highlight=False)
    if frozen := frozen_stages(job.bare_network, recipe):
        later = f", one less every {recipe.unfreeze_every} epochs" if recipe.unfreeze_every else ""
        console.print(f"frozen, weights and batch norm: {', '.join(frozen)}{later}", highlight=False)
    if recipe.freeze_norm:
        console.print("frozen: all batch norm")
    if job.account is not None:
        table = Table(show_header=False, box=None)
        for label, text in job.account.rows():
            table.add_row(label, Text(text))
        console.print(table)
    if job.watched is not None and job.watched.dataset.split == "test":
        console.print("the test curve is only shown: no choice is made by it", style="dim")
    if job.state.step:
        console.print(f"going on at step {job.state.step:,}", highlight=False)
