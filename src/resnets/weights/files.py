"""Tensors in files: only tensors, never code.

Reads safetensors (.safetensors) and PyTorch's files (.pth, .pt) through its tensors-only unpickler; writes
safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts keep the network's tensors beside other things."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    A training script's file may have them under one of `WRAPPERS`. The "module." that DistributedDataParallel
    puts before every name is taken off.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of another format, damaged, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a whole safetensors file: {error}") from error
    if path.suffix not in (".pth", ".pt"):
        raise ValueError(f"{path} is not a weights file; .safetensors, .pth and .pt are read")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail anywhere
        raise ValueError(f"{path} is damaged or holds more than tensors, so it was not read") from error
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise ValueError(f"{path} does not hold a network's tensors by name")
    return {key.removeprefix("module."): value for key, value in content.items()}


def write_tensors(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Write tensors by name as safetensors, bit for bit."""
    save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path)
