"""A server under load, beside the predictor alone on the same machine.

resnet18 at 224 with random weights and JPEG files of 500 x 375 that are made here. The server runs in a process of its
own, as `resnets serve` starts it; the load comes from another. Measured are

    predictor    `Predictor.predict` over the bytes of the files
    full load    as many requests at a time as keep the server busy, one picture each
    70 % load    requests at random moments, 70 % of what full load gave: the median and the 99th percentile
    overload     more requests at a time than the queue takes: nothing but answers and 503

    python benchmarks/serve_load.py --json serve.json
    python benchmarks/serve_load.py --minutes 30 --figure memory.png    # 70 % load for so long, and the server's memory

Beside the figures stands what they should be: `BOUNDS`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from common import parser
from inference import IMAGENET, below, make_pictures
from matplotlib.figure import Figure

from resnets.inference.machine import keep_freed_memory
from resnets.inference.predictor import load
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.weights.models import create_model

QUEUE = 128

BOUNDS = {
    "full_load_by_predictor": "at least 0.85",
    "p99_by_median": "below 5",
    "errors_at_full_load": "0",
    "errors_at_70": "0",
    "overload_others": "0",
    "errors_in_the_long_run": "0",
    "memory_growth_mb": "below 20",
}

SAMPLES = 30
"""Of the memory, at least, however long it is watched."""


class Client:
    """Connections that are kept open and requests that are written beforehand, so that the load itself costs little."""

    def __init__(self, port: int, pictures: list[bytes]) -> None:
        self.port = port
        head = "POST /v1/predict?top=1 HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"
        self.requests = cycle([head.format(len(picture)).encode() + picture for picture in pictures])
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self) -> tuple[int, float]:
        """The status of one request and the seconds until its answer."""
        began, request = time.perf_counter(), next(self.requests)
        while self.idle:
            reader, writer = self.idle.pop()
            writer.write(request)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                break
            except (asyncio.IncompleteReadError, ConnectionError):  # it was idle for too long, and closed
                writer.close()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        if b"connection: close" in head:
            writer.close()
        else:
            self.idle.append((reader, writer))
        return int(head[9:12]), time.perf_counter() - began

    async def closed_loop(self, at_a_time: int, seconds: float) -> tuple[float, Counter[int]]:
        """Answers a second, and how often each status came, with so many requests always on their way."""
        until, statuses = time.perf_counter() + seconds, Counter[int]()

        async def one() -> None:
            while time.perf_counter() < until:
                status, _ = await self.ask()
                statuses[status] += 1

        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(at_a_time)))
        return statuses[200] / (time.perf_counter() - began), statuses

    async def open_loop(self, rate: float, seconds: float) -> tuple[list[float], Counter[int]]:
        """The seconds of each answer and the statuses, at random moments with a mean rate, whatever the answers do."""
        moments, statuses, times = random.Random(0), Counter[int](), []
        asking: set[asyncio.Task[None]] = set()

        async def one() -> None:
            status, took = await self.ask()
            statuses[status] += 1
            times.append(took)

        due = time.perf_counter()
        until = due + seconds
        while due < until:
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            task = asyncio.create_task(one())
            asking.add(task)
            task.add_done_callback(asking.discard)
            due += moments.expovariate(rate)
        await asyncio.gather(*asking)
        return times, statuses


def resident_mb(process: int) -> float:
    """Memory of a process, MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def predictor_alone(run: Path, options: dict[str, str], pictures: list[bytes], seconds: float) -> float:
    predictor = load(run, "cpu", **options)
    list(predictor.predict(pictures[:32], top=1))
    until, count, began = time.perf_counter() + seconds, 0, time.perf_counter()
    while time.perf_counter() < until:
        count += sum(1 for _ in predictor.predict(islice(cycle(pictures), 256), top=1))
    return count / (time.perf_counter() - began)


def start_server(run: Path, options: dict[str, str]) -> tuple[subprocess.Popen[str], int]:
    flags = [item for name, value in options.items() for item in (f"--{name}", value)]
    command = [sys.executable, "-m", "resnets.cli.main", "serve", str(run), "--port", "0", "--rate", "0", *flags]
    command += ["--queue", str(QUEUE), "--device", "cpu"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    text = ""
    while not (address := re.search(r"http://127.0.0.1:\s*(\d+)", text)):
        line = server.stdout.readline()
        if not line:
            raise OSError("the server did not start")
        text += line
    return server, int(address[1])


async def measure(port: int, pictures: list[bytes], seconds: float) -> dict[str, float]:
    client = Client(port, pictures)
    await client.closed_loop(16, min(seconds, 5))
    full, statuses = await client.closed_loop(48, seconds)
    figures = {"full_load": full, "errors_at_full_load": statuses.total() - statuses[200]}
    times, statuses = await client.open_loop(0.7 * full, seconds)
    times.sort()
    figures |= {"median_ms": 1e3 * median(times), "p99_ms": 1e3 * times[int(0.99 * len(times))]}
    figures |= {"p99_by_median": times[int(0.99 * len(times))] / median(times)}
    figures |= {"errors_at_70": statuses.total() - statuses[200]}
    _, statuses = await client.closed_loop(3 * QUEUE, seconds)
    others = statuses.total() - statuses[200] - statuses[503]
    figures |= {"overload_200": statuses[200], "overload_503": statuses[503], "overload_others": others}
    return figures


async def watch(port: int, process: int, pictures: list[bytes], rate: float, minutes: float) -> list[dict[str, float]]:
    """The server's memory and its answers, for so many minutes at so many requests a second."""
    client, rows, count = Client(port, pictures), [], max(round(minutes), SAMPLES)
    for number in range(1, count + 1):
        _, statuses = await client.open_loop(rate, 60 * minutes / count)
        rows.append(
            {
                "minute": number * minutes / count,
                "memory_mb": resident_mb(process),
                "answers": statuses[200],
                "errors": statuses.total() - statuses[200],
            }
        )
        row = rows[-1]
        print(
            f"minute {row['minute']:.1f}: {row['memory_mb']:,.0f} MB, {statuses[200]} answers, {row['errors']} errors"
        )
    return rows


def growth(rows: list[dict[str, float]]) -> float:
    """Memory of the last third, median, less that of the second; the first third is for what is made at first use."""
    third = len(rows) // 3
    second, last = (median(row["memory_mb"] for row in part) for part in (rows[third : 2 * third], rows[2 * third :]))
    return last - second


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Memory and answers over time, as PNG."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    memory, answers = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    minutes = [row["minute"] for row in rows]
    memory.plot(minutes, [row["memory_mb"] for row in rows], color="#0a5ea8")
    most = max(row["memory_mb"] for row in rows)
    memory.set(ylabel="resident memory, MB", ylim=(0, 1.2 * most), title="resnets serve at 70 % load")
    answers.plot(minutes, [row["answers"] for row in rows], color="#58636e", label="answers")
    answers.plot(minutes, [row["errors"] for row in rows], color="#b4480a", label="errors")
    answers.set(
        xlabel="minutes", ylabel=f"in {60 * minutes[0]:.0f} s", ylim=(0, 1.2 * max(row["answers"] for row in rows))
    )
    answers.legend(loc="center right")
    for axes in (memory, answers):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Measure, print, write the JSON."""
    flags = parser(__doc__)
    flags.add_argument("--minutes", type=float, default=0.0, help="of 70 %% load at the end, watching the memory")
    flags.add_argument("--figure", type=Path, help="draw the memory into this file, as PNG")
    flags.add_argument("--engine", default="eager")
    flags.add_argument("--precision", default="auto")
    asked = flags.parse_args()
    options = {"engine": asked.engine, "precision": asked.precision}
    seconds = 3.0 if asked.quick else 20.0
    keep_freed_memory()
    with TemporaryDirectory() as temporary:
        make_pictures(Path(temporary) / "pictures", 32 if asked.quick else 200)
        pictures = [path.read_bytes() for path in below(Path(temporary) / "pictures")]
        torch.manual_seed(0)
        network, run = create_model("resnet18").eval(), Run(Path(temporary) / "resnet18")
        run.write_network(network)
        classes = tuple(f"class {number}" for number in range(1000))
        run.write_card(Card("resnet18", "classification", network.architecture.to_dict(), classes, IMAGENET))
        alone = [predictor_alone(run.folder, options, pictures, seconds)]
        server, port = start_server(run.folder, options)
        try:
            figures = asyncio.run(measure(port, pictures, seconds))
            rows = []
            if asked.minutes:
                rows = asyncio.run(watch(port, server.pid, pictures, 0.7 * figures["full_load"], asked.minutes))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        alone.append(predictor_alone(run.folder, options, pictures, seconds))
    ratios = {
        "full_load_by_predictor": figures["full_load"] / (sum(alone) / 2),
        "p99_by_median": figures["p99_by_median"],
    }
    figures = {"predictor_before": alone[0], "predictor_after": alone[1], **figures}
    if rows:
        figures |= {
            "errors_in_the_long_run": sum(row["errors"] for row in rows),
            "memory_mb": rows[-1]["memory_mb"],
            "memory_growth_mb": growth(rows),
        }
    for name, value in (figures | ratios).items():
        print(f"{name}: {value:,.2f}" + (f" ({BOUNDS[name]})" if name in BOUNDS else ""))
    if rows and asked.figure is not None:
        draw(rows, asked.figure)
    if asked.json is not None:
        content = {"title": "resnet18 served", "figures": figures, "ratios": ratios, "minutes": rows}
        asked.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
