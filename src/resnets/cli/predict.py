"""`resnets predict`: a run's network on pictures."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice, tee
from json import JSONDecodeError, dumps, loads
from pathlib import Path
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnets.data.decoding import picture_suffixes
from resnets.data.video import frames, is_video
from resnets.inference.drawing import Album, drawn, in_coco_layout, masked
from resnets.inference.ensemble import Ensemble
from resnets.inference.machine import keep_freed_memory
from resnets.inference.pictures import Picture, name_of
from resnets.inference.pipeline import chunks
from resnets.inference.prediction import Prediction
from resnets.inference.predictor import load

LINES = 1000
"""Answers of one table."""


def predict(
    run: str,
    *images: str,
    top: int | None = None,
    coverage: float | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    engine: str | None = None,
    precision: str | None = None,
    exact: bool = False,
    views: str = "single",
    tiled: bool = False,
    draw: Path | None = None,
    masks: Path | None = None,
    flips: bool = False,
    scales: list[float] | None = None,
    every: int = 1,
    json: bool = False,
    output: Path | None = None,
    skip_existing: bool = False,
) -> None:
    """Name the class of pictures, give their numbers, find their objects, or give every pixel a class. A picture that
    cannot be read gets an error; the others go on.

    Args:
        run: the run's folder, or the name of one in the package; several, joined by +, answer by their mean.
        images: picture files, folders (with all that is below them), patterns such as 'photos/*.jpg', video files, or
            a camera such as /dev/video0.
        top: how many classes to name, the most probable first; by default 1, and of multi-label runs those whose
            thresholds are reached.
        coverage: name as many classes as hold the right one with this probability, from 0.5 to 0.99, instead of --top;
            of runs with a validation split.
        batch_size: pictures that the network sees at a time; by default by the size of its input.
        device: cpu, cuda...; by default a GPU if there is one.
        engine: eager, compiled, onnxruntime, openvino, or auto for the fastest here, by a short measurement that is
            remembered; by default eager, or what an export is for.
        precision: float32, bfloat16, int8 (of exports), or auto for bfloat16 where the hardware computes in it; by
            default float32, or what an export is in.
        exact: decode JPEG at full size even where half the size has twice the pixels that are needed.
        views: single, or mirrored, shifted, ten-crop or multi-scale, the mean of the answers to views of a picture.
        tiled: look at a large picture in tiles at its own resolution; for objects also at the whole.
        draw: a folder to write the pictures into, with the boxes of what was found, or under the colours of their mask.
        masks: a folder to write the masks into, PNG pictures whose pixels are the numbers of the classes.
        flips: for masks, look at mirror images, too.
        scales: for masks, look at pictures in these sizes, such as [0.75,1,1.25], and take the mean.
        every: of a video, one frame of so many.
        json: print one JSON object a picture; of objects, one in COCO's layout.
        output: write one JSON object a picture, a line each, to this file instead of printing.
        skip_existing: go on with an output file, leaving out the pictures that it has answers of; those that could not
            be read are tried again.
    """
    if not images:
        raise ValueError("name at least one picture, folder or pattern after the run")
    if skip_existing and output is None:
        raise ValueError("--skip-existing goes on with a file: name it by --output")
    if output is not None and output.exists() and not skip_existing:
        raise FileExistsError(f"{output} is there already; go on with it by --skip-existing, or name another")
    known = answered(output) if output is not None and output.exists() else set()
    for image in images:  # before anything is loaded, and before hours of answers to those before it
        check_there(image)
    given = (picture for image in images for picture in find_all(image, every))
    pictures: Iterator[Picture] = (picture for picture in given if name_of(0, picture) not in known)
    pictures = chain(list(islice(pictures, 1)), pictures)  # so is a video that cannot be read
    keep_freed_memory()
    options: dict[str, Any] = {"engine": engine, "precision": precision, "exact": exact, "views": views}
    looks: dict[str, Any] = {"flips": flips, "scales": (1.0,) if scales is None else scales}
    predictors = [load(each, device, **options, **looks) for each in split_runs(run)]
    card, finds_objects, gives_masks = predictors[0].card, predictors[0].finds_objects, predictors[0].gives_masks
    if draw is not None and not predictors[0].sees_all:
        raise ValueError(f"--draw is for networks that find objects or masks, and the task is {card.task}")
    if masks is not None and not gives_masks:
        raise ValueError(f"--masks is for networks that give masks, and the task is {card.task}")
    if draw is not None and masks is not None and draw.resolve() == masks.resolve():
        raise ValueError(f"--draw and --masks write pictures of the same names: {draw} cannot hold both")
    top = predictors[0].task.named if top is None else top
    if len(predictors) == 1:
        pictures, shown = tee(pictures)
        answers = predictors[0].predict(pictures, top if coverage is None else None, batch_size, coverage, tiled)
        if draw is not None:
            answers = drawn(shown, answers, card.classes, Album(draw, images))
        del shown  # or it would hold all pictures that are read
        if masks is not None:
            answers = masked(answers, card.classes, Album(masks, images))
        answers = (replace(answer, mask=None) for answer in answers)  # as large as the picture, and written by now
    elif tiled:
        raise ValueError("--tiled is of a single run: places have no mean over several networks")
    elif coverage is not None:
        raise ValueError("--coverage is of a single run: the mean of several has no calibration")
    else:
        answers = Ensemble(predictors).predict(pictures, top, batch_size)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("a", encoding="utf-8") as file:
            count, failed = write_lines(answers, file)
    elif json and finds_objects:
        found = list(answers)
        print(dumps(in_coco_layout(found, card.classes)))
        count, failed = len(found), sum(answer.error is not None for answer in found)
    elif json:
        count, failed = write_lines(answers, sys.stdout)
    else:
        count = failed = 0
        for chunk in chunks(answers, LINES):
            print_table(chunk, *(("Class", "Share of the pixels") if gives_masks else ()))
            count += len(chunk)
            failed += sum(answer.error is not None for answer in chunk)
    if failed:
        raise ValueError(f"{failed:,} of {count:,} pictures could not be read")


def split_runs(run: str) -> list[str]:
    """The runs that a name joins by +; a folder that is there may have one in its own name."""
    return [run] if Path(run).exists() else run.split("+")


def write_lines(answers: Iterable[Prediction], file: TextIO) -> tuple[int, int]:
    """Write a line of JSON an answer, whole lines whatever happens; give how many, and how many have errors."""
    count = failed = 0
    for answer in answers:
        file.write(dumps(answer.to_dict()) + "\n")
        file.flush()
        count += 1
        failed += answer.error is not None
    return count, failed


def answered(file: Path) -> set[str]:
    """The names of the pictures that an output file has answers of.

    Errors are taken out, so that their pictures are tried again, and so is a last line that is not whole.

    Raises:
        ValueError: if the file is no output of `resnets predict`.
    """
    names: set[str] = set()
    kept = file.with_name(f"{file.name}.tmp")
    with file.open("rb") as lines, kept.open("wb") as answers:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            try:
                answer = loads(line)
                name, failed = str(answer["name"]), "error" in answer
            except (JSONDecodeError, KeyError, TypeError, UnicodeDecodeError):
                kept.unlink()
                raise ValueError(f"{file} is no output of `resnets predict`: {line[:60]!r} is no answer") from None
            if not failed:
                names.add(name)
                answers.write(line)
    kept.replace(file)
    return names


def find_all(image: str, every: int = 1) -> Iterator[Picture]:
    """The pictures that an argument stands for: files, or one of `every` frames of a video."""
    return frames(image, every) if is_video(image) else find_pictures(image)


def check_there(image: str) -> None:
    """Raise FileNotFoundError if an argument stands for nothing that is there."""
    if not is_video(image):
        next(find_pictures(image))
    elif not Path(image).exists():
        raise FileNotFoundError(f"there is no video at {image}")


def find_pictures(image: str) -> Iterator[Path]:
    """The files that an argument stands for, in order, found as they are asked for.

    Raises:
        FileNotFoundError: if there is no such file, or no picture in the folder or under the pattern.
    """
    path, found = Path(image), False
    if path.is_dir():
        files = below(path)
    elif path.exists():
        files = iter([path])
    else:
        files = (Path(name) for name in sorted(glob.glob(image, recursive=True)))  # noqa: PTH207 - absolute ones too
    for file in files:
        found = True
        yield file
    if not found:
        raise FileNotFoundError(f"there is no picture at {image}")


def below(folder: Path) -> Iterator[Path]:
    """The pictures below a folder, a folder's own in order of their names and then those of the folders in it."""
    with os.scandir(folder) as entries:
        own = sorted((entry.name, entry.is_dir()) for entry in entries)
    yield from (folder / name for name, deep in own if not deep and Path(name).suffix.lower() in picture_suffixes())
    for name in (name for name, deep in own if deep and not (folder / name).is_symlink()):
        yield from below(folder / name)


def print_table(answers: list[Prediction], number: str = "Number", value: str = "Value") -> None:
    """A line a picture, and a line more for each further class, number or object; the headings are of numbers.

    Raises:
        ValueError: for embeddings, which say nothing to a reader.
    """
    if any(answer.embedding for answer in answers):
        raise ValueError(
            "the network gives embeddings: print them with --json, or name pictures by `resnets index` and "
            "`resnets identify`"
        )
    numbers = any(answer.values for answer in answers)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("Picture", overflow="fold")
    table.add_column(number if numbers else "Class", overflow="fold")
    table.add_column(value if numbers else "Probability", justify="right")
    for answer in answers:
        if answer.error is not None:
            table.add_row(Text(answer.name), Text(answer.error, style="red"), "")
        rows = [(name, f"{figure:.4g}") for name, figure in (answer.values or {}).items()]
        rows += [(name, f"{share:.1%}") for name, share in zip(answer.classes, answer.probabilities, strict=True)]
        if answer.size is not None and not rows:
            rows = [("nothing", "")]
        if answer.error is None and not rows:  # below all thresholds
            rows = [("none", "")]
        for row, (label, text) in enumerate(rows):
            table.add_row(Text(answer.name if row == 0 else ""), Text(label), text)
    Console().print(table)
