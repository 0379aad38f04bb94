"""`resnets shard`: a data set as WebDataset's shards."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from resnets.data.packing import write_shards
from resnets.data.sources import find_source


def shard(data: str, out: Path, task: str = "auto", size: int = 128) -> None:
    """Write a data set into tar files that are read from beginning to end, in WebDataset's layout.

    `resnets train OUT` trains on them, from a folder or from where they were copied to: https://..., s3://... What they
    hold is the same data set: its names, classes and splits, and the pictures' files as they were. Pictures that cannot
    be read are named and left out.

    Args:
        data: pictures with classes or numbers, in any form that `resnets train` takes.
        out: a new folder.
        task: as `resnets train` takes it, where the data could be used for several.
        size: of a shard in megabytes, about.
    """
    if size < 1:
        raise ValueError(f"--size must be 1 megabyte or more, not {size}")
    console = Console()
    asked = str(Path(data).absolute()) if Path(data).exists() else data
    listing = find_source(asked)[1].open(asked).for_task(task, asked)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("writing", total=len(listing.names))
        shards = write_shards(listing, out, size * 10**6, lambda: progress.advance(bar))
    for split in dict.fromkeys(each.split for each in shards):
        own = [each for each in shards if each.split == split]
        samples, millions = sum(each.samples for each in own), sum(each.bytes for each in own) / 1e6
        console.print(
            f"{split or 'no splits'}: {samples:,} pictures in {len(own):,} shards, {millions:,.1f} MB", highlight=False
        )
    left_out = len(listing.names) - sum(each.samples for each in shards)
    if left_out:
        console.print(f"left out: {left_out:,} that cannot be read, named in {out / 'shards.json'}", style="yellow")
    console.print(f"train on them with `resnets train {out}`", highlight=False)
