"""How fast engines are here: pictures a second at full load, and the time from a picture to its answer.

The share of the machine's peak is that of multiply-adds, which are counted as two operations, in the fastest product of
matrices that this machine was seen to do in float32 or bfloat16. int8 has no such peak here: PyTorch's own product of
int8 matrices is no measure of it, so its speed is given beside bfloat16's peak, which it may exceed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from resnets.inference.choice import throughput
from resnets.inference.engines import Engine
from resnets.types import Preprocessing

SIDE = 1536
"""Side of the matrices whose product measures the peak: 28 MB in float32, more work than memory traffic."""

FEWEST = 20
"""Pictures whose times are taken at least."""


@dataclass(frozen=True)
class Speed:
    """What one engine does in one precision.

    Attributes:
        engine, precision: which.
        throughput: pictures a second, batches side by side as the engine likes them.
        latency: median, 95th and 99th percentile of the milliseconds that a single picture takes, from pixels on.
        share: of the machine's peak, 0 to 1; 0 until it is known.
        opening: seconds until the engine was ready.
    """

    engine: str
    precision: str
    throughput: float
    latency: tuple[float, float, float]
    share: float = 0.0
    opening: float = 0.0


def measure(
    name: str, precision: str, engine: Engine, preprocessing: Preprocessing, seconds: float, batch: int
) -> Speed:
    """Measure one engine, for so many seconds at full load, and as many picture by picture.

    Args:
        name, precision, engine: what is measured.
        preprocessing: of the card; it has the input's size.
        seconds: of each of the two.
        batch: pictures of a batch at full load.
    """
    height, width = preprocessing.size
    speed = throughput(engine, preprocessing, batch, seconds)
    single = torch.zeros(1, height, width, preprocessing.channels, dtype=torch.uint8)
    engine(single)
    times: list[float] = []
    while sum(times) < seconds or len(times) < FEWEST:
        began = time.perf_counter()
        engine(single)
        times.append(time.perf_counter() - began)
    median, late, latest = (1000 * float(share) for share in np.percentile(times, (50, 95, 99)))
    return Speed(name, precision, speed, (median, late, latest))


def matrix_peak(precision: str, device: torch.device, seconds: float = 0.5) -> float:
    """Operations a second of a product of two large matrices, the best of several; int8 is measured in bfloat16."""
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    a, b = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * SIDE**3 / best


def draw(speeds: Sequence[Speed], title: str) -> Figure:
    """Throughput as bars, latency as a line from the median to the 99th percentile."""
    names = [f"{speed.engine}, {speed.precision}" for speed in speeds]
    figure = Figure(figsize=(9, 1.4 + 0.45 * len(speeds)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows = np.arange(len(speeds))
    bars = left.barh(rows, [speed.throughput for speed in speeds], color="#4477aa", height=0.6)
    left.bar_label(bars, fmt="{:,.0f}", padding=3)
    left.set(xlabel="pictures a second", yticks=rows, yticklabels=names)
    left.set_xlim(right=1.15 * max(speed.throughput for speed in speeds))
    for row, speed in zip(rows, speeds, strict=True):
        median, late, latest = speed.latency
        right.plot([median, latest], [row, row], color="#bbbbbb", linewidth=3, zorder=1)
        right.scatter([median, late, latest], [row] * 3, color=["#4477aa", "#ccbb44", "#aa3377"], s=28, zorder=2)
    right.set(xlabel="one picture, ms: median, 95 %, 99 %")
    right.set_xlim(left=0)
    left.invert_yaxis()
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    figure.suptitle(title, x=0.01, ha="left")
    return figure
