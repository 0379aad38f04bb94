"""`resnets evaluate`: what a run's network is worth on a data set."""

from __future__ import annotations

from json import dumps

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from resnets.inference.evaluation import EVALUATION_BATCH
from resnets.inference.evaluation import evaluate as evaluate_run


def evaluate(
    run: str,
    data: str | None = None,
    /,
    split: str | None = None,
    max_unreadable: float = 0.01,
    batch_size: int = EVALUATION_BATCH,
    workers: int | None = None,
    device: str | None = None,
    json: bool = False,
) -> None:
    """Measure a trained network: accuracy, top-5, loss, calibration error, and the accuracy of each class.

    Args:
        run: the run's folder, or the name of one in the package.
        data: the pictures, in any form that `resnets train` takes; by default those of the training's test split.
        split: train, val or test; by default test, or val where there is no test. Data without splits is judged
            whole, unless it is what the run was trained on.
        max_unreadable: the share of unreadable pictures that may be left out.
        batch_size: pictures that the network sees at a time.
        workers: processes that decode pictures; by default one a processor.
        device: cpu, cuda...; by default a GPU if there is one.
        json: print one JSON object.
    """
    evaluation = evaluate_run(
        run,
        data,
        split=split,
        max_unreadable=max_unreadable,
        batch_size=batch_size,
        workers=workers,
        device=device,
    )
    per_class = evaluation.per_class()
    if json:
        print(
            dumps(
                {
                    "run": str(run),
                    "split": evaluation.split,
                    "metrics": evaluation.metrics,
                    "per_class": {name: share for name, share in per_class.items() if share is not None},
                },
                indent=2,
            )
        )
        return
    metrics, console = evaluation.metrics, Console()
    console.print(f"{run} on {metrics['count']:,.0f} pictures ({evaluation.split})", highlight=False)
    table = Table(box=SIMPLE_HEAD)
    for heading in ("Accuracy", "Top-5", "Loss", "Calibration error"):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{metrics['accuracy']:.2%}",
        f"{metrics['top5']:.2%}",
        f"{metrics['loss']:.4f}",
        f"{metrics['ece']:.2%}",
    )
    console.print(table)
    classes = Table(box=SIMPLE_HEAD)
    classes.add_column("Class")
    classes.add_column("Accuracy", justify="right")
    for name, share in sorted(per_class.items(), key=lambda item: (item[1] is None, item[1])):
        classes.add_row(name, "no pictures" if share is None else f"{share:.2%}")
    console.print(classes)
