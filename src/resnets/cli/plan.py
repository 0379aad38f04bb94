"""`resnets plan`: what a training will take."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from resnets.data.decoding import encoded
from resnets.data.opening import open_dataset
from resnets.insight.profile import totals
from resnets.networks.catalogue import architecture
from resnets.networks.detector import DetectorArchitecture
from resnets.networks.segmenter import SegmenterArchitecture
from resnets.networks.unet import UNetArchitecture
from resnets.training.budget import EFFICIENCY, KNOWN, Known, budget, measure
from resnets.training.conclusion import duration
from resnets.training.engine import create_engine
from resnets.training.plan import AUTO, changed, scale_rate
from resnets.training.recipe import Recipe, list_recipes, load_recipe

FILES_WEIGHED = 100
"""Pictures whose files tell how large they are on average."""

RECIPES = {"imagenet": "paper-imagenet", "cifar10": "paper-cifar"}


def plan(
    data: str,
    model: str = "resnet50",
    recipe: str = "",
    size: int | None = None,
    devices: int = 1,
    throughput: float | None = None,
    device_name: str | None = None,
    efficiency: float = EFFICIENCY,
    cost_per_hour: float | None = None,
    measured_batch: int = 16,
    seconds: float = 20.0,
    precision: str = "auto",
    json: bool = False,
    **changes: Annotated[Any, Recipe],
) -> None:
    """Print the steps, time and cost of a training before it is begun, and where each number comes from.

    The speed of a device is given with --throughput, or measured on this machine by some training steps.

    Args:
        data: imagenet or cifar10, by their published numbers, or data that `resnets train` takes.
        model: a name of the catalogue.
        recipe: as `resnets train` takes it; by default paper-imagenet, of cifar10 paper-cifar.
        size: side of the network's input in pixels; by default what it was published for.
        devices: that train together.
        throughput: training pictures a second of one device.
        device_name: what `throughput` was measured on.
        efficiency: of several devices, the share of their added speeds.
        cost_per_hour: of one device, in any currency.
        measured_batch: pictures a step where the speed is measured.
        seconds: how long it is measured.
        precision: as `resnets train` takes it.
        json: print one JSON object.
        changes: fields of the recipe that take other values, such as `--epochs 90 --batch-size 1024 --scale-lr`.
    """
    if device_name is not None and throughput is None:
        raise ValueError(f"the speed of {device_name} cannot be measured here; give it with --throughput")
    if recipe == AUTO:
        raise ValueError(f"plan asks for the recipe by its name: {', '.join(list_recipes())}, or a .yaml file")
    known = numbers_of(data)
    declared = architecture(model)
    if throughput is None and isinstance(declared, DetectorArchitecture | SegmenterArchitecture | UNetArchitecture):
        raise ValueError(
            f"only networks that classify pictures are measured here, and {model} is none; give its pictures a second "
            "with --throughput"
        )
    side = size or declared.published_size[0]
    base = load_recipe(recipe or RECIPES.get(data, "paper-imagenet"))
    chosen, reasons = scale_rate(changed(base, changes), base.batch_size, known.train, changes)
    if throughput is None:
        measured = measure(
            model, known.classes, side, measured_batch, chosen, create_engine(precision, devices=1), seconds
        )
        throughput = measured.throughput
        speed = f"measured on {measured.device}: {measured.steps} steps of {measured_batch}, {measured.precision}"
    else:
        speed = f"given, of {device_name}" if device_name else "given"
    needed = budget(known, chosen, throughput, devices, efficiency, cost_per_hour)
    multiply_adds = totals(declared, (side, side))[1]
    if json:
        print(dumps({"budget": asdict(needed), "throughput": throughput, "speed": speed, "data": asdict(known)}))
        return
    together = "one device" if devices == 1 else f"{devices} x {throughput:,.0f} x {efficiency:g}"
    if devices > 1:
        together += "; 0.9 from 8 to 256 GPUs in arXiv:1706.02677" if efficiency == EFFICIENCY else "; given"
    table = Table(title=f"{model} on {data}, input {side} x {side}", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("What")
    table.add_column("Number", justify="right")
    table.add_column("From", overflow="fold")
    rows = [
        ("training pictures", f"{known.train:,}", known.source),
        ("epochs", f"{needed.epochs:.4g}", f"recipe {recipe or RECIPES.get(data, 'paper-imagenet')}"),
        ("pictures a step", f"{chosen.batch_size:,}", "recipe, over all devices"),
        ("learning rate", f"{chosen.lr:g}", reasons.get("lr", "recipe")),
        ("steps", f"{needed.steps:,}", "epochs x pictures / pictures a step"),
        (
            "multiply-adds a picture",
            f"{multiply_adds / 1e9:.2f} G",
            "counted, forward; training takes three times",
        ),
        ("pictures/s of one device", f"{throughput:,.1f}", speed),
        ("pictures/s together", f"{needed.throughput:,.1f}", together),
        ("files to read", f"{needed.read / 1e6:,.1f} MB/s", f"{known.bytes / 1000:,.0f} kB a picture"),
        ("evaluation", f"{needed.evaluated:,} pictures", "recipe; a third of a training picture's time each"),
        ("time", duration(3600 * needed.hours), "pictures / pictures/s, without starting and saving"),
        ("device hours", f"{needed.device_hours:,.1f}", "time x devices"),
    ]
    if needed.cost is not None:
        rows.append(("cost", f"{needed.cost:,.2f}", f"device hours x {cost_per_hour:g}, given"))
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def numbers_of(data: str) -> Known:
    """The numbers of a data set that is known, or that is here."""
    if data in KNOWN:
        return KNOWN[data]
    opened = open_dataset(data)
    val = opened.splits.get("val", opened.splits.get("test", ()))
    pictures = opened.splits["train"]
    few = pictures.sample(FILES_WEIGHED)
    size = sum(len(encoded(few.open(i))[0]) for i in range(len(few))) // len(few)
    return Known(len(pictures), len(val), len(opened.classes), size, f"counted in {data}")
