"""A run as a repository of the Hugging Face Hub, which timm, too, can load where it has the network."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Template
from torch import Tensor

from resnets.networks.catalogue import CATALOGUE, build, declaration_from_dict
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.tasks import task_class
from resnets.weights.files import write_tensors

FREE = ("num_classes", "in_channels", "drop_path", "dropout", "zero_init_last")
"""Fields of a declaration that may differ from the catalogue's in a network that timm builds by its name."""

PIPELINES = {
    "classification": "image-classification",
    "multilabel": "image-classification",
    "detection": "object-detection",
    "segmentation": "image-segmentation",
}
"""The Hub's names of our tasks, as far as it has them."""

TEMPLATE = Path(str(resources.files(__package__))) / "readme.md"


def publish(run: Run, folder: Path, name: str, license: str = "unknown", half: bool = False) -> None:
    """Write a repository: weights, card, `config.json` as timm reads it, and README.md.

    The folder is a run still: whoever has it predicts with it, or begins a training from it. A network that recognises
    has no need of the names of whom or what it was trained on; they are left out.

    Args:
        run: finished.
        folder: to write; it must be new or empty.
        name: of the repository, for its README.
        license: an identifier of the Hub, such as "apache-2.0".
        half: write the weights as float16, in half the space, but for tensors with numbers that it does not reach.

    Raises:
        FileNotFoundError: if the folder is no run, or its training has not ended.
        FileExistsError: if there is something in the folder.
    """
    card = run.card()
    if task_class(card.task).embeds:
        card = replace(card, classes=(), data={**card.data, "left_out": {}})
    tensors = run.network().state_dict()
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; publish into a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    if half:
        tensors = {name: halved(value) for name, value in tensors.items()}
    write_tensors(tensors, folder / run.weights_path.name)
    Run(folder).write_card(card)
    (folder / "config.json").write_text(json.dumps(config(card), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(readme(card, name, license), encoding="utf-8")


def halved(tensor: Tensor) -> Tensor:
    """A tensor as float16, unless it is no floats or has one beyond the 65,504 that float16 reaches."""
    return half if tensor.is_floating_point() and (half := tensor.half()).isfinite().all() else tensor


def timm_name(card: Card) -> str | None:
    """timm's name of the very same network, if timm reads its tensors; otherwise None."""
    declaration, known = declaration_from_dict(card.architecture), CATALOGUE.get(card.model)
    if known is None:
        return None
    as_published = {field: getattr(known, field) for field in FREE if hasattr(known, field)}
    if getattr(declaration, "norm", None) == "frozen":  # batch norm, but for training
        as_published["norm"] = "batch"
    if replace(declaration, **as_published) != known:
        return None
    if not known.loads_into_timm:
        return None
    return None if card.model == "preresnet200" else card.model.replace("preresnet", "resnetv2_")


def config(card: Card) -> dict[str, Any]:
    """What timm's `create_model("hf-hub:...")` reads; for a network that timm does not read, who can."""
    name, seen = timm_name(card), card.preprocessing
    common: dict[str, Any] = {"num_classes": declaration_from_dict(card.architecture).num_classes}
    if not task_class(card.task).embeds:
        common |= {"label_names": list(card.classes)}
    if name is None:
        return {"library_name": "resnets", "model": card.model, **common}
    network = build(declaration_from_dict(card.architecture))
    return {
        "architecture": name,
        "num_features": network.stages[-1].channels,
        "pretrained_cfg": {
            "input_size": [seen.channels, *seen.size],
            "fixed_input_size": False,
            "interpolation": seen.interpolation,
            "crop_pct": seen.crop,
            "crop_mode": "center",
            "mean": list(seen.mean),
            "std": list(seen.std),
            "first_conv": next(key for key, value in network.state_dict().items() if value.ndim == 4).rpartition(".")[
                0
            ],
            "classifier": network.timm_logits_layer or network.logits_layer,
            **common,
        },
        **common,
    }


def readme(card: Card, name: str, license: str) -> str:
    """The Hub's model card: its front matter with the metrics, and how to use the network."""
    data, timm = card.data, timm_name(card) is not None
    formats = task_class(card.task).formats if card.metrics else {}
    kind = PIPELINES.get(card.task)
    measured = {
        "task": {"type": kind or card.task},
        "dataset": {"name": data.get("name"), "type": data.get("name"), "split": data.get("evaluated_on")},
        "metrics": [{"type": key, "value": card.metrics[key]} for key in formats],
    }
    front = {
        "library_name": "timm" if timm else "resnets",
        "license": license,
        **({"pipeline_tag": kind} if kind else {}),
        "tags": ["resnets"],
        "model-index": [{"name": name, "results": [measured] if formats else []}],
    }
    template = Template(TEMPLATE.read_text(encoding="utf-8"), trim_blocks=True, keep_trailing_newline=True)
    return template.render(
        front=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        name=name,
        card=card,
        metrics={label: form.format(card.metrics[key]) for key, (label, form) in formats.items()},
        timm=timm,
        license=license,
    )
