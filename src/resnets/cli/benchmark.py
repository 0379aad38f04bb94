"""`resnets benchmark`: how fast a network is here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from json import dumps
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import nn

from resnets.inference.benchmark import Speed, draw, matrix_peak, measure
from resnets.inference.choice import installed_engines
from resnets.inference.engines import PRECISIONS, Engine, engine_class, open_engine
from resnets.inference.exported import FORMATS, chosen_device, open_export
from resnets.inference.machine import processor_name
from resnets.insight.profile import multiply_adds
from resnets.networks.catalogue import build, declaration_from_dict
from resnets.networks.detector import Detector
from resnets.networks.segmenter import Segmenter
from resnets.networks.unet import UNet
from resnets.runs.card import Card
from resnets.runs.run import Run, find_run
from resnets.tasks import task_class
from resnets.types import Fit, Preprocessing
from resnets.weights.models import create_model


def benchmark(
    run: str,
    engine: str = "",
    precision: str = "",
    batch_size: int = 16,
    seconds: float = 5.0,
    size: int | None = None,
    device: str | None = None,
    figure: Path | None = None,
    json: bool = False,
) -> None:
    """Measure pictures a second at full load and the time of a single picture, by engine and precision.

    Of a detector the choice of boxes is measured, too; the share of the machine's peak is of what comes before it.

    Args:
        run: the run's folder, an export, the name of a run in the package, or of a network that `resnets models`
            lists, whose weights are then random.
        engine: one or several of eager, compiled, onnxruntime, openvino, with commas between; by default all that are
            installed but compiled, which takes a minute or more to compile.
        precision: one or several of float32 and bfloat16, with a comma between; by default all that the machine
            computes in. An export has one.
        batch_size: pictures of a batch at full load.
        seconds: how long each is measured, twice.
        size: side of a named network's input in pixels; by default what it was published for.
        device: cpu, cuda...; by default a GPU if there is one, and the CPU where an export is for it.
        figure: write a figure to this file, .svg or .png.
        json: print one JSON object.
    """
    if batch_size < 1 or seconds <= 0:
        raise ValueError("--batch-size must be at least 1, and --seconds above 0")
    found = find_run(run)
    where = chosen_device(device, found.card() if found.card_path.is_file() else None)
    console = Console(stderr=json)
    speeds: list[Speed] = []
    work: list[int] = []
    peaks: dict[str, float] = {}
    for candidate in candidates(run, engine, precision, size, where):
        began = time.perf_counter()
        ready = candidate.open()
        opening = time.perf_counter() - began
        kind = candidate.precision
        peaks[kind] = max(peaks.get(kind, 0.0), matrix_peak(kind, where))  # the machine may be busy at times
        measured = measure(candidate.engine, kind, ready, candidate.preprocessing, seconds, batch_size)
        speeds.append(replace(measured, opening=opening))
        work.append(2 * candidate.multiply_adds)
    if not speeds:
        raise ValueError(f"no engine here computes {run} in {precision}, so there is nothing to measure")
    speeds = [
        replace(speed, share=operations * speed.throughput / peaks[speed.precision])
        for speed, operations in zip(speeds, work, strict=True)
    ]
    title = f"{run}, {where}, {torch.get_num_threads()} threads, batches of {batch_size}"
    if json:
        peak = {name: operations for name, operations in peaks.items() if name != "int8"}
        print(dumps({"run": run, "machine": processor_name(), "peak": peak, "speeds": list(map(asdict, speeds))}))
    else:
        console.print(_table(title, speeds))
    if figure is not None:
        figure.parent.mkdir(parents=True, exist_ok=True)
        draw(speeds, title).savefig(figure, dpi=150)
        console.print(f"figure {figure}", highlight=False)


@dataclass(frozen=True)
class Candidate:
    """An engine and precision to measure, and the multiply-adds of a picture."""

    engine: str
    precision: str
    preprocessing: Preprocessing
    multiply_adds: int
    open: Callable[[], Engine]


def candidates(run: str, engines: str, precisions: str, size: int | None, device: torch.device) -> Iterator[Candidate]:
    """What there is to measure of a run, an export or a named network.

    Raises:
        ValueError: if there is no such precision, an export or a run is asked for at another size, or an engine does
            not compute so.
    """
    for precision in precisions.split(",") if precisions else ():
        if precision not in PRECISIONS:
            raise ValueError(f"a precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    found = find_run(run)
    if found.card_path.is_file():
        if size is not None:
            raise ValueError("--size is of networks by name; a run has the size that it was trained at")
        card = found.finished_card()
        if not task_class(card.task).tells:
            raise ValueError(f"{run} makes pictures in as many steps as are asked for: time `resnets generate`")
        if card.export:
            yield _export(found, card, engines, precisions, device)
            return
        network, preprocessing = found.network(), card.preprocessing
    else:
        network, preprocessing = _named(run, size)
    work = multiply_adds(network, preprocessing.size)
    for name in engines.split(",") if engines else installed_engines(device):
        able = engine_class(name).precisions
        for precision in precisions.split(",") if precisions else able:
            if precision in able or engines:
                opened = partial(open_engine, name, network, preprocessing, precision, device)
                yield Candidate(name, precision, preprocessing, work, opened)


def _export(run: Run, card: Card, engines: str, precisions: str, device: torch.device) -> Candidate:
    name, precision = FORMATS[card.export["format"]], card.export["precision"]
    if engines not in ("", name) or precisions not in ("", precision):
        raise ValueError(f"{run.folder} is an export for {name} in {precision}; leave --engine and --precision out")
    if card.export["preprocess"]:
        raise ValueError(
            f"{run.folder} takes pictures of any size, so no speed is its own; export without --preprocess"
        )
    members = [each["architecture"] for each in card.export.get("members", ())] or [card.architecture]
    networks = [build(declaration_from_dict(each)) for each in members]
    work = sum(multiply_adds(network, card.preprocessing.size) for network in networks)
    return Candidate(name, precision, card.preprocessing, work, partial(open_export, run.folder, card, device))


def _named(name: str, size: int | None) -> tuple[nn.Module, Preprocessing]:
    """A network with random weights, and pixels such as it may see."""
    network: Any = create_model(name).eval()
    if isinstance(network, UNet):
        raise ValueError(f"{name} makes pictures in as many steps as are asked for: time `resnets generate`")
    side = network.architecture.published_size if size is None else (size, size)
    channels = network.architecture.in_channels
    fit: Fit = "contain" if isinstance(network, Detector | Segmenter) else "cover"
    return network, Preprocessing(side, channels, (0.5,) * channels, (0.25,) * channels, fit=fit)


def _table(title: str, speeds: list[Speed]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("Engine")
    table.add_column("Precision")
    for heading in ("Pictures/s", "Share of peak", "One picture, ms", "95th", "99th", "Opened in, s"):
        table.add_column(heading, justify="right")
    for speed in speeds:
        table.add_row(
            speed.engine,
            speed.precision,
            f"{speed.throughput:,.0f}" if speed.throughput >= 10 else f"{speed.throughput:.1f}",
            f"{speed.share:.0%}" if speed.share else "-",
            *(f"{milliseconds:.2f}" for milliseconds in speed.latency),
            f"{speed.opening:.1f}",
        )
    return table
