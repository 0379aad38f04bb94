"""A training put together from its card: network, optimiser, loaders, and where it stands."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from resnets.data.loading import Loader
from resnets.data.opening import Data
from resnets.inference.evaluation import evaluate_network, usual_batch
from resnets.inference.machine import give_large_blocks_back
from resnets.layers.synchronisation import synchronise
from resnets.networks.catalogue import build, declaration_from_dict
from resnets.networks.network import Network
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.tasks import Task, create_task
from resnets.training.averaging import Statistics, exponential_average
from resnets.training.balance import weights_of_classes
from resnets.training.checkpoints import read_checkpoint, write_checkpoint
from resnets.training.engine import control_group, create_logger
from resnets.training.freezing import freeze, frozen_stages, rate_scales
from resnets.training.memory import compute_again
from resnets.training.optimisers import create_optimiser
from resnets.training.plan import recipe_of
from resnets.training.recipe import Recipe
from resnets.training.resizing import input_size
from resnets.training.schedule import learning_rate
from resnets.training.sharding import check_sharded, is_sharded, whole_tensors, why_not_sharded
from resnets.training.state import State
from resnets.training.whitening import whiten
from resnets.weights.loading import Account, load_weights
from resnets.weights.sources import Weights

CHECKPOINT_EVERY = 600.0
"""A checkpoint is written after each epoch, and after so many seconds within one."""


@dataclass
class Job:
    """Everything a training consists of.

    Attributes:
        network: as Fabric wraps it.
        average: the moving average of the network, or None.
        train: this process's share of the training pictures.
        watched: the validation pictures, or the test pictures where there are none; None where there is neither.
        judged: what the finished network is measured on: the test pictures, or the validation pictures where there are
            none; None where there is neither.
        logger: who is told each epoch's row beside `metrics.csv`, in the first process.
        account: of the weights that it begins from, or None.
        control: the group in which processes agree when to stop; None for the usual one.
        whole: of a network whose weights are dealt out to the processes, a copy that has all of them; see `gather`.
        tell: takes a line for whoever watches the training.
        checkpoint_every: seconds after which a checkpoint is written within an epoch.
    """

    fabric: Fabric
    run: Run
    card: Card
    recipe: Recipe
    task: Task
    network: nn.Module
    average: AveragedModel | None
    optimiser: Optimizer
    train: Loader
    watched: Loader | None
    judged: Loader | None
    logger: Logger | None = None
    account: Account | None = None
    whole: Network | None = None
    control: Any = None
    state: State = field(default_factory=State)
    tell: Callable[[str], object] = lambda _: None
    checkpoint_every: float = CHECKPOINT_EVERY

    def __post_init__(self) -> None:
        self.statistics = Statistics(self.bare_network)
        self.steps_per_epoch = len(self.train)
        self.total_steps = self.recipe.total_steps(self.steps_per_epoch)

    @property
    def bare_network(self) -> Network:
        """The network without what Fabric and its strategy put around it."""
        network = self.network
        while isinstance(inner := getattr(network, "module", None), nn.Module):
            network = inner
        return cast(Network, network)

    @property
    def network_to_use(self) -> Network:
        """The network that is evaluated and kept: the average, where there is one, or the copy with all weights."""
        if self.whole is not None:
            return self.whole
        return self.bare_network if self.average is None else cast(Network, self.average.module)

    @property
    def accumulate(self) -> int:
        """Parts in which a batch is computed."""
        return max(self.recipe.accumulate, self.state.accumulate)

    def report(self, what: str, **details: Any) -> None:
        """Tell of something that went wrong and was survived, now and on the card."""
        epoch = self.state.step // self.steps_per_epoch + 1
        self.state.incidents.append({"epoch": epoch, "step": self.state.step + 1, "what": what, **details})
        self.tell(f"epoch {epoch}, step {self.state.step + 1:,}: {what}")

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return learning_rate(self.recipe, step / self.total_steps) / 2**self.state.rollbacks

    def input_size(self, epoch: int) -> tuple[int, int]:
        """Height and width of the pictures that an epoch trains on."""
        epochs = -(-self.total_steps // self.steps_per_epoch)
        return input_size(self.recipe.progressive, self.card.preprocessing.size, epoch, epochs)

    def gather(self) -> None:
        """Bring the copy with all weights up to date, where they are dealt out; every process must take part."""
        if self.whole is not None:
            self.whole.load_state_dict(whole_tensors(self.bare_network))

    @property
    def pictures_of_step(self) -> int:
        """Pictures that the present step has in all processes together; an epoch's last may have fewer than others."""
        first = self.state.step % self.steps_per_epoch * self.train.batch_size
        return min(self.train.batch_size, len(self.train.dataset) - first)

    def set_rate(self, rate: float) -> None:
        """Train at another rate than was planned, and write it on the card."""
        self.recipe = replace(self.recipe, lr=rate)
        self.card = replace(self.card, recipe={**self.card.recipe, "lr": rate})
        if self.fabric.is_global_zero:
            self.run.write_card(self.card)

    def save(self) -> None:
        """Write a checkpoint.

        Raises:
            OSError: if it cannot be written; the last one is as it was.
        """
        self.restore_folder()
        parts = self._parts()
        parts["state"]["totals"] = self.fabric.all_reduce(self.state.totals.clone(), reduce_op="sum")
        write_checkpoint(self.fabric, self.run, parts)

    def restore_folder(self) -> None:
        """Make the run's folder anew if somebody has removed it; the best weights so far are lost with it."""
        if self.fabric.broadcast(not self.run.card_path.is_file()):  # what the first process sees
            if self.fabric.is_global_zero:
                self.run.write_card(self.card)
            self.state.best, self.state.epochs_since_best = State.best, 0
            self.report(f"{self.run.folder} was removed; it is made anew")

    def load(self) -> None:
        """Stand where the run's last checkpoint was written, or the one before where that is damaged.

        Raises:
            ValueError: if it was written by processes with which these cannot take turns.
        """
        parts = self._parts()
        read_checkpoint(self.fabric, self.run, parts, self.tell, self.why_unsuited)
        self.state.load_state_dict(parts["state"])
        if scaler := parts["state"].get("scaler"):
            self.fabric._precision.load_state_dict(scaler)
        if not self.fabric.is_global_zero:  # the first process goes on with the sums of all
            self.state.totals = torch.zeros_like(self.state.totals)

    def why_unsuited(self, checkpoint: dict[str, Any]) -> str | None:
        """Why this training cannot go on from what a checkpoint holds, in a sentence; None if it can."""
        if is_sharded(self.fabric) and (reason := why_not_sharded(checkpoint)) is not None:
            return reason
        before = checkpoint["state"].get("steps_per_epoch", self.steps_per_epoch)
        if before != self.steps_per_epoch:
            return (
                f"an epoch of {self.run.folder} has {before:,} steps, and with --devices {self.fabric.world_size} it "
                f"would have {self.steps_per_epoch:,}, as its last pictures are too few for many processes; go on with "
                "as many as before"
            )
        return None

    def evaluate(self) -> dict[str, float]:
        """Loss, score and aim of the network to use on the watched split, such as `val_loss`."""
        if self.watched is None:
            return {}
        self.gather()
        evaluation = evaluate_network(
            self.network_to_use,
            self.task,
            self.watched,
            self.card.preprocessing,
            self.fabric.device,
            self.fabric.autocast,
        )
        names = dict.fromkeys(("loss", self.task.score, self.task.aim[0]))
        metrics = evaluation.metrics
        return {f"{evaluation.split}_{name}": metrics[name] for name in names if name in metrics}

    def _parts(self) -> dict[str, Any]:
        """What a checkpoint holds; Fabric fills modules and optimisers in place, and replaces all else.

        Beside where the training stands, there is by what float16's losses are scaled.
        """
        beside = {"steps_per_epoch": self.steps_per_epoch, "scaler": self.fabric._precision.state_dict()}
        parts = {"network": self.network, "optimiser": self.optimiser, "state": self.state.state_dict() | beside}
        return parts if self.average is None else parts | {"average": self.average}


def create_job(
    fabric: Fabric,
    claim: Callable[[Card], Run],
    card: Card,
    data: Data,
    workers: int | None,
    weights: Weights | None = None,
    cache: str | Path | None = None,
) -> Job:
    """The training that a card declares, at its first step, from the weights given or random ones.

    `claim` gives the run to write; it is asked when all else has gone well, lest a request that is refused leaves a
    folder behind or replaces one. `workers` and `cache` are those of `data.loading.Loader`.

    Raises:
        ValueError: if the weights to begin from do not fit.
    """
    recipe = recipe_of(card)
    task = create_task(
        card.task,
        card.classes,
        card.settings,
        label_smoothing=recipe.label_smoothing,
        class_weights=weights_of_classes(data.splits["train"]) if recipe.balance == "loss" else None,
        asymmetric=recipe.asymmetric,
        huber=recipe.huber,
        margin=recipe.margin,
        margin_size=recipe.margin_size,
        logit_scale=recipe.logit_scale,
        embedding=recipe.embedding,
        projection=recipe.projection,
        logit_normal=recipe.logit_normal,
        class_dropout=recipe.class_dropout,
        loss=recipe.loss,
    )
    torch.manual_seed(recipe.seed)
    network = build(declaration_from_dict(card.architecture)).to(memory_format=torch.channels_last)
    account = None
    if weights is None:
        whiten(network, data.splits["train"], card.preprocessing)
    else:
        classes = None if task.embeds else card.classes
        account = load_weights(network, weights.tensors, weights.origin, classes, weights.classes)
        card = replace(card, provenance={**card.provenance, "weights_account": dict(account.rows())})
    if card.provenance.get("memory") == "low":
        compute_again(network)
        give_large_blocks_back()
    if recipe.sync_bn:
        synchronise(network, fabric.device.type == "cuda")
    average = exponential_average(network, recipe.ema).to(fabric.device) if recipe.ema else None
    frozen = frozen_stages(network, recipe)
    if recipe.unfreeze_every and fabric.world_size > 1:
        raise ValueError("unfreeze_every changes what learns, which several processes cannot; use --devices 1")
    if recipe.head_only and fabric.world_size > 1:
        raise ValueError("head_only takes seconds on one process; use --devices 1")
    whole = None
    if is_sharded(fabric):
        check_sharded(recipe, network)
        whole = deepcopy(network).to(fabric.device)
    freeze(network, () if recipe.unfreeze_every else frozen, recipe.freeze_norm)
    trained, rates = task.for_training(network), rate_scales(network, recipe)
    if trained is not network:
        rates = {f"module.{name}": rate for name, rate in rates.items()}
    wrapped = fabric.setup_module(trained)
    # What steps by itself would undo the scale of float16's losses there, too late for clip_norm.
    fused = whole is None and fabric._precision.precision != "16-mixed"
    dtype = torch.bfloat16 if fabric._precision.precision == "bf16-mixed" else torch.float32
    optimiser = cast(Optimizer, fabric.setup_optimizers(create_optimiser(trained, recipe, rates, fused, dtype)))

    loaders = {
        split: Loader(
            dataset,
            card.preprocessing,
            recipe.batch_size if split == "train" else usual_batch(dataset),
            shuffle=split == "train",
            balanced=split == "train" and recipe.balance == "sampling",
            per_class=recipe.per_class if split == "train" else 0,
            augmentation=recipe if split == "train" else None,
            seed=recipe.seed,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
            workers=workers,
            cache=cache,
            fingerprint=data.fingerprint,
        )
        for split, dataset in data.splits.items()
    }
    with fabric.rank_zero_first(local=True):
        for loader in loaders.values():
            if loader.cache is not None:
                loader.fill_cache(loader.cache)
    run = claim(card)
    logger = card.provenance["logger"] if fabric.is_global_zero else None
    return Job(
        fabric=fabric,
        run=run,
        card=card,
        recipe=recipe,
        task=task,
        network=wrapped,
        average=average,
        optimiser=optimiser,
        train=loaders["train"],
        watched=loaders.get("val", loaders.get("test")),
        judged=loaders.get("test", loaders.get("val")),
        logger=None if logger is None else create_logger(logger, run.folder),
        account=account,
        whole=whole,
        control=control_group(fabric),
    )
