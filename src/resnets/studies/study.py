"""What all studies do alike: train networks one by one, go on where they stopped, and write down what was found."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from torch import Tensor

from resnets.data.audit import readable
from resnets.data.loading import Loader
from resnets.data.opening import Data, open_dataset
from resnets.data.order import permutation
from resnets.data.statistics import preprocessing_for
from resnets.data.transforms import prepare
from resnets.networks.catalogue import architecture
from resnets.report.page import Number, Section, render, write_page
from resnets.runs.run import Run, write_whole
from resnets.training.job import Job
from resnets.training.plan import reshaped, split_changes
from resnets.training.train import resume, train
from resnets.types import Preprocessing

TRAININGS = "trainings"

PAPER: dict[str, Any] = {
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 1e-4,
    "decay_all": True,
    "schedule": "step",
    "milestones": (0.5, 0.75),
    "warmup": 0.05,
    "label_smoothing": 0.0,
    "evaluate_every": 1,
}
"""The paper's recipe (arXiv:1512.03385, section 4.2) at any length, augmentation as the pictures ask for; a short
warm-up for all depths takes the place of the paper's for 110 layers."""

BATCH, BATCH_OF_FEW, FEW = 128, 32, 10_000
"""Pictures a step: the paper's, and where there are few in all, so that they give enough steps."""


@dataclass(frozen=True)
class Sample:
    """Some pictures as a network takes them, (N, C, H, W), their classes (N,), and how many classes there are."""

    images: Tensor
    targets: Tensor
    classes: int


@dataclass(frozen=True)
class Study:
    """What is asked of a study.

    Attributes:
        data: as `train` takes it.
        depths: layers of the networks.
        epochs: of each training.
        seeds: trainings of each kind, which differ in all random choices.
        folder: of all studies of this data: their pages, and in `trainings` a run for each network, which every study
            that needs it finds there.
        console: where progress is told.
        size: side of the networks' input in pixels; None for what suits the pictures.
    """

    data: str
    depths: tuple[int, ...]
    epochs: int
    seeds: int
    folder: Path
    console: Console
    size: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a depth of which there is no plain and residual network for small pictures."""
        for name in (f"{kind}{depth}" for depth in self.depths for kind in ("plain", "resnet")):
            if getattr(architecture(name), "stem", "") != "cifar":
                raise ValueError(
                    f"{name} is a network for ImageNet, and studies compare those for CIFAR, of 6n + 2 layers, such "
                    "as 20, 32, 44, 56 and 110"
                )

    @cached_property
    def opened(self) -> Data:
        """The data set.

        Raises:
            ValueError: if its pictures have no single classes.
        """
        data = readable(open_dataset(self.data))
        if data.task != "classification":
            raise ValueError(f"studies compare classifiers, and {self.data} is for {data.task}")
        return data

    @cached_property
    def judged(self) -> str:
        """The pictures by which finished networks are judged: "test", or "validation" where the data has no such."""
        return "test" if "test" in self.opened.splits else "validation"

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What its pictures go through."""
        return preprocessing_for(self.opened, self.size)

    def trained(
        self, model: str, seed: int = 0, label: str = "", watch: Callable[[Job], None] | None = None, **changes: Any
    ) -> Run:
        """A network trained by `PAPER`, begun, gone on with, or finished before.

        Args:
            model: its name in the catalogue.
            seed: of the training.
            label: what it is called where it is told of; the same network trained in the same way is one training,
                whatever it is called.
            watch: sees the training after each epoch; a network that nobody watched is another one.
            changes: of the recipe or the network.

        Raises:
            FloatingPointError: if the training diverges, or did before.
        """
        label, quiet = label or model, Console(quiet=True)
        options = self._options(seed, changes)
        run = self._run(model, options, watch)
        diverged = run.folder / "diverged.txt"
        if diverged.is_file():
            raise FloatingPointError(diverged.read_text(encoding="utf-8"))
        try:
            if not run.card_path.is_file():
                self.console.print(f"training {label}, seed {seed}", highlight=False)
                train(self.data, run=run.folder, model=model, console=quiet, watch=watch, **options)
            elif not run.card().metrics:
                self.console.print(f"going on with {label}, seed {seed}", highlight=False)
                resume(run.folder, console=quiet, watch=watch)
        except FloatingPointError as error:
            write_whole(diverged, str(error))
            raise
        self.console.print(
            f"  {label}: training error {training_error(run):.2%}, {self.judged} error {judged_error(run):.2%}",
            highlight=False,
            markup=False,
        )
        return run

    def finished(self, model: str) -> Run | None:
        """The network of `trained` without anything else, where another study has trained it to its end."""
        run = self._run(model, self._options(0, {}), None)
        return run if run.card_path.is_file() and run.card().metrics else None

    def _options(self, seed: int, changes: Mapping[str, Any]) -> dict[str, Any]:
        """What a training is asked for."""
        few = len(self.opened.splits["train"]) < FEW
        return {
            **PAPER,
            "batch_size": BATCH_OF_FEW if few else BATCH,
            "epochs": self.epochs,
            "seed": seed,
            **({} if self.size is None else {"size": self.size}),
            **changes,
        }

    def _run(self, model: str, options: Mapping[str, Any], watch: Callable[[Job], None] | None) -> Run:
        """Where a training is or will be, by all that decides it."""
        shape, recipe = split_changes(options)
        network = reshaped(architecture(model), model, shape).to_dict()
        watched = watch and watch.__qualname__
        known = json.dumps([self.opened.fingerprint, network, recipe, watched], sort_keys=True)
        return Run(self.folder / TRAININGS / f"{model}-{hashlib.sha256(known.encode()).hexdigest()[:8]}")

    def trained_often(self, model: str, label: str = "", **changes: Any) -> list[Run]:
        """One run for each seed."""
        return [self.trained(model, seed, label, **changes) for seed in range(self.seeds)]

    def sample(self, split: str, count: int) -> Sample:
        """The same pictures of a split each time, as evaluation sees them; all of them where there are fewer.

        Args:
            split: "train", or "test", which is "val" where the data has no test pictures.
            count: of pictures.

        Raises:
            ValueError: if there is no such split.
        """
        splits = self.opened.splits
        pictures = splits.get(split) or (splits.get("val") if split == "test" else None)
        if pictures is None:
            raise ValueError(f"{self.data} has no {split} pictures")
        chosen = pictures.subset(permutation(0, 0, len(pictures))[:count])
        batch = next(iter(Loader(chosen, self.preprocessing, len(chosen), shuffle=False).epoch(0)))
        images = prepare(batch, self.preprocessing).images
        return Sample(images, chosen.targets, len(self.opened.classes))


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Attributes:
        title: of the page.
        sentences: what the numbers say, made from them.
        headline: the most telling numbers.
        sections: figures and tables.
        numbers: all of them, as JSON takes them.
    """

    title: str
    sentences: tuple[str, ...]
    headline: tuple[Number, ...]
    sections: tuple[Section, ...]
    numbers: Mapping[str, Any] = field(default_factory=dict)


def write_findings(study: Study, name: str, question: str, source: str, findings: Findings) -> Path:
    """Write the page and the numbers into the study's folder, under the study's name, and give the page's path."""
    said = Section("findings", "What was found", render("studies/sentences.html", sentences=findings.sentences))
    facts = {
        "Data": study.opened.name,
        "Trainings": f"{study.epochs} epochs each, {study.seeds} seed{'s' * (study.seeds > 1)}",
        "Claim": source,
        "Versions": ", ".join(f"{package} {version(package)}" for package in ("resnets", "torch")),
        "Command": shlex.join(["resnets", *sys.argv[1:]]),
    }
    path = study.folder / f"{name}.html"
    write_page(
        path,
        title=findings.title,
        subtitle=question,
        numbers=findings.headline,
        facts=facts,
        sections=(said, *findings.sections),
    )
    content = {"sentences": findings.sentences, "numbers": findings.numbers}
    write_whole(study.folder / f"{name}.json", json.dumps(content, indent=2) + "\n")
    return path


def training_error(run: Run) -> float:
    """The share of training pictures, as training saw them, that the last epoch got wrong."""
    return 1 - run.history()[-1]["train_accuracy"]


def judged_error(run: Run) -> float:
    """The share of the pictures that `Study.judged` tells of that the finished network gets wrong."""
    return 1 - run.card().metrics["accuracy"]


def watched_split(run: Run) -> str:
    """The pictures beside the training pictures on which a network was judged after each epoch: test or validation."""
    return "test" if any("test_accuracy" in row for row in run.history()) else "validation"


def error_curve(runs: Sequence[Run], split: str) -> tuple[list[float], list[float]]:
    """Epochs, and the errors in percent, the mean over runs of one kind.

    Args:
        runs: with as many epochs each.
        split: "training", or what `watched_split` says.
    """
    histories = [run.history() for run in runs]
    column = {"training": "train_accuracy", "test": "test_accuracy", "validation": "val_accuracy"}[split]
    kept = [[row for row in history if column in row] for history in histories]
    epochs = [row["epoch"] for row in kept[0]]
    return epochs, [100 * (1 - mean(rows[index][column] for rows in kept)) for index in range(len(epochs))]
