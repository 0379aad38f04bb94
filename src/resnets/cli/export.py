"""`resnets export`: a run as files of another engine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from resnets.cli.evaluate import capitalised
from resnets.cli.predict import split_runs
from resnets.inference.evaluation import evaluate
from resnets.inference.export import Exported, judge, worsening, write_export
from resnets.inference.repository import SERVERS, check, write_repository
from resnets.runs.run import Run, find_run
from resnets.tasks import task_class
from resnets.weights.sources import shipped


def export(
    run: str,
    *others: str,
    to: Path | None = None,
    for_: str | None = None,
    format: str | None = None,
    precision: str = "float32",
    batch: str = "dynamic",
    preprocess: bool = False,
    max_loss: float = 0.01,
    data: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a run as files of another engine, in a folder that predict and evaluate take as any run.

    The export is run on picture files and compared with the network before it is done; in bfloat16 or int8 both are
    judged on the data, too. Its graph takes pixels (N, H, W, C) uint8 of the input's size and normalises them. Of a
    detector it gives what boxes are made of, and resnets makes them; of a network that makes pictures, the velocity.

    Args:
        run: the run's folder, or the name of one in the package; several, joined by +, become one graph that gives the
            mean of their answers.
        others: further runs of the same task, classes and preprocessing, for that graph.
        to: the folder to write; by default the run's, with format and precision behind its name.
        for_: triton or ovms (OpenVINO Model Server): write a model repository of that server, or a new version of the
            model into the one that is there; by default to models. The run may be an export already.
        format: onnx, openvino, or torch (model.pt2); by default openvino, for triton onnx.
        precision: float32; bfloat16 (openvino, torch); int8 (openvino, onnx), calibrated with the run's training
            pictures.
        batch: pictures that the graph takes at a time, or dynamic for any number.
        preprocess: the graph takes whole pictures of any size, and resizes and crops them itself.
        max_loss: by how much bfloat16 or int8 may be worse: the share of accuracy or average precision that is lost,
            or the share by which an error grows.
        data: where the run's data is, if not where its card says.
        overwrite: replace the folder if it is there.
    """
    runs, console = [find_run(each) for name in (run, *others) for each in split_runs(name)], Console()
    if batch != "dynamic" and not batch.isdecimal():
        raise ValueError(f"--batch is a number or dynamic, not {batch!r}")
    name, first = "+".join(each.folder.resolve().name for each in runs), runs[0].folder
    make = partial(
        _made,
        runs,
        precision=precision,
        preprocess=preprocess,
        batch=None if batch == "dynamic" else int(batch),
        data=data,
        max_loss=max_loss,
    )
    if for_ is not None:
        own = {} if len(runs) > 1 else runs[0].card().export
        changes = (format, precision, batch, preprocess, data) != (None, "float32", "dynamic", False, None)
        if overwrite or (own and changes):
            raise ValueError(
                "a repository gets one more version; leave out --overwrite"
                if overwrite
                else f"{first} is an export already and stays as it is; give --for and --to alone"
            )
        format = format or own.get("format") or SERVERS.get(for_, ("",))[0]
        model = name.replace("+", "-")
        check(for_, format, model)
        with tempfile.TemporaryDirectory() as temporary:
            export = runs[0] if own else make(Path(temporary) / "export", format).run
            version = write_repository(export, to or Path("models"), for_, model)
        console.print(f"{version.parent.name}, version {version.name}, in {version.parents[1]}", highlight=False)
        return
    format = format or "openvino"
    folder = to or Path("runs" if first in shipped().values() else first.parent) / f"{name}-{format}-{precision}"
    _check_free(folder, runs, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as temporary:
        exported = make(Path(temporary) / "export", format)  # an old one stays until there is a new one
        if overwrite and folder.exists():
            folder.rename(Path(temporary) / "old")
        exported.run.folder.rename(folder)
    _print(console, replace(exported, run=Run(folder)), format, precision)


def _check_free(folder: Path, runs: Sequence[Run], overwrite: bool) -> None:
    """Raise an error if a folder is there, unless it is an export that is to be replaced, and none of the sources."""
    if not folder.exists():
        return
    if not overwrite:
        raise FileExistsError(f"{folder} is there already; give another folder, or --overwrite")
    if not (folder / "model.json").is_file() or not Run(folder).card().export:
        raise ValueError(f"{folder} is no export, so it is not replaced; give another folder by --to")
    if any(run.folder.resolve().is_relative_to(folder.resolve()) for run in runs):
        raise ValueError(f"{folder} is what is exported, so it is not replaced; give another folder by --to")


def _made(
    runs: Sequence[Run], folder: Path, format: str, *, precision: str, data: str | None, max_loss: float, **options: Any
) -> Exported:
    """The export, judged where its precision is a lower one."""
    exported = write_export(runs, folder, format, precision, data=data, **options)
    return exported if precision == "float32" else _judged(exported, [each.folder for each in runs], data, max_loss)


def _judged(exported: Exported, sources: Sequence[Path], data: str | None, max_loss: float) -> Exported:
    """The export judged beside its run or runs.

    Raises:
        ValueError: if it is worse than allowed.
    """
    before, after = evaluate(sources, data), evaluate(exported.run.folder, data)
    aim = task_class(exported.run.card().task).aim
    lost = worsening(aim, before.metrics, after.metrics)
    if not lost <= max_loss:
        raise ValueError(
            f"{aim[0]} went from {before.metrics[aim[0]]:.4f} to {after.metrics[aim[0]]:.4f}, a loss of "
            f"{lost:.4f}, more than --max-loss {max_loss:g}; nothing was written"
        )
    return judge(exported, before.metrics, after.metrics, after.split)


def _print(console: Console, exported: Exported, format: str, precision: str) -> None:
    folder = exported.run.folder
    console.print(
        f"{folder}: {format}, {precision}; on {exported.pictures} picture files the outputs differ by "
        f"{exported.error:.2g} of their size",
        highlight=False,
    )
    if exported.before is not None and exported.after is not None:
        shown = task_class(exported.run.card().task).formats
        table = Table(box=SIMPLE_HEAD)
        table.add_column("")
        for label, _ in shown.values():
            table.add_column(capitalised(label), justify="right")
        for name, metrics in (("before", exported.before), ("after", exported.after)):
            table.add_row(name, *(form.format(metrics[metric]) for metric, (_, form) in shown.items()))
        console.print(table)
    for file in sorted(folder.iterdir()):
        console.print(f"{file}  {file.stat().st_size:,} bytes", highlight=False)
