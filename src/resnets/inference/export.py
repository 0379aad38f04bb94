"""A run as files of another engine, in a folder that is a run again.

| file | what it holds |
|---|---|
| `model.onnx`, `model.xml` with `model.bin`, or `model.pt2` | the network, from pixels to outputs |
| `model.json` | the card, with what was exported and how far it is from the run |
| `model.safetensors` | beside `model.pt2` alone: the weights |
| `model.following.safetensors` | beside the graphs of Faster and Mask R-CNN: the weights of the second stage |

A graph takes pixels (N, H, W, C) uint8 and normalises them; a whole one resizes and crops them, too. Of a detector it
gives what is dense, of which boxes are made in PyTorch; see `heads.two_parts`. resnets itself reads the weights beside
a `model.pt2`, because PyTorch reads those files by means that can run code.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from resnets.inference.agreement import compare
from resnets.inference.exported import engine_of
from resnets.inference.graph import graph_of, graph_of_field
from resnets.inference.joined import joined_card, joined_network
from resnets.inference.parts import dense_part, write_following
from resnets.inference.samples import calibration_pixels, own_data, picture_files
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.tasks import task_class

TOLERANCES = {"float32": (1e-3, 0.01), "bfloat16": (0.1, 0.1), "int8": (0.35, 0.35)}
"""The largest error of an export's outputs on pictures, as a share of an output's size (norms of the differences from
their mean; of several outputs the worst counts), and that of a graph that resizes: single values of its pictures are
rounded otherwise, many in bfloat16. What the answers are worth is judged on the data."""


@dataclass(frozen=True)
class Exported:
    """What an export has come to.

    Attributes:
        run: the folder that was written.
        error: of its outputs on `pictures` files, as a share of the outputs' size.
        pictures: how many were compared.
        before, after: metrics of the network and of the export on the same split; None where they were not asked for.
    """

    run: Run
    error: float
    pictures: int
    before: Mapping[str, float] | None = None
    after: Mapping[str, float] | None = None


def write_export(
    source: Run | Sequence[Run],
    folder: Path,
    format: str,
    precision: str = "float32",
    *,
    preprocess: bool = False,
    batch: int | None = None,
    data: str | Path | None = None,
) -> Exported:
    """Write a run as another engine's files, and compare the two from the bytes of picture files on.

    Args:
        source: a finished run, or several, whose answers are averaged in one graph.
        folder: what to write; it must not be there.
        format: one of `FORMATS`.
        precision: one of `PRECISIONS`; int8 takes its scales from the (first) run's training pictures.
        preprocess: the graph takes whole pictures of any size, and resizes and crops them itself.
        batch: the number of pictures that it takes; None for any.
        data: where the run's training data is, if not where its card says.

    Raises:
        ValueError: for a format or precision that is not there, several runs that have no mean, or an export that
            differs too much; nothing is left.
        FileExistsError: if the folder is there.
        ImportError: if a library is not installed, naming the extra.
    """
    runs = [source] if isinstance(source, Run) else list(source)
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; give another folder, or --overwrite")
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, not {batch}")
    kind = engine_of(format)
    if precision not in kind.exports:
        raise ValueError(f"the format {format} is written in {' or '.join(kind.exports)}, not {precision!r}")
    card, name = joined_card(runs), "+".join(str(run.folder) for run in runs)
    check_exportable(name, card, format, precision, preprocess, len(runs))
    if precision != "float32":  # levels of sets of classes promise something of the network that they were fitted to
        card = replace(card, settings={key: value for key, value in card.settings.items() if key != "conformal"})
    network, own = joined_network(runs), own_data(card, data)
    if task_class(card.task).tells:
        dtype = kind.exports[precision]
        graph = graph_of(dense_part(network), card.preprocessing, whole=preprocess, batch=batch, dtype=dtype)
    else:
        graph = graph_of_field(network, card.preprocessing, batch=batch)
    calibration, count = calibration_pixels(card, own, preprocess, batch) if precision == "int8" else ([], 0)
    facts: dict[str, Any] = {
        "format": format,
        "precision": precision,
        "preprocess": preprocess,
        "batch": batch,
        "outputs": {"count": graph.outputs.count, "names": list(graph.outputs.names)},
        "source": name,
        "calibration": {"split": "train", "pictures": count} if calibration else None,
        "versions": versions(),
    }
    if len(runs) > 1:
        facts["members"] = [{"run": str(run.folder), "architecture": run.card().architecture} for run in runs]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as temporary:
        written = Run(Path(temporary) / "run")
        written.write_card(replace(card, export=facts))
        kind.write(graph, written.folder, precision, calibration)
        if format == "torch":
            written.write_network(network)
        else:
            write_following(network, written.folder)
        program = graph.program.module() if format == "torch" else None
        error, count = compare(joined_network(runs), written, picture_files(card, own), program)
        allowed = TOLERANCES[precision][preprocess]
        if not error <= allowed:
            raise ValueError(
                f"the export to {format} in {precision} gives other outputs than {name}: they differ by "
                f"{error:.2%} of their size, more than {allowed:.2%}; nothing was written"
            )
        written.write_card(replace(card, export={**facts, "error": error, "compared": count}))
        shutil.move(written.folder, folder)
    return Exported(Run(folder), error, count)


def check_exportable(name: str, card: Card, format: str, precision: str, preprocess: bool, count: int) -> None:
    """Raise ValueError for what of `count` runs cannot be exported so."""
    if preprocess and card.preprocessing.fit == "contain":
        raise ValueError(
            f"{name} answers in the pixels of the whole picture, which a graph that resizes would not know; "
            "leave out --preprocess"
        )
    if not task_class(card.task).tells and preprocess:
        raise ValueError(f"{name} makes pictures, of which there are none to resize; leave out --preprocess")
    if not task_class(card.task).tells and precision != "float32":
        raise ValueError(
            f"{name} makes pictures in steps of time, which {precision} rounds too much; leave it in float32"
        )
    if count > 1 and format == "torch":
        raise ValueError(
            "resnets reads one network's weights beside a model.pt2; export several runs to onnx or openvino"
        )


def judge(exported: Exported, before: Mapping[str, float], after: Mapping[str, float], split: str) -> Exported:
    """The export with what it is worth on a split, which its card tells from now on."""
    card = exported.run.card()
    facts = {**card.export, "before": dict(before), "evaluated_on": split}
    exported.run.write_card(replace(card, metrics=dict(after), export=facts))
    return replace(exported, before=before, after=after)


def worsening(aim: tuple[str, int], before: Mapping[str, float], after: Mapping[str, float]) -> float:
    """By how much a metric got worse: a share of 1 lost, such as accuracy, or the share by which an error grew."""
    metric, sign = aim
    change = sign * (before[metric] - after[metric])
    return change if sign > 0 else change / max(abs(before[metric]), 1e-12)


def versions() -> dict[str, str]:
    """Of the libraries that took part."""
    found = {}
    for library in ("resnets", "torch", "onnx", "onnxruntime", "openvino", "nncf"):
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
