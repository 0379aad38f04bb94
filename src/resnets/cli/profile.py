"""`resnets profile`: what a network costs."""

from __future__ import annotations

from json import dumps
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from resnets.blocks.stems import Stem
from resnets.insight.profile import Profile, StageProfile, published_size
from resnets.insight.profile import profile as profile_network
from resnets.layers.shortcuts import Shortcut
from resnets.networks.architecture import StrideAt
from resnets.networks.catalogue import architecture
from resnets.weights.models import create_model

NOTES = """\
Multiply-adds: of convolutions and linear layers; one is what the papers count as one FLOP.
Activations: elements of the outputs of convolutions.
Kept: bytes that training keeps for the backward pass, for each picture of a batch, in float32.
Alive: bytes of tensors alive at one time in inference on one picture, at most, without the weights."""


def profile(
    name: str,
    size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    in_channels: int = 3,
    depths: tuple[int, ...] | None = None,
    shortcut: Shortcut | None = None,
    stride_at: StrideAt | None = None,
    stem: Stem | None = None,
    output_stride: int | None = None,
    json: bool = False,
) -> None:
    """Print a network's parameters, multiply-adds, activations and memory, by stage and in total.

    Args:
        name: a name that `resnets models` lists.
        size: side of the picture in pixels, or [height,width]; by default the size it was published for.
        num_classes: outputs of the classifier, 0 for none; by default as many as it was published with.
        in_channels: channels of the picture.
        depths: blocks in each stage, such as [3,4,6,3].
        shortcut: A (zero-padded), B (projected where the shape changes), C (projected everywhere), D (averaged, then
            projected), identity, or none for the plain network.
        stride_at: the convolution of a bottleneck that has the stride: 3x3, or 1x1 as in arXiv:1512.03385.
        stem: imagenet, deep or cifar.
        output_stride: 8 or 16 to dilate the last stages.
        json: print all figures as a JSON object instead of a table.
    """
    declaration = architecture(name)
    options: dict[str, Any] = {
        "depths": depths,
        "shortcut": shortcut,
        "stride_at": stride_at,
        "stem": stem,
        "output_stride": output_stride,
    }
    changes = {field: value for field, value in options.items() if value is not None}
    classes = declaration.num_classes if num_classes is None else num_classes
    with torch.device("meta"):  # a network without values, made at once
        network: Any = create_model(name, classes, in_channels, **changes)
    if size is None:
        size = published_size(network.architecture)
    result = profile_network(network, (size, size) if isinstance(size, int) else size)
    layers = network.architecture.layers
    if json:
        described = {"name": name, "layers": layers, "architecture": network.architecture.to_dict()}
        print(dumps(described | result.to_dict(), indent=2))
    else:
        _print(f"{name}, {layers} layers", result)


def _print(title: str, result: Profile) -> None:
    height, width = result.size
    table = Table(box=SIMPLE_HEAD, show_footer=False)
    table.add_column("Stage", no_wrap=True)
    for heading in ("Output", "Parameters", "Multiply-\nadds", "Activations", "Weights", "Kept", "Alive"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in result.stages:
        table.add_row(*_cells(stage))
    table.add_section()
    table.add_row(*_cells(result.total), style="bold")
    console = Console()
    console.print(f"[bold]{title}[/], for a picture of {result.channels} x {height} x {width}", highlight=False)
    console.print(table)
    console.print(f"[dim]{NOTES}[/]", highlight=False)
    console.print(
        f"Inference on one picture holds [bold]{decimal(result.inference_bytes)}[/] at its peak.",
        highlight=False,
    )


def _cells(stage: StageProfile) -> tuple[str, ...]:
    return (
        stage.name,
        " x ".join(map(str, stage.output)),
        _short(stage.parameters),
        _short(stage.multiply_adds),
        _short(stage.activations),
        decimal(stage.parameter_bytes),
        decimal(stage.kept_bytes),
        decimal(stage.peak_bytes),
    )


def _short(number: int) -> str:
    """Four digits and a unit: 25.56 M."""
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.4g} {name}"
    return str(number)
