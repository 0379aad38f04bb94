"""Devices, processes and precision, as Lightning Fabric carries them, chosen for the machine."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from lightning_fabric.strategies.fsdp import FSDPStrategy

from resnets.inference.machine import computes_in_bfloat16, keep_freed_memory, processor_name

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


def create_engine(
    precision: str = "auto",
    accelerator: str = "auto",
    devices: int | str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
) -> Fabric:
    """A Fabric for this machine, to be launched.

    Args:
        precision: one of `PRECISIONS`; auto takes bfloat16 where the processor or GPU computes in it.
        accelerator: "cpu", "cuda", "mps" or "auto".
        devices: how many processes on this node; "auto" is one on a CPU and one for each GPU.
        num_nodes: machines, under torchrun or SLURM.
        strategy: "ddp", "fsdp", "auto" or another name that Fabric knows.

    Raises:
        ValueError: for a precision that is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    on_gpu = accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available()
    if accelerator == "auto" and not on_gpu and not torch.backends.mps.is_available():
        accelerator = "cpu"
    if accelerator == "cpu" and devices == "auto":
        devices = 1
    if precision == "auto":
        precision = "bf16-mixed" if computes_in_bfloat16(on_gpu) else "32-true"
    chosen: Any = FSDPStrategy(state_dict_type="full") if strategy == "fsdp" else strategy
    if on_gpu:
        torch.set_float32_matmul_precision("high")
    keep_freed_memory()
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=chosen,
        precision=precision,  # type: ignore[arg-type]
    )


def engine_facts(fabric: Fabric) -> dict[str, Any]:
    """What a card says of the machine that trains."""
    return {
        "precision": fabric._precision.precision,
        "device": torch.cuda.get_device_name() if fabric.device.type == "cuda" else processor_name(),
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
    }


def create_logger(name: str, folder: Path) -> Logger:
    """A logger that writes beside the run's `metrics.csv`; see `logger_class` for the names."""
    kind = logger_class(name)
    logger: Logger = kind(folder, name="log") if issubclass(kind, TensorBoardLogger) else kind(save_dir=folder)
    return logger


def logger_class(name: str) -> type[Any]:
    """The class of a logger: "tensorboard", or any Lightning logger by its full name.

    Raises:
        ValueError: if there is no such class.
    """
    if name == "tensorboard":
        return TensorBoardLogger
    module, _, class_name = name.rpartition(".")
    try:
        kind: type[Any] = getattr(import_module(module), class_name)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(
            f"there is no logger {name!r}; give tensorboard (pip install 'resnets[track]') or the full name of a "
            "Lightning logger class, such as lightning.pytorch.loggers.WandbLogger"
        ) from None
    return kind
