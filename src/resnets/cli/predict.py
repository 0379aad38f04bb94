"""`resnets predict`: a run's network on pictures."""

from __future__ import annotations

import glob
from dataclasses import asdict
from json import dumps
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnets.data.decoding import picture_suffixes
from resnets.inference.predictor import Prediction, load


def predict(
    run: str,
    *images: str,
    top: int = 1,
    batch_size: int = 64,
    device: str | None = None,
    json: bool = False,
) -> None:
    """Name the class of pictures, or give their numbers. One that cannot be read gets an error; the others go on.

    Args:
        run: the run's folder, or the name of one in the package.
        images: picture files, folders (with all that is below them), or patterns such as 'photos/*.jpg'.
        top: how many classes to name, the most probable first.
        batch_size: pictures that the network sees at a time.
        device: cpu, cuda...; by default a GPU if there is one.
        json: print one JSON object a picture.
    """
    paths = [path for image in images for path in find_pictures(image)]
    if not paths:
        raise ValueError("name at least one picture, folder or pattern after the run")
    answers = []
    for answer in load(run, device).predict(paths, top, batch_size):
        answers.append(answer)
        if json:
            print(dumps({name: value for name, value in asdict(answer).items() if value not in (None, ())}))
    if not json:
        print_table(answers)
    failed = sum(answer.error is not None for answer in answers)
    if failed:
        raise ValueError(f"{failed} of {len(answers)} pictures could not be read")


def find_pictures(image: str) -> list[Path]:
    """The files that an argument stands for, in order.

    Raises:
        FileNotFoundError: if there is no such file, or no picture in the folder or under the pattern.
    """
    path = Path(image)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in picture_suffixes())
    elif path.exists():
        found = [path]
    else:
        found = sorted(Path(name) for name in glob.glob(image, recursive=True))  # noqa: PTH207 - absolute ones too
    if not found:
        raise FileNotFoundError(f"there is no picture at {image}")
    return found


def print_table(answers: list[Prediction]) -> None:
    """A line a picture, and a line more for each further class or number.

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
    table.add_column("Number" if numbers else "Class", overflow="fold")
    table.add_column("Value" if numbers else "Probability", justify="right")
    for answer in answers:
        if answer.error is not None:
            table.add_row(Text(answer.name), Text(answer.error, style="red"), "")
        rows = [(name, f"{value:.4g}") for name, value in (answer.values or {}).items()]
        rows += [(name, f"{share:.1%}") for name, share in zip(answer.classes, answer.probabilities, strict=True)]
        for number, (label, text) in enumerate(rows):
            table.add_row(Text(answer.name if number == 0 else ""), Text(label), text)
    Console().print(table)
