"""`resnets index`: a gallery of named pictures."""

from __future__ import annotations

import warnings
from pathlib import Path

from rich.console import Console

from resnets.inference.gallery import check_free, write_gallery
from resnets.inference.identification import build_gallery
from resnets.runs.run import find_run


def index(
    run: str,
    pictures: str,
    /,
    to: Path | None = None,
    false_accepts: float = 0.01,
    strangers: str | None = None,
    views: str = "single",
    max_unreadable: float = 0.01,
    overwrite: bool = False,
    device: str | None = None,
) -> None:
    """Build an index of named pictures (products, plants, places, people), in which `resnets identify` looks up others.

    It holds no pictures, but numbers by which those in them can be recognised: ask those concerned before.

    Args:
        run: the folder of a run trained with --task recognition, or the name of one in the package.
        pictures: the named pictures, a folder for each name, or any other form that `resnets train` takes.
        to: the folder to write; by default the run's with -index.
        false_accepts: share of strangers that may be taken for somebody in the index; the threshold is fitted for it.
        strangers: pictures of classes that are not in the index, to fit the threshold on, such as those trained on; by
            default each name of the index is a stranger to the others, which takes many names.
        views: single, or mirrored, shifted, ten-crop or multi-scale, the mean of their embeddings, in identify too;
            mirrored makes faces surer.
        max_unreadable: the share of unreadable pictures that may be left out.
        overwrite: replace the index if it is there.
        device: cpu, cuda...; by default a GPU if there is one.
    """
    console = Console()
    folder = to or Path("runs") / f"{find_run(run).folder.name}-index"
    check_free(folder, overwrite)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        gallery = build_gallery(
            run,
            pictures,
            rate=false_accepts,
            strangers=strangers,
            views=views,
            max_unreadable=max_unreadable,
            device=device,
        )
    for warning in told:
        console.print(str(warning.message), style="yellow", highlight=False)
    write_gallery(gallery, folder, overwrite)
    threshold = gallery.threshold
    low, high = threshold.interval
    console.print(
        f"{len(gallery.names):,} pictures of {len(set(gallery.names)):,} names in {folder}\n"
        f"threshold {threshold.value:.3f}: {threshold.accepted:,} of {threshold.strangers:,} strangers are taken for "
        f"somebody; asked for {threshold.rate:.2%}, 95 % interval {low:.2%} to {high:.2%}",
        highlight=False,
    )
    if threshold.rate * threshold.strangers < 1:
        console.print(
            f"a rate of {threshold.rate:.2%} needs {1 / threshold.rate:,.0f} strangers to be fitted on; with these the "
            "threshold is above them all",
            style="yellow",
            highlight=False,
        )
