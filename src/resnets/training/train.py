"""From a data set to a finished run: what `resnets train` does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lightning_fabric import Fabric
from rich.console import Console

from resnets.data.audit import readable
from resnets.data.opening import Data, open_dataset, reopen
from resnets.data.splitting import Fold
from resnets.runs.card import Card
from resnets.runs.folders import RUNS, check_free, check_writable, claim_folder
from resnets.runs.run import Run
from resnets.training.checkpoints import kept_for_later
from resnets.training.conclusion import conclude
from resnets.training.display import TrainingDisplay, print_plan
from resnets.training.engine import LONGEST_WAIT, check_logger, create_engine, engine_facts, logger_class
from resnets.training.fit import fit
from resnets.training.head import fit_head, fit_head_first
from resnets.training.job import CHECKPOINT_EVERY, Job, create_job
from resnets.training.launch import find_launch
from resnets.training.memory import Memory
from resnets.training.plan import check_request, initial_weights, plan
from resnets.training.rate_finder import find_rate

T = TypeVar("T")

LOST = re.compile(r"gloo|NCCL|closed by peer|Connection reset|Broken pipe|Timed out waiting", re.IGNORECASE)
"""What PyTorch's errors say where processes no longer hear each other."""


def train(
    source: str | Path,
    *,
    run: str | Path | None = None,
    model: str = "auto",
    recipe: str = "auto",
    task: str = "auto",
    size: int | tuple[int, int] | None = None,
    val_share: float | None = None,
    fold: Fold | None = None,
    ignore: str | None = None,
    weights: str | Path | None = None,
    max_unreadable: float = 0.01,
    overwrite: bool = False,
    precision: str = "auto",
    memory: Memory = "high",
    accelerator: str = "auto",
    devices: int | str = "auto",
    nodes: int | None = None,
    strategy: str = "auto",
    longest_wait: float = LONGEST_WAIT,
    workers: int | None = None,
    cache: str | Path | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
    logger: str | None = None,
    console: Console | None = None,
    watch: Callable[[Job], None] | None = None,
    **changes: Any,
) -> Run:
    """Train a network on a data set and write all there is about it into a run's folder.

    Args:
        source: a folder, shards, an archive, a table, `hf:OWNER/NAME` or a built-in name; see `open_dataset`.
        run: the folder to write; by default `runs/DATA-MODEL`, with a number where that is taken.
        model: a name of `list_models()`, of a detector, such as fasterrcnn_resnet50_fpn or yolo_resnet18, or of a
            network that gives every pixel a class, such as unet_resnet18; auto takes resnet20 for small pictures,
            resnet18 for larger ones, yolo_resnet18 for objects and unet_resnet18 for masks.
        recipe: a name of `list_recipes()`, a YAML file, or auto, which picks by the data.
        task: classification, detection, multilabel, regression or segmentation; auto does what the data's targets ask
            for. Of any classes also recognition and generation.
        size: side of the network's input in pixels, or height and width; by default what suits the pictures.
        val_share: share of the training pictures to hold out for validation where the data has no such split.
        fold: of cross-validation, its number and how many there are; see `cross_validate`.
        ignore: of masks, a class whose pixels count neither way.
        weights: to begin from: "torchvision", "hf:OWNER/NAME", an address with its SHA-256, a file, a run's folder...;
            see `weights.sources.find_weights`. Its preprocessing and, with model auto, its architecture are taken over.
        max_unreadable: the share of unreadable pictures past which training refuses to start.
        overwrite: replace the run's folder if it is there.
        precision: auto (bfloat16 where the hardware computes in it), 32-true, bf16-mixed or 16-mixed.
        memory: "low" computes the maps of residual blocks again in the backward pass rather than keep them: the same
            training in a fraction of the memory, for a third more work and on a CPU up to twice the time.
        accelerator, devices, nodes, strategy, longest_wait: see `engine.create_engine`.
        workers: processes that decode pictures beside the training; by default one a processor. With 0 threads decode
            each batch before it is used, which on a CPU is steadier where epochs are short.
        cache: a folder in which decoded pictures are kept for this and later trainings, where they do not fit into
            memory; or "memory" to keep them there, however many.
        checkpoint_every: seconds after which a checkpoint is written within an epoch; after an epoch there is one, too.
        logger: tensorboard, or the full name of a Lightning logger class; `metrics.csv` is always written.
        console: where to print; by default the terminal.
        watch: is called after each epoch with the training as it stands, and must leave it so; again after the same
            epoch where the training was killed before its checkpoint.
        changes: fields of the recipe or of the network's declaration that take other values, such as `epochs=5` or
            `shortcut="C"`.

    Where torchrun or SLURM has started the processes anew, after one of them had ended, the training goes on from its
    last checkpoint.

    Returns:
        The finished run.

    Raises:
        ValueError: for options that do not fit the data or each other.
        FileExistsError: if the run's folder is there already.
        InterruptedTraining: if it was asked to stop; `resume` goes on.
    """
    check_request(model, recipe, changes)
    if logger is not None:
        logger_class(logger)
    if (begun := begun_before(run, overwrite)) is not None:
        return resume(
            begun,
            accelerator=accelerator,
            devices=devices,
            nodes=nodes,
            strategy=strategy,
            longest_wait=longest_wait,
            workers=workers,
            cache=cache,
            checkpoint_every=checkpoint_every,
            logger=logger,
            console=console,
            watch=watch,
        )
    if run is not None:
        check_free(Path(run), overwrite)
    check_writable(RUNS if run is None else Path(run))
    fabric = create_engine(precision, accelerator, devices, nodes, strategy, longest_wait)
    fabric.launch()
    console = console_of(fabric, console)
    initial = fetched_once(fabric, lambda: initial_weights(weights, model))
    data = fetched_once(fabric, lambda: open_dataset(source, task=task, val_share=val_share, fold=fold, ignore=ignore))
    data = without_unreadable(data, max_unreadable, console)
    card = plan(
        data,
        model=model,
        recipe=recipe,
        size=size,
        weights=initial,
        changes=changes,
    )
    card = replace(card, provenance={**card.provenance, **engine_facts(fabric), "memory": memory, "logger": logger})

    def claim(card: Card) -> Run:
        return Run(fabric.broadcast(claim_folder(run, card, overwrite) if fabric.is_global_zero else Path()))

    job = create_job(fabric, claim, card, data, workers, initial, cache)
    return execute(job, console, watch, checkpoint_every)


def resume(
    run: str | Path,
    *,
    accelerator: str = "auto",
    devices: int | str = "auto",
    nodes: int | None = None,
    strategy: str = "auto",
    longest_wait: float = LONGEST_WAIT,
    workers: int | None = None,
    cache: str | Path | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
    logger: str | None = None,
    console: Console | None = None,
    watch: Callable[[Job], None] | None = None,
) -> Run:
    """Go on with a training where its last checkpoint stands, as if it had never stopped.

    A logger that is none of Lightning's own has to be named again.

    Raises:
        FileNotFoundError: if the folder is no run.
        ValueError: if the data, or the length of an epoch with so many processes, is not what it was.
    """
    stopped = Run(Path(run))
    card = stopped.card()
    fabric = create_engine(card.provenance["precision"], accelerator, devices, nodes, strategy, longest_wait)
    fabric.launch()
    console = console_of(fabric, console)
    if card.metrics:
        console.print(f"{stopped.folder} is finished; there is nothing left to do")
        return stopped
    check_logger(card.provenance.get("logger"), logger)
    known = card.data
    data = fetched_once(fabric, lambda: reopen(known))
    if data.fingerprint != known["fingerprint"]:
        raise ValueError(
            f"the pictures of {known['source']} have changed since {stopped.folder} was started (fingerprint "
            f"{data.fingerprint[:12]}, was {known['fingerprint'][:12]}); restore them, or train anew"
        )
    begun = bool(stopped.checkpoints())
    initial = None if begun else initial_weights(card.provenance["weights"], card.model)
    data = without_unreadable(data, 1.0, console)
    check_left_out(data, card, stopped)
    job = create_job(fabric, lambda _: stopped, card, data, workers, initial, cache)
    job.tell = teller(console)
    if begun:
        job.load()
    return execute(job, console, watch, checkpoint_every)


def execute(
    job: Job,
    console: Console,
    watch: Callable[[Job], None] | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
) -> Run:
    """Train to the end, and write what is kept of it."""
    job.tell, job.checkpoint_every = teller(console), checkpoint_every
    print_plan(console, job)
    if job.recipe.find_lr and job.state.step == 0:
        job.set_rate(find_rate(job))
        console.print(f"learning rate {job.recipe.lr:g}, by a range test", highlight=False)
    if job.recipe.head_first and job.state.step == 0:
        fit_head_first(job)
    with together(job.fabric, job.run), kept_for_later(job.run):
        with TrainingDisplay(console, job.task, job.total_steps, job.steps_per_epoch, job.state.step) as display:
            (fit_head if job.recipe.head_only else fit)(job, display, watch)
        if job.logger is not None:
            job.logger.finalize("success")
        conclude(job, console)
    return job.run


def begun_before(run: str | Path | None, overwrite: bool) -> Path | None:
    """The folder of the training that these processes had begun, where torchrun or SLURM has started them anew.

    Raises:
        ValueError: if they could not find it again.
    """
    launch = find_launch()
    if not (launch.restarts or launch.may_restart):
        return None
    if run is None or overwrite:
        raise ValueError(
            f"{launch.by} starts a training anew that has failed, and then its folder must be known: name one that is "
            "not there with --run, and leave --overwrite out"
        )
    return Path(run) if launch.restarts and Run(Path(run)).card_path.is_file() else None


@contextmanager
def together(fabric: Fabric, run: Run) -> Iterator[None]:
    """Say in a sentence that another process has ended, or has not answered for long.

    Raises:
        ConnectionError: in the place of what PyTorch raises then.
    """
    try:
        yield
    except RuntimeError as error:
        if fabric.world_size == 1 or not LOST.search(str(error)):
            raise
        raise ConnectionError(
            f"process {fabric.global_rank} of {fabric.world_size} has lost another, which has ended or hangs; go on "
            f"from the last checkpoint with `resnets train --resume {run.folder}`, on fewer processes if need be"
        ) from error


def fetched_once(fabric: Fabric, fetch: Callable[[], T]) -> T:
    """What `fetch` gives, asked by the first process of a machine before the others, which find what it has kept.

    An error is raised when all have asked, as otherwise the others would wait for the first.
    """
    failed: Exception | None = None
    with fabric.rank_zero_first(local=True):
        try:
            found = fetch()
        except Exception as error:
            failed = error
    if failed is not None:
        raise failed
    return found


def without_unreadable(data: Data, max_share: float, console: Console) -> Data:
    """The data without the pictures that cannot be read, each of which is named.

    Raises:
        ValueError: if their share is above `max_share`.
    """
    data = readable(data, max_share)
    for picture in data.unreadable:
        console.print(f"left out: {picture.name}: {picture.reason}", style="yellow", highlight=False)
    return data


def check_left_out(data: Data, card: Card, run: Run) -> None:
    """Raise ValueError if other pictures cannot be read than when a run was started; older cards do not say which."""
    if (before := card.data.get("left_out")) is None:
        return
    now = {picture.name: picture.reason for picture in data.unreadable}
    if lost := sorted(now.keys() - before.keys()):
        raise ValueError(
            f"{len(lost):,} of the pictures that {run.folder} was started with cannot be read now, such as {lost[0]} "
            f"({now[lost[0]]}); restore them, or train anew"
        )
    if found := sorted(before.keys() - now.keys()):
        raise ValueError(
            f"{len(found):,} of the pictures that {run.folder} was started without can be read now, such as "
            f"{found[0]}; restore the data as it was, or train anew"
        )


def teller(console: Console) -> Callable[[str], None]:
    """Prints a line about something that went wrong and was survived."""
    return partial(console.print, style="yellow", markup=False, highlight=False, soft_wrap=True)


def console_of(fabric: Fabric, console: Console | None) -> Console:
    """Where to print: nowhere in any process but the first."""
    return (console or Console()) if fabric.is_global_zero else Console(quiet=True)
