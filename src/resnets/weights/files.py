"""Tensors in files: only tensors, never code.

Reads safetensors (.safetensors) and PyTorch's files (.pth, .pt, .th, .ckpt, .bin) through its tensors-only unpickler;
writes safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

PYTORCH = (".pth", ".pt", ".th", ".ckpt", ".bin")
"""Endings of the files that `torch.save` is used to write."""

WRAPPERS = (
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "average",
)
"""Keys under which training scripts keep a network's tensors beside other things, averages over training first."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    A training script's file may have them under one of `WRAPPERS`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of another format, damaged, or needs anything but tensors and plain values to be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    if path.suffix not in PYTORCH:
        raise ValueError(f"{path} is not a weights file; .safetensors, {', '.join(PYTORCH)} are read")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere
        raise ValueError(_why_not(path)) from error
    tensors = unwrapped(content)
    if tensors is None:
        raise ValueError(f"{path} does not hold a network's tensors by name")
    return tensors


def unwrapped(content: object) -> dict[str, Tensor] | None:
    """The tensors by name in what a training script saved, or None."""
    if not isinstance(content, Mapping):
        return None
    for key in WRAPPERS:
        if isinstance(content.get(key), Mapping):
            return unwrapped(content[key])
    named = all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    return dict(content) if named else None


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
