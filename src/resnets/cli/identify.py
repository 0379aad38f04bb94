"""`resnets identify`: who or what is in pictures, by an index."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnets.cli.predict import find_pictures
from resnets.inference.gallery import read_gallery
from resnets.inference.identification import Identity
from resnets.inference.identification import identify as look_up

UNKNOWN = "unknown"


def identify(
    index: str,
    *images: str,
    top: int = 1,
    run: str | None = None,
    batch_size: int = 64,
    device: str | None = None,
    json: bool = False,
) -> None:
    """Name what is in pictures by an index that `resnets index` made, or say that it is unknown.

    Args:
        index: the folder of the index.
        images: picture files, folders (with all that is below them), or patterns such as 'photos/*.jpg'.
        top: how many of the most alike names to tell, whether or not they are alike enough.
        run: the run's folder, if it was moved since the index was made.
        batch_size: pictures that the network sees at a time.
        device: cpu, cuda...; by default a GPU if there is one.
        json: print one JSON object a picture; its name is null where it is unknown.
    """
    paths = [path for image in images for path in find_pictures(image)]
    if not paths:
        raise ValueError("name at least one picture, folder or pattern after the index")
    gallery = read_gallery(index)
    answers = []
    for answer in look_up(gallery, paths, top, run=run, batch_size=batch_size, device=device):
        answers.append(answer)
        if json:
            print(dumps({key: value for key, value in asdict(answer).items() if key != "error" or value is not None}))
    if not json:
        print_identities(answers, gallery.threshold.value)
    failed = sum(answer.error is not None for answer in answers)
    if failed:
        raise ValueError(f"{failed} of {len(answers)} pictures could not be read")


def print_identities(answers: list[Identity], threshold: float) -> None:
    """A line a picture, and a line more for each further name."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("Picture", overflow="fold")
    table.add_column("Name", overflow="fold")
    table.add_column("Similarity", justify="right")
    table.add_column("Most alike", overflow="fold")
    for answer in answers:
        if answer.error is not None:
            table.add_row(Text(answer.picture), Text(answer.error, style="red"), "", "")
        for number, likeness in enumerate(answer.nearest):
            named = Text(likeness.name) if likeness.similarity >= threshold else Text(UNKNOWN, style="dim")
            first = Text(answer.picture if number == 0 else "")
            table.add_row(first, named, f"{likeness.similarity:.3f}", Text(likeness.picture))
    console = Console()
    console.print(table)
    console.print(f"named from a similarity of {threshold:.3f} on", style="dim", highlight=False)
