"""`resnets evaluate`: what a run's network is worth on a data set."""

from __future__ import annotations

from json import dumps

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from resnets.cli.predict import split_runs
from resnets.inference.evaluation import evaluate as evaluate_run
from resnets.runs.run import find_run
from resnets.tasks import task_class


def evaluate(
    run: str,
    data: str | None = None,
    /,
    split: str | None = None,
    max_unreadable: float = 0.01,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    engine: str | None = None,
    precision: str | None = None,
    views: str = "single",
    flips: bool = False,
    scales: list[float] | None = None,
    json: bool = False,
) -> None:
    """Measure a trained network: of a classifier accuracy, top-5, loss, calibration error and the accuracy of each
    class; of numbers their errors; of boxes COCO's mean average precision; of masks the mean IoU; of a recogniser how
    well it tells pictures of one class from those of others.

    Args:
        run: the run's folder, or the name of one in the package; several, joined by +, answer by their mean.
        data: the pictures, in any form that `resnets train` takes; by default those of the training's test split.
        split: train, val or test; by default test, or val where there is no test. Data without splits is judged
            whole, unless it is what the run was trained on.
        max_unreadable: the share of unreadable pictures that may be left out.
        batch_size: pictures that the network sees at a time; by default 256, of objects and masks 8.
        workers: processes that decode pictures; by default one a processor. Views ten-crop and multi-scale have none.
        device: cpu, cuda...; by default a GPU if there is one.
        engine: eager, compiled, onnxruntime, openvino or auto; by default PyTorch as in training, or what an export is
            for.
        precision: float32, bfloat16, int8 (of exports) or auto; by default float32, or what an export is in.
        views: single, or mirrored, shifted, ten-crop or multi-scale, the mean of the answers to views of a picture.
        flips: of masks, look at mirror images, too.
        scales: of masks, look at pictures in these sizes, such as [0.75,1,1.25], and take the mean.
        json: print one JSON object.
    """
    runs = split_runs(run)
    evaluation = evaluate_run(
        runs,
        data,
        split=split,
        max_unreadable=max_unreadable,
        batch_size=batch_size,
        workers=workers,
        device=device,
        engine=engine,
        precision=precision,
        views=views,
        flips=flips,
        scales=(1.0,) if scales is None else scales,
    )
    if json:
        print(dumps({"run": str(run), "split": evaluation.split, **evaluation.to_dict()}, indent=2))
        return
    metrics, console = evaluation.metrics, Console()
    console.print(f"{run} on {metrics['count']:,.0f} pictures ({evaluation.split})", highlight=False)
    formats = task_class(find_run(runs[0]).card().task).formats
    table = Table(box=SIMPLE_HEAD)
    for label, _ in formats.values():
        table.add_column(capitalised(label), justify="right")
    table.add_row(*(form.format(metrics[name]) for name, (_, form) in formats.items()))
    console.print(table)
    headings, rows = evaluation.details()
    details = Table(box=SIMPLE_HEAD)
    for number, heading in enumerate(headings):
        details.add_column(heading[:1].upper() + heading[1:], justify="right" if number else "left")
    for row in rows:
        details.add_row(*row)
    console.print(details)


def capitalised(label: str) -> str:
    """What a metric is called as a column's heading: with a capital, unless it begins as mAP does."""
    return label if label[1:2].isupper() else label[:1].upper() + label[1:]
