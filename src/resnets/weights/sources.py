"""Where weights come from: torchvision, the Hugging Face Hub, an address, a file, a run, or this package."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
import torchvision
from torch import Tensor
from torchvision.transforms import InterpolationMode

from resnets.types import Interpolation, Preprocessing
from resnets.weights import hub
from resnets.weights.descriptions import card_fields, read_text
from resnets.weights.files import PYTORCH, ending, read_tensors

INTERPOLATIONS: dict[InterpolationMode, Interpolation] = {
    InterpolationMode.NEAREST: "nearest",
    InterpolationMode.BILINEAR: "bilinear",
    InterpolationMode.BICUBIC: "bicubic",
}


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet's pictures."""

WITHOUT_EPS = ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn")
"""Detectors whose weights COCO_V1 are from when torchvision's frozen batch norm added nothing to the variances."""

EPS = 1e-5
"""What batch norm adds to the variances."""

TINY = 1e-14
"""Below it a variance is nothing: of a channel that is always the same."""

OBJECTS_SIZE = (800, 1333)
"""What torchvision's detectors see of a picture that is wider than high."""


@dataclass(frozen=True)
class Weights:
    """Tensors, and what is known of the network they are from.

    Attributes:
        source: by which they can be found again.
        origin: how to call them.
        tensors: by the names that their file has.
        preprocessing: what that network's pictures went through, if that is known.
        classes: the names of its outputs, if they are known.
        model: its name with us, if that is known.
        architecture: its declaration, if that is known.
    """

    source: str
    origin: str
    tensors: Mapping[str, Tensor]
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None
    model: str | None = None
    architecture: Mapping[str, Any] | None = None


def find_weights(source: str | Path, model: str) -> Weights:
    """The weights that a source names. Nothing is fetched from the network unless the name asks for it.

    | source | what it is |
    |---|---|
    | torchvision, torchvision:NAME | torchvision's best weights of `model`, or those of that name |
    | hf:OWNER/NAME, hf:OWNER/NAME@REVISION | a repository of timm, transformers or `resnets publish` on the Hub |
    | https://...#sha256=HASH | a file of tensors, whose SHA-256 must be that |
    | a folder | a run, or a repository of the Hub on disk |
    | a file | .safetensors, .pth, .pt, .th, .ckpt, .bin or .pth.tar with tensors only |
    | a name of `shipped()` | weights in this package |

    Raises:
        ValueError: for a source that is none of these, or holds what was not to be expected.
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be fetched.
    """
    name, path = str(source), Path(source)
    if name.partition(":")[0] == "torchvision":
        return from_torchvision(name, model)
    if name.startswith("hf:"):
        return from_folder(hub.download(name.removeprefix("hf:")), name)
    if name.startswith(("http://", "https://")):
        return Weights(name, name.partition("#")[0], read_tensors(fetch(name)))
    if path.is_dir():
        return from_folder(path, name)
    if name in shipped():
        return from_folder(shipped()[name], name)
    if path.is_file() or ending(path):
        return Weights(name, name, read_tensors(path))
    raise ValueError(
        f"there are no weights {name!r}; give torchvision, hf:OWNER/NAME, https://...#sha256=HASH, a run's folder, "
        f"a file (.safetensors, {', '.join(PYTORCH)}), or one of those in the package: {', '.join(shipped()) or 'none'}"
    )


def shipped() -> dict[str, Path]:
    """The folders of the runs in this package, by name."""
    folder = Path(str(resources.files(__package__))) / "shipped"
    return {run.name: run for run in sorted(folder.iterdir())} if folder.is_dir() else {}


def from_torchvision(source: str, model: str) -> Weights:
    """torchvision's weights of a model: the best, or as "torchvision:IMAGENET1K_V1" names them.

    Raises:
        ValueError: if it has no such weights.
        OSError: if they cannot be fetched.
    """
    asked = source.partition(":")[2].rpartition(".")[2] or "DEFAULT"
    try:
        known = torchvision.models.get_model_weights(model)
    except ValueError:
        raise ValueError(
            f"torchvision has no {model}, so no weights of it; `resnets models` says where it is from"
        ) from None
    if asked not in known.__members__:
        raise ValueError(f"torchvision has no weights {asked} of {model}; it has {', '.join(known.__members__)}")
    chosen = known[asked]
    try:
        tensors = chosen.get_state_dict(check_hash=True, weights_only=True, map_location="cpu")
    except OSError as error:
        raise OSError(f"torchvision's weights could not be fetched from {chosen.url}: {error}") from None
    seen = chosen.transforms()
    if not hasattr(seen, "crop_size") and hasattr(seen, "resize_size"):  # of pixels
        side = seen.resize_size[0]
        preprocessing = Preprocessing((side, side), 3, tuple(seen.mean), tuple(seen.std), fit="contain")
        names = tuple(chosen.meta["categories"])
        return Weights(f"torchvision:{asked}", f"torchvision {chosen}", tensors, preprocessing, names, model)
    if not hasattr(seen, "crop_size"):  # a detector, which normalises by itself as ImageNet's networks do
        preprocessing = Preprocessing(OBJECTS_SIZE, 3, IMAGENET_MEAN, IMAGENET_STD, fit="contain")
        names = tuple(chosen.meta["categories"])[1:]  # the first is what is no object
        if model in WITHOUT_EPS and chosen.name == "COCO_V1":
            tensors = without_eps(tensors)
        return Weights(f"torchvision:{asked}", f"torchvision {chosen}", tensors, preprocessing, names, model)
    preprocessing = Preprocessing(
        size=(seen.crop_size[0], seen.crop_size[0]),
        channels=3,
        mean=tuple(seen.mean),
        std=tuple(seen.std),
        crop=seen.crop_size[0] / seen.resize_size[0],
        interpolation=INTERPOLATIONS[seen.interpolation],
    )
    return Weights(
        f"torchvision:{asked}", f"torchvision {chosen}", tensors, preprocessing, tuple(chosen.meta["categories"]), model
    )


def without_eps(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of batch norms that add nothing to the variances, for such as add `EPS`, by their scales.

    The variances themselves stay: less `EPS`, the smallest would round to what makes infinite numbers.
    """
    scales = {
        name.replace("running_var", "weight"): ((value + EPS) / value.clamp(min=TINY)).sqrt()
        for name, value in tensors.items()
        if name.endswith("running_var")
    }
    return {name: value * scales[name] if name in scales else value for name, value in tensors.items()}


def fetch(address: str) -> Path:
    """The file at an address that ends in its SHA-256, fetched unless it was before.

    Raises:
        ValueError: if the address has no SHA-256, or the file has another.
        OSError: if it cannot be fetched.
    """
    url, _, fragment = address.partition("#")
    match = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment.lower())
    if match is None:
        raise ValueError(
            f"{url} needs its SHA-256, so that what arrives is what was meant: {url}#sha256=<64 digits from 0 to f>"
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / f"{match[1]}{ending(urlsplit(url).path)}"
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == match[1]:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=match[1])
    except RuntimeError:
        raise ValueError(f"{url} has not the SHA-256 that was given, {match[1]}; nothing of it was kept") from None
    except OSError as error:
        raise OSError(f"{url} could not be fetched: {error}") from None
    return path


def from_folder(folder: Path, origin: str) -> Weights:
    """The weights of a run, or of a repository of the Hub.

    Raises:
        ValueError: if the folder is neither.
    """
    if (folder / "model.json").is_file():
        return _from_run(folder, origin)
    if (folder / "config.json").is_file():
        described = hub.describe(folder)
        return Weights(origin, origin, read_tensors(hub.weights_file(folder)), **described)
    raise ValueError(
        f"{folder} holds no weights: it has neither the model.json of a run nor the config.json of the Hub"
    )


def _from_run(folder: Path, origin: str) -> Weights:
    card = card_fields(read_text(folder / "model.json"), str(folder / "model.json"))
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ValueError(f"{origin} has no weights yet: its training has not ended")
    return Weights(
        origin,
        origin,
        read_tensors(path),
        card["preprocessing"],
        card["classes"],
        card["model"],
        card["architecture"],
    )
