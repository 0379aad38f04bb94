"""`resnets check`: read every picture of a data set before it is trusted."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from resnets.data.audit import Audit
from resnets.data.audit import audit as read_all
from resnets.data.opening import open_dataset

SHOWN = 20
"""Lines of each kind of finding; `--json` has all."""


def check(data: str, task: str = "auto", ignore: str | None = None, json: bool = False) -> None:
    """Read every picture and report what cannot be read, what stands in two splits or classes, and which classes lack.

    Args:
        data: the pictures, in any form that `resnets train` takes.
        task: as `resnets train` takes it.
        ignore: of masks, a class whose pixels count neither way.
        json: print one JSON object with every finding.
    """
    opened = open_dataset(data, task=task, ignore=ignore)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("reading", total=sum(map(len, opened.splits.values())))
        found = read_all(opened, lambda: progress.advance(bar))
    if json:
        print(dumps(_plain(found), indent=2))
    else:
        _print(Console(), found)
    if not found.sound:
        raise ValueError(f"{data} has findings that spoil training or its figures")


def _plain(found: Audit) -> dict[str, object]:
    sizes = {f"{height}x{width}": count for (height, width), count in found.sizes.items()}
    return {**asdict(found), "sizes": sizes, "sound": found.sound}


def _print(console: Console, found: Audit) -> None:
    counts = Table(box=SIMPLE_HEAD)
    counts.add_column("Class", overflow="fold")
    for split in found.counts:
        counts.add_column(split, justify="right")
    for label in next(iter(found.counts.values())):
        counts.add_row(Text(label), *(f"{of_class[label]:,}" for of_class in found.counts.values()))
    counts.add_section()
    counts.add_row("all", *(f"{sum(of_class.values()):,}" for of_class in found.counts.values()))
    console.print(counts)
    sizes = [f"{count:,} of {height}x{width}" for (height, width), count in found.sizes.items()]
    modes = [f"{count:,} {mode}" for mode, count in found.modes.items()]
    _list(console, "sizes (height x width)", sizes, limit=5)
    _list(console, "kinds of pixels", modes)
    _list(console, "cannot be read", [f"{bad.name}: {bad.reason}" for bad in found.unreadable])
    groups = [" = ".join(f"{name} ({split})" for split, name in group) for group in found.shared]
    _list(console, "the same picture in more than one split", groups)
    if found.contradicting:
        several = [" = ".join(f"{name} ({told})" for _, name, told in group) for group in found.contradicting]
        _list(console, "the same picture under different classes", several)
    if found.alike:
        _list(console, "classes that differ in capitals only", [", ".join(group) for group in found.alike])
    few = [f"{lack.label}: {lack.count} in {lack.split}" for lack in found.shortages]
    if found.misplaced:
        _list(console, "objects outside of their picture", [f"{bad.name}: {bad.reason}" for bad in found.misplaced])
    _list(console, "classes with few or no pictures", few)


def _list(console: Console, title: str, lines: list[str], limit: int = SHOWN) -> None:
    console.print(f"{title}: {'' if lines else 'none'}", highlight=False)
    for line in lines[:limit]:
        console.print(Text(f"  {line}"), soft_wrap=True)
    if len(lines) > limit:
        console.print(f"  and {len(lines) - limit:,} more", highlight=False)
