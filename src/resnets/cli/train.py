"""`resnets train`: from a data set to a finished run."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console

from resnets.data.opening import open_dataset
from resnets.networks.catalogue import FAMILIES
from resnets.training import train as training
from resnets.training.engine import LONGEST_WAIT
from resnets.training.folds import cross_validate
from resnets.training.job import CHECKPOINT_EVERY
from resnets.training.memory import Memory
from resnets.training.plan import BY_DATA, initial_weights, plan
from resnets.training.recipe import Recipe


def train(
    data: str | None = None,
    /,
    run: Path | None = None,
    model: str = "auto",
    recipe: str = "auto",
    task: str = "auto",
    size: int | None = None,
    val_share: float | None = None,
    folds: int = 0,
    ignore: str | None = None,
    weights: str | None = None,
    resume: Path | None = None,
    overwrite: bool = False,
    max_unreadable: float = 0.01,
    precision: str = "auto",
    memory: Memory = "high",
    accelerator: str = "auto",
    devices: int | str = "auto",
    nodes: int | None = None,
    strategy: str = "auto",
    longest_wait: float = LONGEST_WAIT,
    workers: int | None = None,
    cache: str | None = None,
    checkpoint_every: float = CHECKPOINT_EVERY,
    logger: str | None = None,
    print_config: bool = False,
    **changes: Annotated[Any, Recipe, *FAMILIES, BY_DATA],
) -> None:
    """Train a network on a data set and write weights, card, metrics and report into a run's folder.

    Ctrl-C stops between two steps; `--resume RUN` goes on exactly there. The flags after `--print-config` are the
    recipe's and the network's: each changes one field.

    Args:
        data: a folder of class folders, a tar or zip of one, a CSV or Parquet table, WebDataset's shards in a folder or
            behind an address (https://..., s3://...), hf:OWNER/NAME, or a built-in name such as digits or cifar10; of
            objects, boxes in the layout of Pascal VOC, COCO or YOLO; of pixels, masks beside pictures, of Pascal VOC,
            or COCO's outlines (the last two with --task segmentation).
        run: the folder to write; by default runs/DATA-MODEL, numbered where that is taken.
        model: a name that `resnets models` lists; auto takes resnet20 for small pictures, resnet18 for larger ones. Of
            detectors, METHOD_NAME: fasterrcnn_resnet50_fpn, maskrcnn_..._fpn, retinanet_..._fpn, fcos_..._fpn,
            yolo_resnet18. For a class of every pixel, a decoder before a name: unet_resnet18, deeplabv3_..., fcn_...,
            deeplabv3plus_..., fpn_.... Of networks that make pictures, flow_unet_tiny (auto's up to 16 pixels),
            flow_unet_small (auto's beyond) or flow_unet_base.
        recipe: detection, fast, finetune, generation, paper-cifar, paper-imagenet, photographs, quick, recognition,
            segmentation, a YAML file, or auto, which picks by the data.
        task: classification, detection, multilabel, regression or segmentation; auto does what the data's targets ask
            for. Of any classes, too: recognition, to tell pictures of classes that are not trained on apart by how
            alike they are; generation, to learn to make pictures of each class.
        size: side of the network's input in pixels; by default what suits the pictures.
        val_share: share of the training pictures, or of the classes to recognise, to hold out for validation where the
            data has no such split.
        folds: cross-validate: train as often as there are folds, each judged on pictures that it has not seen, and
            give the spread; the same command again goes on where it stopped.
        ignore: of masks, a class whose pixels count neither way.
        weights: to begin from: torchvision, torchvision:NAME, hf:OWNER/NAME, https://...#sha256=HASH, a run's folder,
            or a file of tensors. Its preprocessing and, with model auto, its network are taken over.
        resume: the run to go on with; it knows its data, network and recipe, and takes the flags of machines alone.
        overwrite: replace the run's folder if it is there.
        max_unreadable: the share of unreadable pictures past which training refuses to start.
        precision: auto (bfloat16 where the hardware computes in it), 32-true, bf16-mixed or 16-mixed.
        memory: low computes the maps of residual blocks again rather than keep them: the same training in a fraction
            of the memory, for a third more work.
        accelerator: cpu, cuda, mps or auto.
        devices: processes on this node; auto is as many as torchrun or srun has started, otherwise one on a CPU and one
            for each GPU.
        nodes: machines, under torchrun or srun, which say how many unless given.
        strategy: ddp has the network in every process, fsdp a part of it; auto is ddp where there are several.
        longest_wait: seconds that a process waits for the others before the training stops.
        workers: processes that decode pictures beside the training; by default one a processor. With 0 threads decode
            each batch before it is used, which on a CPU is steadier where epochs are short.
        cache: a folder in which decoded pictures are kept for this and later trainings, where they do not fit into
            memory; or "memory" to keep them there, however many.
        checkpoint_every: seconds after which a checkpoint is written within an epoch; after an epoch there is one, too.
        logger: tensorboard, or the full name of a Lightning logger class; metrics.csv is always written. With --resume
            one that is not Lightning's own has to be named again.
        print_config: print the card of what would run, and stop.
        changes: fields of the recipe and of the network that take other values.
    """
    machine: dict[str, Any] = {
        "accelerator": accelerator,
        "devices": devices,
        "nodes": nodes,
        "strategy": strategy,
        "longest_wait": longest_wait,
        "workers": workers,
        "cache": cache,
        "checkpoint_every": checkpoint_every,
    }
    options: dict[str, Any] = {
        "run": run,
        "model": model,
        "recipe": recipe,
        "task": task,
        "size": size,
        "val_share": val_share,
        "ignore": ignore,
        "weights": weights,
        "max_unreadable": max_unreadable,
        "overwrite": overwrite,
        "precision": precision,
        "memory": memory,
    }
    if resume is not None:
        if data is not None or changes:
            raise ValueError("--resume goes on as the run was started: leave out DATA and the recipe's flags")
        asked = options | {"folds": folds, "print_config": print_config}
        defaults = signature(train).parameters
        if idle := [name for name, value in asked.items() if value != defaults[name].default]:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
            raise ValueError(f"--resume goes on as the run was started: leave out {flags}")
        training.resume(resume, logger=logger, **machine)
    elif data is None:
        raise ValueError("give the data to train on, such as `resnets train digits`, or a run to --resume")
    elif print_config and folds:
        raise ValueError("--print-config prints the card of one training, and --folds asks for several; leave one out")
    elif print_config:
        card = plan(
            open_dataset(data, task=task, val_share=val_share, ignore=ignore),
            model=model,
            recipe=recipe,
            size=size,
            weights=initial_weights(weights, model),
            changes=changes,
        )
        Console().print_json(card.to_json())
    else:
        options |= {"logger": logger, **machine, **changes}
        if folds:
            cross_validate(data, folds, **options)
        else:
            training.train(data, **options)
