"""Exports in the layout of other servers: a model repository of Triton Inference Server or OpenVINO Model Server.

    REPOSITORY/config.json                 OpenVINO Model Server: the models, by paths relative to this file
    REPOSITORY/NAME/config.pbtxt           Triton: inputs and outputs, and how requests are gathered
    REPOSITORY/NAME/labels.txt             names of the classes, one a line
    REPOSITORY/NAME/1, 2...                versions, each an export as `write_export` leaves it, which is a run still

Both servers answer by the latest version, and both look for new ones. The formats are those of Triton's "Model
Repository" and "Model Configuration", of its OpenVINO backend, and of OpenVINO Model Server's "Model Repository" and
"Model Configuration Options".
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from resnets.inference.engines import Port
from resnets.inference.exported import open_graph
from resnets.inference.parts import FILE as FOLLOWING
from resnets.runs.card import Card
from resnets.runs.run import Run, write_whole
from resnets.tasks import task_class

SERVERS = {"triton": ("onnx", "openvino"), "ovms": ("openvino", "onnx")}
"""The formats that each server takes, the one by default first."""

BACKENDS = {"onnx": "onnxruntime", "openvino": "openvino"}
"""Triton's names of what computes each format."""

TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
"""Triton's names of types."""

HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""OpenVINO's names of what is computed in; left to itself it takes bfloat16 wherever the processor has it."""

GATHERED = 32
"""Pictures of several requests that Triton computes at a time."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def write_repository(export: Run, repository: Path, server: str, name: str) -> Path:
    """Add an export to a repository as the latest version of a model.

    Args:
        export: as `write_export` leaves it.
        repository: the folder, which need not be there.
        server: one of `SERVERS`.
        name: by which clients ask for the model.

    Returns:
        The version's folder.

    Raises:
        ValueError: if there is no such server, or it does not take the export's format or the name, or if the graph is
            a part of what its network does, as in Faster R-CNN or a network that makes pictures.
        ImportError: if the engine's library is not installed, naming the extra.
    """
    card = export.finished_card()
    check(server, card.export.get("format"), name)
    if not task_class(card.task).tells or (export.folder / FOLLOWING).is_file():
        raise ValueError(
            f"{export.folder} is one step of {card.model}, which no server repeats or finishes; `resnets serve` and "
            "`resnets generate` do"
        )
    config = ovms_config(repository / "config.json", name, card) if server == "ovms" else ""
    engine: Any = open_graph(export.folder, card, torch.device("cpu"))
    model = repository / name
    model.mkdir(parents=True, exist_ok=True)
    write_whole(model / "labels.txt", "".join(f"{' '.join(label.split())}\n" for label in card.classes))
    if server == "triton":
        write_whole(model / "config.pbtxt", triton_config(name, card, *engine.ports()))
    version = model / str(max([0, *(int(path.name) for path in model.iterdir() if path.name.isdecimal())]) + 1)
    with tempfile.TemporaryDirectory(dir=repository, prefix=".version-") as temporary:
        copied = shutil.copytree(export.folder, Path(temporary) / "version")
        copied.rename(version)  # a server that is looking sees all of it or nothing
    if server == "ovms":
        write_whole(repository / "config.json", config)
    return version


def check(server: str, format: str | None, name: str) -> None:
    """See whether a server takes a format and the name of a model.

    Raises:
        ValueError: if it does not, or there is no such server.
    """
    if server not in SERVERS:
        raise ValueError(f"there is no server {server!r}; there is {', '.join(SERVERS)}")
    if format not in SERVERS[server]:
        raise ValueError(f"{server} takes exports to {' or '.join(SERVERS[server])}, not to {format}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a model; use letters, digits, dots, dashes and underscores")


def triton_config(name: str, card: Card, inputs: Sequence[Port], outputs: Sequence[Port]) -> str:
    """`config.pbtxt`: protocol buffers' text format of Triton's `ModelConfig`.

    Where any number of pictures is taken, Triton gathers requests for ONNX Runtime. For OpenVINO it does not, because
    its backend would fix the batch to the largest, and the first side of all tensors is written out.
    """
    gathers = card.export["format"] == "onnx" and card.export["batch"] is None
    lines = [
        f'name: "{name}"',
        f'backend: "{BACKENDS[card.export["format"]]}"',
        f"max_batch_size: {GATHERED if gathers else 0}",
    ]
    labelled = card.task in ("classification", "multilabel") and len(outputs) == 1
    for field, ports in (("input", inputs), ("output", outputs)):
        for port in ports:
            sides = ", ".join(map(str, port.shape[1:] if gathers else port.shape))
            lines += [
                f"{field} [",
                "  {",
                f'    name: "{port.name}"',
                f"    data_type: {TYPES[port.kind]}",
                f"    dims: [ {sides} ]",
                *(['    label_filename: "labels.txt"'] if field == "output" and labelled else []),
                "  }",
                "]",
            ]
    if gathers:
        lines.append("dynamic_batching { }")
    if card.export["format"] == "openvino" and card.export["precision"] == "bfloat16":
        lines += ["parameters {", '  key: "HINT_BF16"', '  value { string_value: "YES" }', "}"]
    return "\n".join(lines) + "\n"


def ovms_config(path: Path, name: str, card: Card) -> str:
    """`config.json` with one more model, or with that model's entry anew.

    Raises:
        ValueError: if there is a file already that is none.
    """
    others: list[dict[str, Any]] = []
    if path.exists():
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["model_config_list"]
            others = [entry for entry in entries if entry["config"]["name"] != name]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is no configuration of OpenVINO Model Server; choose another folder") from None
    hint = {"INFERENCE_PRECISION_HINT": HINTS[card.export["precision"]]}
    own = {"config": {"name": name, "base_path": name, "plugin_config": hint}}
    return json.dumps({"model_config_list": [*others, own]}, indent=2) + "\n"
