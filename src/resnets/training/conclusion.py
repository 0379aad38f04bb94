"""What is kept of a finished training: the weights to use, their metrics on the card, and the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from resnets.data.dataset import Dataset
from resnets.data.order import hashed
from resnets.data.transforms import normalise, prepare
from resnets.inference.evaluation import evaluate_network, outputs_of, truth_of
from resnets.inference.segmenting import segment
from resnets.runs.card import Card
from resnets.tasks import create_task
from resnets.training.averaging import recompute_statistics
from resnets.training.display import recipe_reasons
from resnets.training.job import Job
from resnets.weights.files import read_tensors
from resnets.weights.loading import load_tensors

TOLD = 5
"""Incidents that the report names."""


def conclude(job: Job, console: Console) -> None:
    """Write the weights, the card and the report of a training whose steps are all taken.

    The metrics on the card are computed in float32, as `resnets evaluate` does.
    """
    job.gather()
    network = job.network_to_use
    if job.recipe.patience and job.run.weights_path.is_file():
        load_tensors(network, read_tensors(job.run.weights_path), str(job.run.weights_path))
    if job.recipe.recompute_bn:
        torch.manual_seed(hashed(job.recipe.seed, f"statistics of process {job.fabric.global_rank}"))  # dropout
        recompute_statistics(network, training_inputs(job), job.fabric)
    card = replace(job.card, provenance={**job.card.provenance, "seconds": round(job.state.trained_seconds, 1)})
    card = replace(card, settings={**card.settings, **fitted(job)})
    if job.state.incidents:
        card = replace(card, provenance={**card.provenance, "incidents": job.state.incidents})
    judged, evaluation = job.judged, None
    if judged is not None:
        task = create_task(card.task, card.classes, card.settings)
        evaluation = evaluate_network(network, task, judged, card.preprocessing, job.fabric.device)
        card = replace(card, metrics=evaluation.metrics, data={**card.data, "evaluated_on": evaluation.split})
    if not job.fabric.is_global_zero:
        return
    job.run.write_history(job.state.history)  # again, as its last row may be of a training that was killed
    job.run.write_network(network)
    if judged is not None:
        pictures, channels = judged.dataset, card.preprocessing.channels
        report = import_module(f"resnets.report.{card.task}")
        report.write_report(
            job.run.report_path,
            title=f"{card.model} on {card.data['name']}",
            facts=facts(card, sum(parameter.numel() for parameter in network.parameters())),
            history=job.state.history,
            evaluation=evaluation,
            picture=lambda index: pictures.picture(index, channels),
            **({"masks": partial(masks_of, job, network, pictures)} if pictures.has_masks else {}),
        )
    job.run.write_card(card)  # last, as metrics on the card tell that there is nothing left to do
    job.run.checkpoint_before_path.unlink(missing_ok=True)
    print_result(console, job, card)


def masks_of(job: Job, network: nn.Module, pictures: Dataset, index: int) -> tuple[Tensor, Tensor]:
    """The true mask of a picture and the one that the network finds, (h, w) uint8."""
    preprocessing = job.card.preprocessing

    @torch.inference_mode()
    def outputs(images: Tensor) -> Tensor:
        return network(normalise(images.to(job.fabric.device), preprocessing, channels_last=True)).cpu()

    picture = pictures.picture(index, preprocessing.channels)
    return pictures.mask(index), segment([picture], preprocessing, outputs, 1)[0]


def fitted(job: Job) -> dict[str, Any]:
    """The task's settings that the validation split asks for, and what they were fitted on; none without that split.

    None in cross-validation, too, where that split is for judging alone.
    """
    if job.watched is None or job.watched.dataset.split != "val" or job.watched.dataset.has_masks:
        return {}
    if job.card.data["fold"] is not None:
        return {}
    outputs = outputs_of(job.network_to_use, job.watched, job.card.preprocessing, job.fabric.device, ask=job.task.ask)
    settings = job.task.fit(outputs, truth_of(job.watched.dataset))
    return settings and {**settings, "fitted_on": "val", "pictures": len(outputs)}


def training_inputs(job: Job) -> Iterator[Tensor]:
    """The training pictures as one more epoch would see them, unmixed, batch by batch, this process's share.

    Cropped and flipped as in training: the statistics of whole pictures are not those that the weights have learnt
    with, and cost a ResNet-20 on CIFAR-10, whose crops have black borders, 2.5 points of accuracy.
    """
    epoch = -(-job.total_steps // job.steps_per_epoch)
    unmixed = replace(job.recipe, mixup=0.0, cutmix=0.0, erasing=0.0)
    for batch in job.train.epoch(epoch):
        batch = batch.to(job.fabric.device)
        yield prepare(
            batch, job.card.preprocessing, unmixed, seed=job.recipe.seed, epoch=epoch, channels_last=True
        ).images


def facts(card: Card, parameters: int) -> dict[str, str]:
    """The card in a few lines, for the head of the report."""
    data, provenance, recipe = card.data, card.provenance, card.recipe
    size, channels = card.preprocessing.size, card.preprocessing.channels
    pictures = ", ".join(f"{count:,} {split}" for split, count in data["pictures"].items())
    made = (
        f"; {' and '.join(data['splits_made'])} held out with seed {data['split_seed']}" if data["splits_made"] else ""
    )
    lines = {
        "Network": f"{card.model}, {parameters:,} parameters, input {size[0]} x {size[1]} "
        f"{'grey' if channels == 1 else 'in colour'}",
        "Data": f"{data['name']}: {pictures}{made}",
        "Recipe": f"{describe(recipe)}, seed {provenance['seed']}",
        "Trained": f"{duration(provenance['seconds'])} on {provenance['device']}, {provenance['precision']}, "
        f"{provenance['processes']} process{'es' * (provenance['processes'] > 1)}",
        "Versions": ", ".join(f"{name} {provenance['versions'][name]}" for name in ("resnets", "torch", "torchvision")),
        "Command": provenance["command"],
    }
    if reasons := recipe_reasons(card):
        lines["Chosen"] = "; ".join(f"{name}: {reason}" for name, reason in reasons)
    if threshold := card.settings.get("threshold") if card.task == "detection" else None:
        lines["Threshold"] = f"boxes are told from a score of {threshold:.2f}, where F1 was highest on validation"
    if temperature := card.settings.get("temperature"):
        lines["Calibration"] = (
            f"temperature {temperature:.2f}, fitted on {card.settings['pictures']:,} pictures "
            f"({card.settings['fitted_on']}): calibration error {card.metrics['ece_raw']:.2%} without, "
            f"{card.metrics['ece']:.2%} with"
            + (", of the very pictures that it was fitted on" if data["evaluated_on"] == "val" else "")
        )
    if incidents := provenance.get("incidents"):
        lines["Incidents"] = "; ".join(f"step {one['step']:,}: {one['what']}" for one in incidents[:TOLD])
        if len(incidents) > TOLD:
            lines["Incidents"] += f"; and {len(incidents) - TOLD:,} more, named in model.json"
    if data["left_out"]:
        lines["Left out"] = f"{len(data['left_out']):,} unreadable pictures, named in model.json"
    return lines


def describe(recipe: Mapping[str, Any]) -> str:
    """A recipe in one line."""
    length = f"{recipe['steps']:,} steps" if recipe["steps"] else f"{recipe['epochs']} epochs"
    return (
        f"{recipe['name']}: {length} of {recipe['batch_size']}, {recipe['optimizer']}, rate {recipe['lr']:g}, "
        f"{recipe['schedule']} schedule, weight decay {recipe['weight_decay']:g}"
    )


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def print_result(console: Console, job: Job, card: Card) -> None:
    """The table at the end of a training."""
    table = Table(title=f"{card.model} on {card.data['name']}", title_justify="left", show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    if card.metrics:
        table.add_row("measured on", f"{card.metrics['count']:,.0f} {card.data['evaluated_on']} pictures")
        for name, (label, form) in job.task.formats.items():
            table.add_row(label, form.format(card.metrics[name]))
    table.add_row("trained in", duration(card.provenance["seconds"]))
    table.add_row("weights", str(job.run.weights_path))
    table.add_row("card", str(job.run.card_path))
    if job.run.report_path.is_file():
        table.add_row("report", str(job.run.report_path))
    console.print(table)
