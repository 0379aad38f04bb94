"""Repositories of the Hugging Face Hub: fetching, reading what timm and transformers say of theirs, and sending."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnets.networks.architecture import Architecture
from resnets.networks.catalogue import CATALOGUE
from resnets.types import Interpolation, Preprocessing
from resnets.weights.descriptions import parsed, read_text

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names of weights in a repository, the first that is there being read."""

DESCRIPTIONS = ("config.json", "preprocessor_config.json", "model.json")

PILLOW_FILTERS: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of filters, by which transformers names them."""

UNLIKE_OURS = {
    r"tf_": "pads its convolutions as TensorFlow does",
    r"\w*(blur|aa)\d": "blurs its maps before it halves them",
    r"\w*_bit": "standardises the weights of its convolutions",
}
"""Beginnings of timm's names of networks whose tensors are named as some of ours, but which compute something else."""

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
        raise OSError(f"hf:{repository} could not be fetched: {_said(error)}") from None
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
        raise OSError(f"{folder} could not be sent to {repository}: {_said(error)}") from None
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
    """`preprocessing`, `classes`, `model` and `architecture`, as far as a repository's config.json tells them.

    Raises:
        ValueError: if it is damaged, or of a network that we do not have although its tensors are named as ours.
    """
    path = folder / "config.json"
    config = parsed(read_text(path), str(path))
    try:
        described = _of_transformers if config.get("model_type") == "resnet" else _of_timm
        return described(config, folder)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} describes no network that can be loaded: {told}") from None


def _of_timm(config: Mapping[str, Any], _: Path) -> dict[str, Any]:
    named = str(config.get("architecture", ""))
    for pattern, why in UNLIKE_OURS.items():
        if re.match(pattern, named):
            raise ValueError(f"timm's {named} {why}, which no network here does")
    model = named.replace("resnetv2_", "preresnet")
    seen = config.get("pretrained_cfg") or config
    channels, height, width = seen.get("input_size", (3, 224, 224))
    labels = seen.get("label_names", config.get("label_names"))
    filtered = seen.get("interpolation", "bicubic")
    preprocessing = None
    if channels in (1, 3):
        preprocessing = Preprocessing(
            size=(height, width),
            channels=channels,
            mean=tuple(seen.get("mean") or IMAGENET["mean"]),
            std=tuple(seen.get("std") or IMAGENET["std"]),
            crop=seen.get("crop_pct", 0.875),
            interpolation=filtered if filtered in ("nearest", "bilinear") else "bicubic",
        )
    return {
        "preprocessing": preprocessing,
        "classes": tuple(labels) if labels else None,
        "model": model if model in CATALOGUE else None,  # timm's resnet26 is none of CIFAR's
        "architecture": None,
    }


def _of_transformers(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    if config.get("downsample_in_first_stage"):
        raise ValueError("downsample_in_first_stage halves the maps of the first stage, which no network here does")
    if config.get("hidden_act", "relu") != "relu":  # theirs is after the sums alone, with ReLU within F(x)
        raise ValueError(
            f"hidden_act is {config['hidden_act']} after sums and ReLU elsewhere, which no network here does"
        )
    block = config["layer_type"]
    declaration = Architecture(
        depths=tuple(config["depths"]),
        widths=tuple(width // (4 if block == "bottleneck" else 1) for width in config["hidden_sizes"]),
        block=block,
        stem_width=config.get("embedding_size", 64),
        stride_at="1x1" if block == "bottleneck" and config.get("downsample_in_bottleneck") else "3x3",
        in_channels=config.get("num_channels", 3),
        source="arXiv:1512.03385",
    )
    labels = config.get("id2label", {})
    preprocessing, processor = None, folder / "preprocessor_config.json"
    if processor.is_file():
        seen = parsed(read_text(processor), str(processor))
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
    return {
        "preprocessing": preprocessing,
        "classes": tuple(labels[number] for number in sorted(labels, key=int)) or None,
        "model": f"resnet{declaration.layers}",
        "architecture": declaration.to_dict(),
    }


def _said(error: Exception) -> str:
    """The first line of an error; of one that says nothing, its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError("the Hugging Face Hub needs huggingface_hub: pip install 'resnets[hub]'") from error
    return huggingface_hub
