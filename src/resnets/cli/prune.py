"""`resnets prune`: a smaller network from a trained one."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from resnets.insight import pruning
from resnets.insight.profile import totals
from resnets.networks.catalogue import declaration_from_dict
from resnets.runs.run import find_run


def prune(
    source: str,
    data: str,
    /,
    run: Path | None = None,
    keep_accuracy: float = 0.5,
    enough: float = 1.0,
    epochs: int = 2,
    lr: float = 0.1,
    overwrite: bool = False,
) -> None:
    """Take the blocks that a trained network can do without out of it, one at a time, and train it on.

    Blocks are chosen by the data's validation split, by that of the run, or by a tenth of its training pictures. Called
    again after an interruption it goes on where it stopped.

    Args:
        source: the run's folder, or the name of one in the package; a classifier.
        data: pictures of the same classes, in any form that `resnets train` takes.
        run: the folder to write; by default the run's with -pruned.
        keep_accuracy: points of accuracy that may be lost.
        enough: the share of the multiply-adds, such as 0.2, with which no further block has to go.
        epochs: of training on, each time that more is lost.
        lr: the rate of training on, as a share of that by which the network was trained.
        overwrite: replace the folder if it is there, begun or finished.
    """
    whole, console = find_run(source), Console()
    folder = run or Path("runs") / f"{whole.folder.resolve().name}-pruned"
    pruned = pruning.prune(
        whole,
        data,
        folder,
        keep_accuracy=keep_accuracy,
        enough=enough,
        epochs=epochs,
        lr=lr,
        overwrite=overwrite,
        console=console,
    )
    table = Table("", "Blocks", "Layers", "Parameters", "Multiply-adds", "Held out", "Judged", box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
    costs = []
    for name, kept, accuracy in (("whole", whole, pruned.before), ("pruned", pruned.run, pruned.after)):
        card = kept.card()
        declaration = declaration_from_dict(card.architecture)
        parameters, multiply_adds = totals(declaration, card.preprocessing.size)
        costs.append(multiply_adds)
        table.add_row(
            name,
            str(sum(declaration.repeated)),
            str(declaration.layers),
            f"{parameters:,}",
            f"{multiply_adds:,}",
            f"{accuracy:.2%}",
            f"{card.metrics['accuracy']:.2%}" if card.metrics else "",
        )
    console.print(table)
    console.print(
        f"{1 - costs[1] / costs[0]:.1%} fewer multiply-adds; accuracy on held-out pictures "
        f"{100 * (pruned.after - pruned.before):+.2f} points; run {pruned.run.folder}",
        highlight=False,
        markup=False,
    )
    if pruned.seen:
        console.print("the whole network was trained on the held-out pictures, which flatters it", highlight=False)
