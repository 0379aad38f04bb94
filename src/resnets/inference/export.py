"""A run as files of another engine, in a folder that is a run again.

| file | what it holds |
|---|---|
| `model.onnx`, `model.xml` with `model.bin`, or `model.pt2` | the network, from pixels to outputs |
| `model.json` | the card, with what was exported and how far it is from the run |
| `model.safetensors` | beside `model.pt2` alone: the weights |

A graph takes pixels (N, H, W, C) uint8 and normalises them; a whole one resizes and crops them, too. resnets itself
reads the weights beside a `model.pt2`, because PyTorch reads those files by means that can run code.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from resnets.data.dataset import Data, Dataset, UnreadablePictureError, reopen
from resnets.data.decoding import decode, open_picture
from resnets.data.order import permutation, uniform
from resnets.data.views import view
from resnets.inference.engines import PRECISIONS, Engine, engine_class, open_engine
from resnets.inference.graph import Answer, Outputs, graph_of
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.tasks import task_class
from resnets.types import Preprocessing

TOLERANCES = {"float32": (1e-3, 0.01), "bfloat16": (0.05, 0.1), "int8": (0.35, 0.35)}
"""The largest error of an export's outputs on pictures, as a share of the outputs' size (norms of the differences from
their mean), and that of a graph that resizes: single values of its pictures are rounded otherwise, many in
bfloat16. What the answers are worth is judged on the data."""

CALIBRATION_PICTURES = 300
COMPARED = 32
"""Training pictures that set the scales of int8, and pictures on which an export is compared with its network."""


FORMATS = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "eager"}
"""The engine that writes each format."""


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
    source: Run,
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
        source: a finished run.
        folder: what to write; it must not be there.
        format: one of `FORMATS`.
        precision: one of `PRECISIONS`; int8 takes its scales from the run's training pictures.
        preprocess: the graph takes whole pictures of any size, and resizes and crops them itself.
        batch: the number of pictures that it takes; None for any.
        data: where the run's training data is, if not where its card says.

    Raises:
        ValueError: for a format or precision that is not there, or an export that differs too much; nothing is left.
        FileExistsError: if the folder is there.
        ImportError: if a library is not installed, naming the extra.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; give another folder, or --overwrite")
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, not {batch}")
    kind = engine_of(format)
    if precision not in kind.exports:
        raise ValueError(f"the format {format} is written in {' or '.join(kind.exports)}, not {precision!r}")
    card, network = source.finished_card(), source.network()
    if not task_class(card.task).tells:
        raise ValueError(f"{source.folder} makes pictures; such networks cannot be exported yet, so use the run itself")
    if card.preprocessing.fit == "contain":
        raise ValueError(f"{source.folder} finds objects; such networks cannot be exported yet, so use the run itself")
    own = own_data(card, data)
    graph = graph_of(network, card.preprocessing, whole=preprocess, batch=batch, dtype=kind.exports[precision])
    calibration = list(calibration_pixels(card, own, preprocess, batch)) if precision == "int8" else []
    facts: dict[str, Any] = {
        "format": format,
        "precision": precision,
        "preprocess": preprocess,
        "batch": batch,
        "outputs": {"count": graph.outputs.count, "names": list(graph.outputs.names)},
        "source": str(source.folder),
        "calibration": {"split": "train", "pictures": len(calibration)} if calibration else None,
        "versions": versions(),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as temporary:
        written = Run(Path(temporary) / "run")
        written.write_card(replace(card, export=facts))
        kind.write(graph, written.folder, precision, calibration)
        if format == "torch":
            written.write_network(network)
        program = graph.program.module() if format == "torch" else None
        error, count = compare(source, written, picture_files(card, own), program)
        allowed = TOLERANCES[precision][preprocess]
        if not error <= allowed:
            raise ValueError(
                f"the export to {format} in {precision} gives other outputs than {source.folder}: they differ by "
                f"{error:.2%} of their size, more than {allowed:.2%}; nothing was written"
            )
        written.write_card(replace(card, export={**facts, "error": error, "compared": count}))
        shutil.move(written.folder, folder)
    return Exported(Run(folder), error, count)


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


def engine_of(format: str) -> Any:
    """The class of the engine that writes a format.

    Raises:
        ValueError: if there is none.
        ImportError: if its library is not installed, naming the extra.
    """
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r}; there is {', '.join(FORMATS)}")
    return engine_class(FORMATS[format])


def takes_whole_pictures(card: Card) -> bool:
    """Whether the engine that `open_export` gives resizes and crops."""
    return bool(card.export.get("preprocess")) and card.export["format"] != "torch"


def open_export(
    folder: Path, card: Card, device: torch.device, engine: str | None = None, precision: str | None = None
) -> Engine:
    """The engine of an exported run.

    Raises:
        ValueError: if another engine or precision is asked for than it was exported to.
        ImportError: if the engine's library is not installed, naming the extra.
    """
    facts, kind = card.export, engine_of(card.export["format"])
    name = FORMATS[facts["format"]]
    if facts["precision"] not in PRECISIONS:
        raise ValueError(f"{folder} is an export in {facts['precision']!r}; there is {', '.join(PRECISIONS)}")
    if engine not in (None, "auto", name) or precision not in (None, "auto", facts["precision"]):
        raise ValueError(
            f"{folder} is an export for {name} in {facts['precision']}, not for {engine or name} in "
            f"{precision or facts['precision']}; give the run it was made from, {facts['source']}"
        )
    if facts["format"] == "torch":
        return open_engine("eager", Run(folder).network(), card.preprocessing, facts["precision"], device)
    if device.type != "cpu":
        raise ValueError(f"the engine {name} computes on the cpu here, not on {device}")
    outputs = Outputs(facts["outputs"]["count"], tuple(facts["outputs"]["names"]))
    opened: Engine = kind.read(folder, outputs, facts["precision"])
    return opened


def compare(source: Run, written: Run, files: Iterable[bytes], program: nn.Module | None = None) -> tuple[float, int]:
    """How far an export's outputs are from the network's, and on how many picture files.

    Args:
        source: the run.
        written: its export.
        files: contents of picture files.
        program: what stands in a `model.pt2`, which is compared in the place of what resnets reads.
    """
    card, facts = source.card(), written.card().export
    network = source.network()
    cpu = torch.device("cpu")
    engine = program or open_export(written.folder, written.card(), cpu)
    reference = open_engine("eager", network, card.preprocessing, "float32", cpu)
    expected, found = [], []
    for file in files:
        picture = decode(open_picture(file), card.preprocessing.channels)  # (C, H, W)
        seen = pixels_of(picture, card.preprocessing, whole=False)
        given = pixels_of(picture, card.preprocessing, whole=facts["preprocess"])
        if program is not None and facts["batch"]:
            given = given.expand(facts["batch"], *given.shape[1:])
        with torch.inference_mode():
            found.append(flat(engine(given)))
        expected.append(flat(reference(seen)))
    a, b = torch.stack(found), torch.stack(expected)
    return ((a - b).norm() / (b - b.mean(0)).norm().clamp(min=1e-6)).item(), len(found)


def flat(answer: Answer) -> Tensor:
    """All numbers of the first picture's outputs, one after the other."""
    return torch.cat([tensor[0].float().flatten() for tensor in tree_leaves(answer)])


def pixels_of(picture: Tensor, preprocessing: Preprocessing, whole: bool) -> Tensor:
    """A decoded picture (C, H, W) as a batch of one for a graph, (1, H, W, C)."""
    return (picture if whole else view(picture, preprocessing)).permute(1, 2, 0)[None]


def calibration_pixels(card: Card, data: Data | None, whole: bool, batch: int | None) -> Iterator[Tensor]:
    """Batches of the run's training pictures, evenly from all of them, as the graph takes them."""
    if data is None:
        raise ValueError(
            f"int8 is calibrated with the run's training pictures, but they are not at {card.data.get('source')}; "
            "say by --data where they are"
        )
    waiting: list[Tensor] = []
    for picture in some_pictures(data.splits["train"], max(CALIBRATION_PICTURES, batch or 1), card):
        pixels = pixels_of(picture, card.preprocessing, whole)
        if whole and waiting and waiting[0].shape != pixels.shape:  # pictures of a batch have one size
            continue
        waiting.append(pixels)
        if len(waiting) == (batch or 1):
            yield torch.cat(waiting)
            waiting = []
    if waiting:
        yield torch.cat([*waiting, *[waiting[-1]] * ((batch or 1) - len(waiting))])


def picture_files(card: Card, data: Data | None) -> Iterator[bytes]:
    """Contents of files to compare on: pictures that the run was judged on where they are here, otherwise made ones."""
    if data is None:
        yield from made_files()
        return
    for picture in some_pictures(data.splits[card.data.get("evaluated_on") or "train"], COMPARED, card):
        file = io.BytesIO()
        pixels = picture.permute(1, 2, 0).numpy()
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
        yield file.getvalue()


def some_pictures(pictures: Dataset, count: int, card: Card) -> Iterator[Tensor]:
    """At most `count` of a split's pictures, (C, H, W), evenly from all of them; what cannot be read is left out."""
    for index in permutation(0, 0, len(pictures))[:count].tolist():
        try:
            yield pictures.picture(index, card.preprocessing.channels)
        except UnreadablePictureError:
            continue


def made_files(count: int = COMPARED) -> Iterator[bytes]:
    """Contents of JPEG files of several sizes and shapes, showing coloured clouds."""
    for number in range(count):
        width, height = 96 + 37 * (number % 5), 80 + 29 * (number % 7)
        values = uniform(0, 0, torch.tensor([number]), "clouds", 75).view(5, 5, 3)
        clouds = Image.fromarray((values * 255).to(torch.uint8).numpy())
        file = io.BytesIO()
        clouds.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        yield file.getvalue()


def versions() -> dict[str, str]:
    """Of the libraries that took part."""
    found = {}
    for library in ("resnets", "torch", "onnx", "onnxruntime", "openvino", "nncf"):
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def own_data(card: Card, source: str | Path | None = None) -> Data | None:
    """What the run was trained on, split as it was; None where it is not there any more, or has changed.

    Args:
        card: the run's.
        source: where it is now, if not where the card says.

    Raises:
        ValueError: if what is at `source` is not what the run was trained on.
    """
    try:
        data = reopen(card.data if source is None else {**card.data, "source": str(source)})
    except (OSError, ValueError, KeyError, ImportError):
        if source is not None:
            raise
        return None
    if data.fingerprint == card.data.get("fingerprint") and "train" in data.splits:
        return data
    if source is not None:
        raise ValueError(f"{source} is not what the run was trained on: names, labels or sizes of files differ")
    return None
