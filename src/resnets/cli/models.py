"""`resnets models`: what networks there are."""

from __future__ import annotations

from json import dumps

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from resnets.cli.profile import short
from resnets.insight.profile import totals
from resnets.networks.catalogue import PATTERNS, architecture, list_models
from resnets.networks.detector import METHODS


def models(pattern: str = "*", /, json: bool = False) -> None:
    """List the networks of the catalogue, with their costs at the picture size they are published for.

    Multiply-adds are those of convolutions and linear layers; one is what the papers count as one FLOP.

    Args:
        pattern: list only names that match it, such as 'resnet*' or '*_bn'.
        json: print a JSON list instead of a table.

    Raises:
        ValueError: if no name matches.
    """
    rows = []
    for name in list_models(pattern):
        declaration = architecture(name)
        size = declaration.published_size
        parameters, multiply_adds = totals(declaration, size)
        rows.append((name, declaration.layers, parameters, multiply_adds, size, declaration.source))
    if not rows:
        raise ValueError(f"no network's name matches {pattern!r}; `resnets models` lists them all")
    if json:
        keys = ("name", "layers", "parameters", "multiply_adds", "size", "source")
        print(dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("Name")
    for heading in ("Layers", "Parameters", "Multiply-adds", "Size"):
        table.add_column(heading, justify="right")
    table.add_column("Source")
    for name, layers, parameters, multiply_adds, (height, width), source in rows:
        table.add_row(name, str(layers), short(parameters), short(multiply_adds), f"{height}x{width}", source)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"\n[dim]CIFAR's, any depth: {', '.join(PATTERNS)}[/]")
    console.print(
        f"[dim]Detectors on any of them: {', '.join(f'{m}_NAME' for m in METHODS)}, with _fpn for a pyramid[/]"
    )
