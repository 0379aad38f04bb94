"""Repositories of the Hugging Face Hub: fetching, reading what timm and transformers say of theirs, and sending."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnets.types import Interpolation, Preprocessing

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names of weights in a repository, the first that is there being read."""

DESCRIPTIONS = ("config.json", "preprocessor_config.json", "model.json")

PILLOW_FILTERS: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters, by which transformers names them."""

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def download(repository: str) -> Path:
    """Fetch a repository's weights and descriptions; what is there already is not fetched again.

    Args:
        repository: "OWNER/NAME", or "OWNER/NAME@REVISION".

    Raises:
        ImportError: without huggingface_hub.
        OSError: if there is no such repository, or no network.
    """
    library = _library()
    name, _, revision = repository.partition("@")
    try:
        for weights in WEIGHTS:
            folder = Path(
                library.snapshot_download(name, revision=revision or None, allow_patterns=[*DESCRIPTIONS, weights])
            )
            if (folder / weights).is_file():
                return folder
    except (OSError, ValueError) as error:  # the library's errors are of one of these kinds
        raise OSError(f"hf:{repository} could not be fetched: {str(error).splitlines()[0]}") from None
    raise ValueError(f"hf:{repository} has neither {' nor '.join(WEIGHTS)}")


def upload(folder: Path, repository: str, space: bool = False) -> str:
    """Send a folder's files to a repository of the Hub, or a Space of Gradio's, which is made if need be; its address.

    Raises:
        ImportError: without huggingface_hub.
        OSError: if it cannot be sent.
    """
    library = _library()
    try:
        kind, sdk = ("space", "gradio") if space else ("model", None)
        address = library.create_repo(repository, repo_type=kind, space_sdk=sdk, exist_ok=True)
        library.upload_folder(repo_id=repository, repo_type=kind, folder_path=folder)
    except (OSError, ValueError) as error:
        raise OSError(f"{folder} could not be sent to {repository}: {str(error).splitlines()[0]}") from None
    return str(address)


def weights_file(folder: Path) -> Path:
    """The weights in a repository's folder.

    Raises:
        ValueError: if there are none.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder} has neither {' nor '.join(WEIGHTS)}")


def describe(folder: Path) -> dict[str, Any]:
    """`preprocessing`, `classes` and `model`, as far as a repository's config.json tells them."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") == "resnet":
        return _of_transformers(config, folder / "preprocessor_config.json")
    return _of_timm(config)


def _of_timm(config: Mapping[str, Any]) -> dict[str, Any]:
    seen = config.get("pretrained_cfg", config)
    channels, height, width = seen.get("input_size", (3, 224, 224))
    labels = seen.get("label_names", config.get("label_names"))
    named = seen.get("interpolation", "bicubic")
    preprocessing = None
    if channels in (1, 3):
        preprocessing = Preprocessing(
            size=(height, width),
            channels=channels,
            mean=tuple(seen.get("mean", IMAGENET["mean"])),
            std=tuple(seen.get("std", IMAGENET["std"])),
            crop=seen.get("crop_pct", 0.875),
            interpolation=named if named in ("nearest", "bilinear") else "bicubic",
        )
    return {
        "preprocessing": preprocessing,
        "classes": tuple(labels) if labels else None,
        "model": str(config["architecture"]).replace("resnetv2_", "preresnet") if "architecture" in config else None,
    }


def _of_transformers(config: Mapping[str, Any], processor: Path) -> dict[str, Any]:
    labels = config.get("id2label", {})
    preprocessing = None
    if processor.is_file():
        seen = json.loads(processor.read_text(encoding="utf-8"))
        asked = seen.get("size", {})
        side = asked if isinstance(asked, int) else asked.get("shortest_edge", 224)
        preprocessing = Preprocessing(
            size=(side, side),
            channels=3,
            mean=tuple(seen["image_mean"]),
            std=tuple(seen["image_std"]),
            crop=seen.get("crop_pct", 1.0),
            interpolation=PILLOW_FILTERS.get(seen.get("resample", 3), "bicubic"),
        )
    layers = sum(config["depths"]) * (3 if config["layer_type"] == "bottleneck" else 2) + 2
    return {
        "preprocessing": preprocessing,
        "classes": tuple(labels[number] for number in sorted(labels, key=int)) or None,
        "model": f"resnet{layers}",
    }


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError("the Hugging Face Hub needs huggingface_hub: pip install 'resnets[hub]'") from error
    return huggingface_hub
