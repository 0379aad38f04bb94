"""The memory of `Predictor.predict` over very many pictures, answers written as lines on disk.

One JPEG file of 500 x 375 stands under as many names as are asked for, so that disks are not filled. The figure has the
process's resident memory by the number of answers.

    python benchmarks/predict_memory.py --count 100000 --figure memory.svg
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from common import parser
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from resnets.cli.predict import below, write_lines
from resnets.inference.machine import keep_freed_memory
from resnets.inference.prediction import Prediction
from resnets.inference.predictor import load

RUN = "resnet20-cifar10"
FOLDER = 1000


def resident() -> float:
    """Bytes of this process that are in memory, by Linux's /proc."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Predict, and write figure and JSON."""
    flags = parser(__doc__)
    flags.add_argument("--count", type=int, default=100_000, help="pictures")
    flags.add_argument("--engine", help="of `resnets predict`")
    flags.add_argument("--figure", type=Path, help="write the curve to this file, .svg or .png")
    asked = flags.parse_args()
    count = min(asked.count, 2000) if asked.quick else asked.count
    points: list[tuple[int, float]] = []

    def watched(answers: Iterator[Prediction]) -> Iterator[Prediction]:
        for number, answer in enumerate(answers, 1):
            if number % max(count // 200, 1) == 0:
                points.append((number, resident() / 1e6))
            yield answer

    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clouds = Image.effect_noise((50, 38), 90).convert("RGB").resize((500, 375), Image.Resampling.BICUBIC)
        clouds.save(folder / "picture.jpg", quality=90)
        for first in range(0, count, FOLDER):
            part = folder / "pictures" / f"{first // FOLDER:05}"
            part.mkdir(parents=True)
            names = [part / f"{number:08}.jpg" for number in range(first, min(first + FOLDER, count))]
            shutil.copyfile(folder / "picture.jpg", names[0])  # a file has 65,000 names at most
            for name in names[1:]:
                name.hardlink_to(names[0])
        keep_freed_memory()
        predictor = load(RUN, "cpu", engine=asked.engine)
        began = time.perf_counter()
        with (folder / "answers.jsonl").open("w", encoding="utf-8") as file:
            answered, failed = write_lines(watched(predictor.predict(below(folder / "pictures"), top=1)), file)
        seconds = time.perf_counter() - began
    tenth = points[len(points) // 10][1]
    growth = points[-1][1] / tenth
    Console().print(
        f"{answered:,} pictures, {failed} failed, {answered / seconds:,.0f} a second; memory after a tenth "
        f"{tenth:,.0f} MB, at the end {points[-1][1]:,.0f} MB",
        highlight=False,
        soft_wrap=True,
    )
    if asked.figure is not None:
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(*zip(*points, strict=True))
        axes.set(xlabel="pictures answered", ylabel="resident memory, MB", title=f"{RUN}, {count:,} JPEG files")
        axes.set_ylim(0, 1.25 * max(megabytes for _, megabytes in points))
        axes.grid(alpha=0.3)
        figure.savefig(asked.figure)
    if asked.json is not None:
        content = {"pictures": answered, "seconds": seconds, "megabytes": points, "ratios": {"memory_growth": growth}}
        asked.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
