"""A smaller network from a trained one: without the blocks that it can do without.

    while a block can go:
        take the block whose absence costs the least loss on held-out pictures
        train on for a while if too much accuracy is lost
        stop if that does not bring it back, or if enough work is saved

What a block adds to its input is small where a network is deep, and some add almost nothing (arXiv:1605.06431).
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console

from resnets.data.audit import readable
from resnets.data.dataset import Dataset
from resnets.data.loading import Loader
from resnets.data.opening import Data, open_dataset, reopen
from resnets.data.order import permutation
from resnets.inference.evaluation import EVALUATION_BATCH, evaluate_network
from resnets.inference.machine import in_bfloat16
from resnets.insight.lesions import removable, without
from resnets.insight.profile import totals
from resnets.networks.catalogue import build
from resnets.networks.resnet import ResidualNetwork
from resnets.runs.card import Card
from resnets.runs.folders import check_free
from resnets.runs.run import Run
from resnets.tasks import create_task
from resnets.training.plan import recipe_of
from resnets.training.train import resume, train

HELD_OUT = 0.1
"""The share of the training pictures by which blocks are chosen, where the data has no validation split."""

COMPARED = 2000
"""Held-out pictures on which the absence of each block is tried."""

ROUNDS = "rounds"
"""The folder of the trainings in that of the pruned network, until it is finished."""

ROUND = re.compile(r"\d+-[0-9a-f]{8}")
"""What each of them is called."""

FINE_TUNING: dict[str, Any] = {
    "steps": 0,
    "schedule": "cosine",
    "warmup": 0.0,
    "find_lr": False,
    "scale_lr": False,
    "patience": 0,
    "head_only": "",
    "head_first": False,
    "freeze": "",
    "unfreeze_every": 0,
}
"""What training on changes of the recipe by which the network was trained, beside epochs and rate."""


def left_out(network: ResidualNetwork, name: str) -> ResidualNetwork:
    """A network without one of its blocks; all others keep their weights.

    Args:
        network: is left as it is.
        name: of a block that keeps the shape, as `network.blocks()` has it.

    Raises:
        ValueError: if that is no such block, or the last of its stage.
    """
    if name not in removable(network):
        raise ValueError(f"{name} cannot be taken out; {', '.join(removable(network))} can")
    stage, _, index = name.rpartition(".")
    depths = list(network.architecture.depths)
    number = list(dict.fromkeys(block.rpartition(".")[0] for block in network.blocks())).index(stage)
    if depths[number] == 1:
        raise ValueError(f"{name} is the only block of its stage and has to stay")
    depths[number] -= 1
    smaller = build(replace(network.architecture, depths=tuple(depths)))
    tensors = {}
    for key, value in network.state_dict().items():
        if key.startswith(f"{stage}."):
            position, _, rest = key[len(stage) + 1 :].partition(".")
            if position == index:
                continue
            key = f"{stage}.{int(position) - (int(position) > int(index))}.{rest}"
        tensors[key] = value
    smaller.load_state_dict(tensors)
    return cast(ResidualNetwork, smaller.train(network.training))


@dataclass(frozen=True)
class Pruned:
    """What pruning came to.

    Attributes:
        run: the smaller network's.
        blocks: that went, by the names that they had in the whole network, in that order.
        before, after: accuracy on the held-out pictures.
        seen: whether the whole network was trained on these pictures, which flatters it beside the smaller one.
    """

    run: Run
    blocks: tuple[str, ...]
    before: float
    after: float
    seen: bool


@dataclass(frozen=True)
class _State:
    """A network on the way: the names that its blocks had at first, and the accuracy on held-out pictures."""

    network: ResidualNetwork
    names: tuple[str, ...]
    accuracy: float
    run: Run | None  # where it has been trained on


def prune(
    run: Run,
    source: str | Path,
    folder: Path,
    *,
    keep_accuracy: float = 0.5,
    enough: float = 1.0,
    epochs: int = 2,
    lr: float = 0.1,
    overwrite: bool = False,
    console: Console | None = None,
) -> Pruned:
    """Take blocks out of a run's network, one at a time, as long as its accuracy stays, and train it on.

    Blocks are chosen, and accuracy is kept, by the data's validation split, by the one that was made for the run, or by
    a tenth of the training pictures that training on then leaves out; never by test pictures. Called again after an
    interruption it goes on where it stopped.

    Args:
        run: of a classifier.
        source: the pictures, in any form that `train` takes, of the run's classes.
        folder: for the smaller network's run.
        keep_accuracy: points of accuracy that may be lost.
        enough: the share of the multiply-adds with which no further block has to go.
        epochs: of training on, each time that more is lost.
        lr: the rate of training on, as a share of that of the run's recipe.
        overwrite: replace the folder if it is a finished run or has been begun.
        console: where progress is told.

    Raises:
        ValueError: for options out of range, a folder that is the run's, in it or around it, a run that is no
            classifier with residual blocks, data of other classes, and where no block can go, or training on the last
            network loses more than is allowed.
        FileExistsError: if the folder is taken.
    """
    check_asked(run, folder, keep_accuracy, enough, epochs, lr)
    card, console = run.card(), console or Console()
    if card.task != "classification":
        raise ValueError(f"pruning keeps accuracy, and {run.folder} is for {card.task}; it needs a classifier")
    whole = run.network()
    if not isinstance(whole, ResidualNetwork) or not droppable(whole):
        raise ValueError(f"{card.model} has no residual block that could go")
    data = held_out(source, card)
    if data.classes != card.classes:
        raise ValueError(f"the classes of {source} are not those of {run.folder}; prune with data of its own")
    rounds, begun = folder / ROUNDS, was_begun(folder)
    if not begun:
        check_free(folder, overwrite)
    if overwrite or not begun:
        shutil.rmtree(folder, ignore_errors=True)
    fine_tuning = {
        **{name: value for name, value in asdict(recipe_of(card)).items() if name in card.recipe},
        **FINE_TUNING,
        "epochs": epochs,
        "lr": lr * card.recipe["lr"],
    }
    pictures = data.splits["val"]
    state = _State(whole, tuple(whole.blocks()), accuracy(whole, card, pictures), None)
    before = state.accuracy
    gone: list[str] = []
    while choices := droppable(state.network):
        block = least_missed(state.network, card, pictures, choices)
        name = state.names[list(state.network.blocks()).index(block)]
        rest = tuple(other for other in state.names if other != name)
        network = left_out(state.network, block)
        following = _State(network, rest, accuracy(network, card, pictures), None)
        if 100 * (before - following.accuracy) > keep_accuracy:
            following = trained_on(following, run, data, rounds, [*gone, name], fine_tuning)
        lost = 100 * (before - following.accuracy)
        trained = f" after {epochs} epochs" if following.run else ""
        console.print(f"without {name}: {-lost:+.2f} points{trained}", highlight=False)
        if lost > keep_accuracy:
            break
        state, gone = following, [*gone, name]
        if 1 - work(state.network, card) / work(whole, card) >= enough:
            break
    if not gone:
        raise ValueError(f"no block of {run.folder} can go without losing more than {keep_accuracy:g} points")
    if state.run is None:
        state = trained_on(state, run, data, rounds, gone, fine_tuning)
        if (lost := 100 * (before - state.accuracy)) > keep_accuracy:
            raise ValueError(
                f"training on without {', '.join(gone)} loses {lost:.2f} points, more than {keep_accuracy:g}; "
                "choose a lower --lr or other --epochs"
            )
    assert state.run is not None
    finish(state.run, folder, run, gone)
    seen = "val" in data.splits_made and "val" not in card.data["splits_made"]
    return Pruned(Run(folder), tuple(gone), before, state.accuracy, seen)


def was_begun(folder: Path) -> bool:
    """Whether a pruning was stopped here: there are its trainings, and at most files that the last of them has, too."""
    rounds = folder / ROUNDS
    if not rounds.is_dir() or not all(ROUND.fullmatch(path.name) for path in rounds.iterdir()):
        return False
    copied = {path.name for path in rounds.glob("*/trained/*")}
    return all(path == rounds or path.name in copied for path in folder.iterdir())


def check_asked(run: Run, folder: Path, keep_accuracy: float, enough: float, epochs: int, lr: float) -> None:
    """Raise ValueError for options out of range, and for a folder whose replacement would touch the run's own."""
    if not 0 <= keep_accuracy <= 100:
        raise ValueError(f"--keep-accuracy must be 0 to 100 points, not {keep_accuracy:g}")
    if not 0 < enough <= 1:
        raise ValueError(f"--enough must be a share above 0 and at most 1, such as 0.2, not {enough:g}")
    if epochs < 1:
        raise ValueError(f"--epochs must be at least 1, not {epochs}")
    if not 0 < lr < inf:
        raise ValueError(f"--lr must be a share above 0, such as 0.1, not {lr:g}")
    new, old = folder.resolve(), run.folder.resolve()
    if new == old or new in old.parents or old in new.parents:
        raise ValueError(f"{folder} is the folder of the whole network, lies in it or holds it; choose another --run")


def held_out(source: str | Path, card: Card) -> Data:
    """The data with its own validation split, the one that the run's training made, or one of training pictures."""
    data = open_dataset(source)
    if "val" not in data.splits:
        own = "val" in card.data["splits_made"] and card.data["fingerprint"] == data.fingerprint
        data = reopen({**card.data, "source": source}) if own else open_dataset(source, val_share=HELD_OUT)
    return readable(data)


def work(network: ResidualNetwork, card: Card) -> int:
    """Multiply-adds for a picture."""
    return totals(network.architecture, card.preprocessing.size)[1]


def accuracy(network: ResidualNetwork, card: Card, pictures: Dataset, metric: str = "accuracy") -> float:
    """The network's accuracy, or another metric."""
    loader = Loader(pictures, card.preprocessing, EVALUATION_BATCH, shuffle=False)
    task = create_task(card.task, card.classes, card.settings)
    network = network.to(memory_format=torch.channels_last)
    judged = evaluate_network(network, task, loader, card.preprocessing, torch.device("cpu"), in_bfloat16)
    return judged.metrics[metric]


def droppable(network: ResidualNetwork) -> list[str]:
    """The blocks that keep the shape and are not alone in their stage."""
    stages = [name.rpartition(".")[0] for name in network.blocks()]
    return [name for name in removable(network) if stages.count(name.rpartition(".")[0]) > 1]


def least_missed(network: ResidualNetwork, card: Card, pictures: Dataset, names: Sequence[str]) -> str:
    """The block whose absence costs the least loss."""
    some = pictures.subset(permutation(0, 0, len(pictures))[:COMPARED])
    losses = {}
    for name in names:
        with without(network, [name]):
            losses[name] = accuracy(network, card, some, "loss")
    return min(losses, key=losses.__getitem__)


def trained_on(
    state: _State, whole: Run, data: Data, rounds: Path, gone: Sequence[str], recipe: dict[str, Any]
) -> _State:
    """The network after some more epochs, begun, gone on with, or finished before.

    A training is known by all that it follows from, so that nothing of another pruning is taken for it.
    """
    card = whole.card()
    weights = hashlib.sha256(whole.weights_path.read_bytes()).hexdigest()
    known = json.dumps([weights, data.fingerprint, list(gone), recipe], sort_keys=True)
    folder = rounds / f"{len(gone)}-{hashlib.sha256(known.encode()).hexdigest()[:8]}"
    run, begun = Run(folder / "trained"), Run(folder / "begun")
    quiet = Console(quiet=True)
    if not run.card_path.is_file():
        begun.write_card(replace(card, architecture=state.network.architecture.to_dict(), metrics={}))
        begun.write_network(state.network)
        train(
            data.source,
            run=run.folder,
            weights=begun.folder,
            size=card.preprocessing.size,
            val_share=data.val_share,
            fold=data.fold,
            console=quiet,
            **recipe,
        )
    elif not run.card().metrics:
        resume(run.folder, console=quiet)
    network = cast(ResidualNetwork, run.network())
    return _State(network, state.names, accuracy(network, run.card(), data.splits["val"]), run)


def finish(trained: Run, folder: Path, whole: Run, gone: Sequence[str]) -> None:
    """Make the last training the run of the folder, and say on its card where it comes from."""
    for path in trained.folder.iterdir():
        if path.is_file() and path != trained.checkpoint_path:
            shutil.copy2(path, folder / path.name)
    card = trained.card()
    pruned = {"from": str(whole.folder), "blocks": list(gone)}
    Run(folder).write_card(replace(card, provenance={**card.provenance, "pruned": pruned}))
    shutil.rmtree(folder / ROUNDS)
