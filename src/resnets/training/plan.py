"""What a training will do, decided before it starts: the card of a run that has not been trained yet."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import detection, list_models

from resnets.data.opening import Data
from resnets.data.statistics import preprocessing_for
from resnets.layers.margins import EMBEDDING
from resnets.networks.catalogue import DETECTORS, FAMILIES, SEGMENTERS, architecture, build
from resnets.networks.declaration import Declaration
from resnets.networks.detector import DetectorArchitecture
from resnets.networks.segmenter import SegmenterArchitecture
from resnets.networks.unet import UNetArchitecture
from resnets.runs.card import Card
from resnets.tasks import task_class
from resnets.training.choice import DECODER, DETECTOR, GENERATOR, Choice, choose_model, choose_recipe
from resnets.training.recipe import IDLE_WITH_HEAD_ONLY, Recipe, list_recipes, load_recipe
from resnets.training.suitability import check_suited, has_norm
from resnets.weights.models import declared_by
from resnets.weights.sources import Weights, find_weights

AUTO = "auto"

DECODERS_OF_TORCHVISION = ("fcn", "deeplabv3")
"""Of which torchvision has weights; of the others it has those of the backbone."""

DETECTORS_OF_TORCHVISION = tuple(list_models(module=detection))
"""The same of detectors."""

WARMUP_EPOCHS, LONGEST_WARMUP = 5, 0.2
"""Epochs in which a rate for larger batches is risen to (arXiv:1706.02677, section 2.2), and the share at most."""

BY_DATA = ("num_classes", "in_channels", "source", "method", "decoder", "backbone")
"""Fields of a network's declaration that are not for the user to change in a training."""


def plan(
    data: Data,
    *,
    model: str = AUTO,
    recipe: str = AUTO,
    size: int | tuple[int, int] | None = None,
    weights: Weights | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Card:
    """The card of a run to be: architecture, classes, preprocessing, recipe, data.

    Args:
        data: opened, unreadable pictures left out.
        model: a name of the catalogue, or "auto": that of the weights, where there are some.
        recipe: a name of the package, a YAML file, or "auto".
        size: side of the network's input in pixels, or height and width; by default what suits the pictures, and the
            weights.
        weights: to begin from.
        changes: fields of the recipe or of the network's declaration that take other values.

    Raises:
        ValueError: for an unknown name or field, or a recipe that cannot be followed with this data.
    """
    preprocessing = preprocessing_for(data, size, like=None if weights is None else weights.preprocessing)
    known = weights.model if weights is not None else None
    reasons: dict[str, str] = {}
    if model != AUTO:
        name = model
    elif known is not None:
        name, reasons["model"] = known, "the network of the weights"
    else:
        name, reasons["model"] = choose_model(preprocessing, data.task, recipe)
    if size is None and weights is not None and weights.preprocessing is not None:
        like_weights = preprocessing.size == weights.preprocessing.size
        reason = "as the weights have seen" if like_weights else "by the pictures; the weights have seen others"
        reasons["size"] = f"{preprocessing.size[0]} x {preprocessing.size[1]}, {reason}"
    shape, changes = split_changes(changes or {})
    if data.task == "detection" and model == AUTO and known is not None and not DETECTORS.fullmatch(name):
        name, reasons["model"] = f"{DETECTOR}_{name}", "on the network of the weights"
    if data.task == "segmentation" and model == AUTO and known is not None and not SEGMENTERS.fullmatch(name):
        name, reasons["model"] = f"{DECODER}_{name}", "on the network of the weights"
    declaration = replace(
        architecture(name) if weights is None else declared_by(weights, name),
        num_classes=len(data.classes),
        in_channels=preprocessing.channels,
    )
    declaration = reshaped(declaration, name, shape)
    check_task(name, declaration, data)
    targets = data.splits["train"].targets
    if recipe == AUTO:
        kept = len(set(data.classes) & set(weights.classes or ())) if weights is not None else 0
        whole = known is not None and name == known
        choice = choose_recipe(preprocessing, targets, data.task, weights is not None, kept, whole, len(data.classes))
        if weights is not None and isinstance(declaration, DetectorArchitecture) and declaration.method != "yolo":
            # yolo has norms of its own in its head, which may begin anew
            choice = choice.but("small batches tell less of statistics than the weights do", freeze_norm=True)
        if declaration.begins_with_zeros:
            choice = choice.but("Muon cannot turn weights of zero", optimizer="sgd", lr=0.1, momentum=0.9)
        reasons |= choice.reasons
    else:
        choice = Choice(load_recipe(recipe))
    if recipe == AUTO and "epochs" in changes and "evaluate_every" not in changes:
        often = max(choice.recipe.epochs // choice.recipe.evaluate_every, 1)
        fewer = min(choice.recipe.evaluate_every, max(changes["epochs"] // often, 1))
        choice = Choice(replace(choice.recipe, evaluate_every=fewer), choice.reasons)
    chosen, scaled = scale_rate(changed(choice.recipe, changes), choice.recipe.batch_size, len(targets), changes)
    if task_class(data.task).embeds:
        declaration = replace(declaration, num_classes=0 if chosen.projection else chosen.embedding or EMBEDDING)
    reasons = {name: reason for name, reason in reasons.items() if name not in changes} | scaled
    with torch.device("meta"):  # a network without values, made at once
        network = build(declaration)
    if chosen.recompute_bn and not has_norm(network, _BatchNorm):
        if "recompute_bn" in changes:
            raise ValueError(
                f"{name} has no batch norm as it is asked for, so recompute_bn would do nothing; leave it out"
            )
        chosen = replace(chosen, recompute_bn=False)
        reasons["recompute_bn"] = "left out, as the network has no batch norm"
    side, asked_for = min(preprocessing.size), "progressive" in changes or recipe not in list_recipes()
    if chosen.progressive and not asked_for and not side / 2 <= chosen.progressive < side:
        reasons["progressive"] = f"left out, as {chosen.progressive} pixels are no beginning for {side}"
        chosen = replace(chosen, progressive=0)
    if chosen.head_first and data.task != "classification" and "head_first" not in changes:
        chosen = replace(chosen, head_first=False)
        reasons["head_first"] = f"left out, as {data.task} has no single class to fit"
    if chosen.patience and "val" not in data.splits:
        raise ValueError(
            "early stopping (--patience) chooses by a validation split, and this data has none; "
            "hold one out with --val-share 0.1"
        )
    card = Card(
        model=name,
        task=data.task,
        architecture=declaration.to_dict(),
        classes=data.classes,
        settings=task_class(data.task).settings_of(targets),
        preprocessing=preprocessing,
        recipe=asdict(chosen) | {"name": recipe, "reasons": reasons},
        data={
            "source": data.source,
            "name": data.name,
            "format": data.format,
            "task": data.task,
            "fingerprint": data.fingerprint,
            "pictures": {split: len(dataset) for split, dataset in data.splits.items()},
            "splits_made": list(data.splits_made),
            "split_seed": data.split_seed,
            "val_share": data.val_share,
            "fold": data.fold,
            "ignore": data.ignore,
            "left_out": {picture.name: picture.reason for picture in data.unreadable},
        },
        provenance={
            "seed": chosen.seed,
            "weights": None if weights is None else weights.source,
            "command": shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),  # noqa: PTH119 - argv is no path here
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                package: version(package)
                for package in ("resnets", "torch", "torchvision", "lightning-fabric", "numpy", "pillow")
            },
        },
    )
    check_suited(chosen, card, network, data)
    return card


def check_task(name: str, declaration: Declaration, data: Data) -> None:
    """Raise ValueError for a network that cannot do the data's task, saying which could."""
    finds = isinstance(declaration, DetectorArchitecture)
    if finds and data.task != "detection":
        raise ValueError(f"{name} finds objects, and the task is {data.task}")
    if data.task == "detection" and not finds:
        raise ValueError(
            f"{name} alone finds no objects; say how, such as yolo_{name}, fasterrcnn_{name}_fpn or --model auto"
        )
    outlined = any(objects.outlines for objects in data.splits["train"].objects or ())
    if isinstance(declaration, DetectorArchitecture) and declaration.method == "maskrcnn" and not outlined:
        raise ValueError(
            f"{name} learns outlines, and {data.source} has none that are polygons; choose another detector, such as "
            f"{name.replace('maskrcnn', 'fasterrcnn')}"
        )
    makes = isinstance(declaration, UNetArchitecture)
    if makes and data.task != "generation":
        raise ValueError(f"{name} makes pictures, and the task is {data.task}; ask for it with --task generation")
    if data.task == "generation" and not makes:
        raise ValueError(f"{name} makes no pictures; choose one that does, such as {GENERATOR}, or --model auto")
    gives_masks = isinstance(declaration, SegmenterArchitecture)
    if gives_masks and data.task != "segmentation":
        raise ValueError(f"{name} gives every pixel a class, and the task is {data.task}")
    if data.task == "segmentation" and not gives_masks:
        raise ValueError(
            f"{name} alone gives no class to each pixel; say how, such as unet_{name}, deeplabv3plus_{name} or "
            "--model auto"
        )


def initial_weights(source: str | Path | None, model: str) -> Weights | None:
    """The weights that a training is asked to begin from.

    torchvision's are those of ResNet-18 unless `model` says, and of a decoder or detector that it does not have, the
    backbone's.
    """
    if source is None:
        return None
    name = "resnet18" if model == AUTO else model
    if (match := SEGMENTERS.fullmatch(name)) and match[1] not in DECODERS_OF_TORCHVISION:
        name = match[2]
    if (match := DETECTORS.fullmatch(name)) and name not in DETECTORS_OF_TORCHVISION:
        name = match[2]
    return find_weights(source, name)


def check_request(model: str, recipe: str, changes: Mapping[str, Any]) -> None:
    """Raise ValueError for what `plan` would refuse whatever the data is, before any of it is read."""
    shape, changes = split_changes(changes)
    if model != AUTO:
        reshaped(architecture(model), model, shape)
    changed(Recipe() if recipe == AUTO else load_recipe(recipe), changes)


def split_changes(changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is to change of the network's declaration, and what of all else, the recipe."""
    of_network = {field.name for family in FAMILIES for field in fields(family)}
    shape = {name: value for name, value in changes.items() if name in of_network}
    return shape, {name: value for name, value in changes.items() if name not in of_network}


def reshaped(declaration: Declaration, name: str, shape: Mapping[str, Any]) -> Declaration:
    """The declaration with other values for some fields; of what stands on a backbone, its own or the backbone's.

    Raises:
        ValueError: for a field that it does not have, or that the data decides.
    """
    if isinstance(declaration, DetectorArchitecture | SegmenterArchitecture):
        own = {field.name for field in fields(declaration)}
        outer = {key: value for key, value in shape.items() if key in own}
        inner = {key: value for key, value in shape.items() if key not in own}
        backbone = reshaped(declaration.backbone, name, inner)
        if fixed := sorted(set(outer) & set(BY_DATA)):
            raise ValueError(f"{', '.join(fixed)} is decided by the data and the name {name}; leave it out")
        return replace(declaration, backbone=backbone, **outer)
    free = [field.name for field in fields(declaration) if field.name not in BY_DATA]
    if fixed := sorted(set(shape) & set(BY_DATA)):
        raise ValueError(f"{', '.join(fixed)} is decided by the data; leave it out")
    if unknown := sorted(set(shape) - set(free)):
        raise ValueError(f"{name} has no {', '.join(unknown)} to change; there are {', '.join(free)}")
    return replace(declaration, **shape)


def recipe_of(card: Card) -> Recipe:
    """The recipe that a card keeps."""
    names = {field.name for field in fields(Recipe)}
    return Recipe.from_dict({name: value for name, value in card.recipe.items() if name in names}, "the card's recipe")


def scale_rate(
    recipe: Recipe, batch_size: int, pictures: int, changes: Mapping[str, Any]
) -> tuple[Recipe, dict[str, str]]:
    """The recipe at a rate for its batches, if it asks for that, and why; see `Recipe.scale_lr`.

    Args:
        recipe: with the batches that training takes.
        batch_size: pictures of the batches that its rate is for.
        pictures: of an epoch.
        changes: fields that were asked for; a warm-up among them stays as it is.
    """
    factor = recipe.batch_size / batch_size
    if not recipe.scale_lr or factor == 1:
        return recipe, {}
    times = f"times {factor:g}, as the batches are {recipe.batch_size} and not {batch_size} (arXiv:1706.02677)"
    reasons = {"lr": f"{recipe.lr:g} {times}"}
    warmup = recipe.warmup
    if factor > 1 and "warmup" not in changes:
        steps = -(-pictures // recipe.batch_size)
        warmup = max(warmup, min(WARMUP_EPOCHS * steps / recipe.total_steps(steps), LONGEST_WARMUP))
        reasons["warmup"] = f"{warmup:.3g} of the training, for the higher rate"
    return replace(recipe, lr=recipe.lr * factor, warmup=warmup), reasons


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with other values for some fields.

    What contradicts a new value, or would do nothing beside it, gives way unless it is given too, such as `steps` to
    `epochs`, or `nesterov` to another optimiser.

    Raises:
        ValueError: if a name is no field of a recipe, or a value does not fit.
    """
    values, default = dict(changes), Recipe()
    giving_way: list[tuple[bool, tuple[str, ...]]] = [
        ("epochs" in values, ("steps",)),
        ("lr" in values, ("find_lr",)),
        (bool(values.get("head_only")), (*IDLE_WITH_HEAD_ONLY, "head_first")),
        (bool(values.get("embedding")), ("projection",)),
        (values.get("optimizer", "sgd") != "sgd", ("nesterov",)),
        (values.get("margin") == "softmax", ("margin_size",)),
        (values.get("epochs") == 1, ("progressive",)),
        (values.get("flip") is False, ("flip_alternately",)),
        (values.get("pad") == 0, ("pad_mode",)),
        (values.get("schedule", "step") != "step", ("milestones", "gamma")),
    ]
    for gives_way, names in giving_way:
        if gives_way:
            values = {name: getattr(default, name) for name in names} | values
    return Recipe.from_dict(asdict(recipe) | values, origin="the recipe")
