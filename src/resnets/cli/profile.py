"""`resnets profile`: what a network costs."""

from __future__ import annotations

from json import dumps
from typing import Annotated, Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from resnets.insight.profile import Profile, StageProfile
from resnets.insight.profile import profile as profile_network
from resnets.networks.catalogue import FAMILIES, architecture
from resnets.networks.detector import DetectorArchitecture
from resnets.networks.segmenter import SegmenterArchitecture
from resnets.weights.models import create_model

NOTES = """\

Multiply-adds  of convolutions and linear layers; the papers call one a FLOP
Activations    elements of what the convolutions give
Weights        bytes of parameters and buffers
Kept           bytes kept for the backward pass, for each picture of a batch
Alive          bytes of tensors, weights apart, alive at one time in inference
               All bytes are those of float32."""


def profile(
    name: str,
    size: int | tuple[int, int] | None = None,
    json: bool = False,
    **changes: Annotated[Any, *FAMILIES, ("method", "backbone")],
) -> None:
    """Print a network's parameters, multiply-adds, activations and memory, by stage and in total.

    The flags after `--json` change the declaration of the network: `--stride-at 1x1 --shortcut C`.

    Args:
        name: a name that `resnets models` lists.
        size: side of the picture in pixels, or [height,width]; by default the size it was published for.
        json: print all figures as a JSON object instead of a table.
        changes: fields of the declaration that take other values.
    """
    if size is not None and min(size if isinstance(size, tuple) else (size,)) < 1:
        raise ValueError(f"--size must be at least 1 pixel, not {size}")
    declaration = architecture(name)
    if isinstance(declaration, DetectorArchitecture):
        backbone = name.partition("_")[2].removesuffix("_fpn")
        raise ValueError(f"{name} is a detector, whose cost depends on what it finds; `resnets profile {backbone}`")
    if isinstance(declaration, SegmenterArchitecture):
        backbone = name.partition("_")[2]
        raise ValueError(f"{name} is a decoder on a backbone, which alone is profiled; `resnets profile {backbone}`")
    options = {"num_classes": declaration.num_classes, "in_channels": declaration.in_channels} | changes
    with torch.device("meta"):  # a network without values, made at once
        network: Any = create_model(name, **options)
    if size is None:
        size = network.architecture.published_size
    result = profile_network(network, (size, size) if isinstance(size, int) else size)
    layers = network.architecture.layers
    if json:
        described = {"name": name, "layers": layers, "architecture": network.architecture.to_dict()}
        print(dumps(described | result.to_dict(), indent=2))
    else:
        print_profile(f"{name}, {layers} layers", result)


def print_profile(title: str, result: Profile) -> None:
    """A line a stage, the total, and what the columns mean, in 80 columns."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("Stage")
    for heading in ("Output", "Params", "Multiply-\nadds", "Activ-\nations", "Weights", "Kept", "Alive"):
        table.add_column(heading, justify="right")
    for stage in result.stages:
        table.add_row(*_cells(stage))
    table.add_section()
    table.add_row(*_cells(result.total), style="bold")
    height, width = result.size
    console = Console(highlight=False)
    console.print(f"[bold]{title}[/], for a picture of {result.channels}x{height}x{width}\n")
    console.print(table)
    console.print(f"\nInference on one picture holds [bold]{short(result.inference_bytes)}B[/] at its peak.")
    console.print(f"[dim]{NOTES}[/]")


def _cells(stage: StageProfile) -> tuple[str, ...]:
    counts = (stage.parameters, stage.multiply_adds, stage.activations)
    sizes = (stage.parameter_bytes, stage.kept_bytes, stage.peak_bytes)
    output = "x".join(map(str, stage.output))
    return (stage.name, output, *map(short, counts), *(f"{short(size)}B" for size in sizes))


def short(number: int) -> str:
    """Three digits and a unit: 1,234,567 is "1.23 M"."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= 0.9995 * size:
            return f"{number / size:#.3g}".rstrip(".") + f" {unit}"
    return f"{number} "
