"""Tensors in files: only tensors, never code.

Reads safetensors (.safetensors) and PyTorch's files (`PYTORCH`) through its tensors-only unpickler; writes safetensors.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

PYTORCH = (".pth", ".pt", ".th", ".ckpt", ".bin", ".pth.tar")
"""Endings of the files that `torch.save` is used to write; the last by PyTorch's example, and no archive."""

WRAPPERS = (
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema",
    "params_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "average",
    "params",
    "weights",
)
"""Keys under which training scripts keep a network's tensors beside other things, averages over training first."""

DEEPEST = 4
"""How many dictionaries may stand in each other."""


def ending(path: str | Path) -> str:
    """Which ending of a weights file, in small letters, a path has; "" if none."""
    name = Path(path).name.lower()
    return next((known for known in (".safetensors", *PYTORCH) if name.endswith(known)), "")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    A training script's file may have them under one of `WRAPPERS`. What else stands beside them is left out, which a
    warning tells.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of another format, damaged, needs anything but tensors and plain values to be read, or has
            tensors that claim more numbers than it holds.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    if not ending(path):
        raise ValueError(f"{path} is not a weights file; .safetensors, {', '.join(PYTORCH)} are read")
    if ending(path) == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(_what_else(path) or f"{path} is not a whole safetensors file: {error}") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere
        raise ValueError(_what_else(path) or _why_not(path)) from error
    found = unwrapped(content)
    if found is None:
        raise ValueError(f"{path} does not hold a network's tensors by name")
    tensors = _tensors_of(found)
    if others := [str(name) for name in found if name not in tensors]:
        named = ", ".join(others[:3]) + (" and more" if len(others) > 3 else "")
        warnings.warn(f"{path} holds {named} beside its tensors, which is left out", stacklevel=2)
    for name, value in tensors.items():
        if not _stored(value):
            raise ValueError(f"{path} holds {name}, which claims more numbers than are in the file; save it whole")
    return tensors


def unwrapped(content: object, deepest: int = DEEPEST) -> Mapping[Any, Any] | None:
    """The dictionary of a network's tensors by name, perhaps with other things, in what a script saved, or None."""
    if not isinstance(content, Mapping) or deepest == 0:
        return None
    for key in WRAPPERS:
        found = unwrapped(content.get(key), deepest - 1)
        if found is not None and any(value.ndim > 1 for value in _tensors_of(found).values()):
            return found  # of vectors alone it is no network, but what an average keeps beside it
    return content if _tensors_of(content) else None


def _tensors_of(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _stored(tensor: Tensor) -> bool:
    """Whether each number of a tensor has its own place in memory; one that was expanded has not."""
    if tensor.layout != torch.strided or tensor.is_meta:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _what_else(path: Path) -> str:
    """What a file that could not be read is, where it is none of weights, and what to do; "" if that is not known."""
    with path.open("rb") as file:
        begin = file.read(64).lstrip().lower()
    if begin.startswith((b"<!doctype html", b"<html")):
        return f"{path} is a web page and holds no weights; fetch the file that its address was meant for"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return (
                    f"{path} is a TorchScript program, and only tensors are loaded; where you trust it, save "
                    "torch.jit.load(path).state_dict() by torch.save"
                )
    return ""


def _why_not(path: Path) -> str:
    """Why PyTorch's tensors-only unpickler refused a file."""
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # the file is damaged, or of the format before PyTorch 1.6
        foreign = []
    if not foreign:
        return f"{path} is damaged or holds more than tensors, so it was not read"
    return (
        f"{path} was not read: unpickling it would run {', '.join(sorted(foreign)[:3])}, and only tensors are loaded; "
        "where you trust it, save its state_dict as .safetensors with the code that wrote it"
    )


def write_tensors(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Write tensors by name as safetensors, bit for bit."""
    content = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
    Path(path).write_bytes(content)  # save_file would make a file that nobody else may read
