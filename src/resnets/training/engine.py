"""Devices, processes and precision, as Lightning Fabric carries them, chosen for the machine."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from torch import distributed

from resnets.inference.machine import computes_in_bfloat16, keep_freed_memory, processor_name
from resnets.training.launch import find_launch, meet_again
from resnets.training.sharding import shard

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "cuda", "mps")
STRATEGIES = ("auto", "ddp", "fsdp")

FABRICS = ("CSVLogger", "TensorBoardLogger")
PYTORCHS = (*FABRICS, "CometLogger", "MLFlowLogger", "NeptuneLogger", "WandbLogger")
"""Loggers of Lightning Fabric, and of Lightning for PyTorch."""

LOGGERS = frozenset(
    {"tensorboard"}
    | {f"{package}.loggers.{name}" for package in ("lightning.fabric", "lightning_fabric") for name in FABRICS}
    | {f"{package}.loggers.{name}" for package in ("lightning.pytorch", "pytorch_lightning") for name in PYTORCHS}
)
"""Lightning's own, which a card may name."""

LONGEST_WAIT = 1800.0
"""Seconds that a process waits for the others before it gives up, which is when one of them hangs or reads for long."""


def create_engine(
    precision: str = "auto",
    accelerator: str = "auto",
    devices: int | str = "auto",
    nodes: int | None = None,
    strategy: str = "auto",
    longest_wait: float = LONGEST_WAIT,
) -> Fabric:
    """A Fabric for this machine, to be launched.

    Args:
        precision: one of `PRECISIONS`; auto takes bfloat16 where the processor or GPU computes in it.
        accelerator: one of `ACCELERATORS`.
        devices: how many processes on this node; "auto" is as many as torchrun or SLURM has started, otherwise one on a
            CPU and one for each GPU.
        nodes: machines; by default as many as torchrun or SLURM has started processes on, otherwise one.
        strategy: one of `STRATEGIES`; "ddp" keeps the network in every process, "fsdp" a part of it.
        longest_wait: seconds that a process waits for another.

    Raises:
        ValueError: for a name that is unknown, devices that are not there, processes that nobody starts, or a strategy
            that does not fit them.
    """
    for name, value, known in (
        ("precision", precision, PRECISIONS),
        ("accelerator", accelerator, ACCELERATORS),
        ("strategy", strategy, STRATEGIES),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    accelerator, per_node, nodes = processes(accelerator, devices, nodes)
    if strategy == "fsdp" and per_node * nodes == 1:
        raise ValueError("strategy fsdp deals the network out to several processes; ask for two --devices or more")
    if strategy == "fsdp" and precision == "16-mixed":
        raise ValueError("strategy fsdp does not scale the loss as 16-mixed needs; use bf16-mixed or 32-true")
    on_gpu = accelerator == "cuda"
    if precision == "auto":
        precision = "bf16-mixed" if computes_in_bfloat16(on_gpu) else "32-true"
    if on_gpu:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True  # pictures of one size: the first steps try the algorithms for it
    keep_freed_memory()
    meet_again(find_launch(), on_gpu, timedelta(seconds=longest_wait))
    return Fabric(
        accelerator=accelerator,
        devices=per_node,
        num_nodes=nodes,
        strategy=create_strategy(strategy, per_node * nodes, timedelta(seconds=longest_wait)),
        precision=precision,  # type: ignore[arg-type]
    )


def processes(accelerator: str, devices: int | str, nodes: int | None) -> tuple[str, int, int]:
    """The kind of devices, the processes on this node and the machines, as asked for or as started.

    Raises:
        ValueError: for devices that are not there, or processes that nobody starts.
    """
    if accelerator == "auto":
        accelerator = next(name for name in ("cuda", "mps", "cpu") if count_devices(name))
    per_node, nodes = find_launch().shape(devices, nodes)
    return accelerator, check_devices(per_node, accelerator), nodes


def create_strategy(name: str, processes: int, longest_wait: timedelta) -> Any:
    """How several processes train one network: what Fabric calls a strategy."""
    if name == "fsdp":
        return ModelParallelStrategy(
            shard,
            data_parallel_size=processes,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,  # whole tensors in one file, that any number of processes reads
            timeout=longest_wait,
        )
    # Each step begins with the first process's statistics of batch norm, which are what a checkpoint holds.
    return DDPStrategy(timeout=longest_wait) if name == "ddp" or processes > 1 else "auto"


def count_devices(accelerator: str) -> int:
    """How many of a kind are there; of a CPU, which any number of processes share, one."""
    if accelerator == "cuda":
        return torch.cuda.device_count()
    return int(accelerator == "cpu" or torch.backends.mps.is_available())


def check_devices(devices: int | str, accelerator: str) -> int:
    """How many processes this node has.

    Raises:
        ValueError: if there are not so many devices.
    """
    there = count_devices(accelerator)
    if devices == "auto":
        count = max(there, 1)
    elif str(devices).isdecimal() and int(devices) > 0:
        count = int(devices)
    else:
        raise ValueError(f"devices must be auto or a number of processes on this node, 1 or more, not {devices!r}")
    if not there or (accelerator != "cpu" and count > there):
        raise ValueError(f"{count} devices of the kind {accelerator} are asked for, and this machine has {there}")
    return count


def control_group(fabric: Fabric) -> Any:
    """A group in which processes agree at every step without waiting for their GPUs; None where the usual one does."""
    return distributed.new_group(backend="gloo") if fabric.world_size > 1 and fabric.device.type == "cuda" else None


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
    if lacks := [method for method in ("log_metrics", "finalize") if not callable(getattr(kind, method, None))]:
        raise ValueError(f"{name} is no logger: it has no {' and no '.join(lacks)}")
    return kind


def check_logger(of_card: str | None, asked_for: str | None) -> None:
    """Raise ValueError if a card names a class that is none of `LOGGERS`, unless it was asked for by name.

    A card may be anybody's, and importing a class runs its code.
    """
    if asked_for not in (None, of_card):
        raise ValueError(f"the run was started with {of_card or 'no logger'}; leave --logger out")
    if of_card is not None and of_card not in LOGGERS and asked_for is None:
        raise ValueError(
            f"the run's card names {of_card}, which is no logger of Lightning's, and its code would be run; if that is "
            f"what you want, say --logger {of_card}"
        )
