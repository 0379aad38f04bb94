"""`resnets generate`: pictures of the classes that a network has learnt to make."""

from __future__ import annotations

from json import dumps
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from resnets.inference.making import Request, make
from resnets.inference.sampling import SAMPLING_BATCH, Solver
from resnets.tasks.generation import METRICS


def generate(
    run: str,
    folder: Path | None = None,
    class_: str | None = None,
    count: int = 64,
    steps: int = 20,
    solver: Solver = "heun",
    guidance: float = 1.0,
    seed: int = 0,
    judge: str | None = None,
    overwrite: bool = False,
    batch_size: int = SAMPLING_BATCH,
    device: str | None = None,
    json: bool = False,
) -> None:
    """Make pictures: a grid of them and each by itself, and, with a judge, a report of what they are worth.

    The same seed gives the same pictures, whatever their number and the batch.

    Args:
        run: the folder of a run that `resnets train DATA --task generation` made.
        folder: to write; by default RUN/pictures.
        class_: the class of all pictures; by default all classes in turn.
        count: of pictures.
        steps: from noise to pictures; 5 to 100 are usual.
        solver: euler, or midpoint or heun, which take twice the time for a step and need fewer.
        guidance: 1 for pictures as they were learnt; 2 or 3 for pictures that are more surely of their class, and less
            varied; 0 for pictures of any class.
        seed: of the noise that the pictures begin from.
        judge: the run of a classifier of the same classes, or the name of one in the package. It names the pictures,
            and their Frechet distance from the training pictures is taken on what its last layer reads. The data that
            the run was trained on has to be there.
        overwrite: replace what this command has written into the folder.
        batch_size: pictures that are made at a time.
        device: cpu, cuda...; by default a GPU if there is one.
        json: print one JSON object.
    """
    made = make(
        run,
        Request(class_, count, steps, solver, guidance, seed),
        folder=folder,
        judge=judge,
        overwrite=overwrite,
        batch_size=batch_size,
        device=device,
    )
    metrics = None if made.judgement is None else made.judgement.metrics
    if json:
        print(dumps({"run": run, "folder": str(made.folder), "metrics": metrics}, indent=2))
        return
    console = Console()
    console.print(f"{count:,} pictures in {made.folder}, together in grid.png", highlight=False, soft_wrap=True)
    if metrics is None:
        return
    table = Table(box=SIMPLE_HEAD)
    table.add_column("")
    for heading in ("Made", "Real, not trained on"):
        table.add_column(heading, justify="right")
    for name, (label, form) in METRICS.items():
        real = metrics.get(f"real_{name}")
        table.add_row(label, form.format(metrics[name]), "" if real is None else form.format(real))
    console.print(table)
    console.print(f"The report, for a browser: {made.folder / 'report.html'}", highlight=False, soft_wrap=True)
