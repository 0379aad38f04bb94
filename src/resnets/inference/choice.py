"""Choosing an engine by a short measurement on this machine, which is remembered, and a precision by the machine."""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from resnets.data.reading import available_processors
from resnets.inference.engines import Engine, check_uncalibrated, engine_class, list_engines, open_engine
from resnets.inference.machine import computes_in_bfloat16, processor_name
from resnets.types import Preprocessing

ASKED_FOR = ("compiled",)
"""Engines that take longer to open than a measurement may, so that they are used only where they are named."""

BATCH = 16
SECONDS = 0.5
"""Pictures of a batch, fewer where they are larger than 224 x 224, and for how long each engine is measured."""


def choose_precision(device: torch.device) -> str:
    """bfloat16 where the processor or GPU computes in it, otherwise float32."""
    return "bfloat16" if device.type in ("cpu", "cuda") and computes_in_bfloat16(device.type == "cuda") else "float32"


def choose_engine(network: nn.Module, preprocessing: Preprocessing, precision: str, device: torch.device) -> str:
    """The name of the engine that computes most pictures a second here; measured once for each kind of network.

    Kept in `engines.json` in the user's cache folder, which may be deleted at any time.

    Raises:
        ValueError: for int8, which is of exports.
    """
    check_uncalibrated(precision)
    path, key = cache_path(), machine_and_network(network, preprocessing, precision, device)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there yet, or broken: measured anew
        known = {}
    if known.get(key) in list_engines():
        return str(known[key])
    height, width = preprocessing.size
    batch = max(min(BATCH * 224 * 224 // (height * width), BATCH), 1)
    speeds = {
        name: throughput(engine, preprocessing, batch)
        for name, engine in usable_engines(network, preprocessing, precision, device).items()
    }
    chosen = max(speeds, key=lambda name: speeds[name])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({**known, key: chosen}, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError:  # a machine where nothing can be kept measures every time
        pass
    return chosen


def usable_engines(
    network: nn.Module, preprocessing: Preprocessing, precision: str, device: torch.device
) -> dict[str, Engine]:
    """The installed engines that compute in a precision on a device."""
    return {
        name: open_engine(name, network, preprocessing, precision, device)
        for name in installed_engines(device)
        if precision in engine_class(name).precisions
    }


def installed_engines(device: torch.device) -> list[str]:
    """The names of the engines that compute on a device and whose libraries are installed, without `ASKED_FOR`."""
    names = []
    for name in list_engines():
        if name in ASKED_FOR or (device.type != "cpu" and name != "eager"):
            continue
        try:
            engine_class(name)
        except ImportError:
            continue
        names.append(name)
    return names


def throughput(engine: Engine, preprocessing: Preprocessing, batch: int = BATCH, seconds: float = SECONDS) -> float:
    """Pictures a second, as many batches going side by side as the engine likes, after one each that is not counted."""
    height, width = preprocessing.size
    shape = (batch, height, width, preprocessing.channels)
    pixels = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    parallel = engine.parallel

    def work(until: float) -> int:
        count = 0
        while time.perf_counter() < until or not count:
            engine(pixels)
            count += 1
        return count

    with ThreadPoolExecutor(parallel) as threads:
        list(threads.map(work, [0.0] * parallel))
        began = time.perf_counter()
        count = sum(threads.map(work, [began + seconds] * parallel))
        return count * batch / (time.perf_counter() - began)


def cache_path() -> Path:
    """Where choices are remembered."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "resnets" / "engines.json"


def machine_and_network(network: nn.Module, preprocessing: Preprocessing, precision: str, device: torch.device) -> str:
    """What a choice holds for: the machine, the libraries' versions, the network's shape and its input's."""
    libraries = []
    for library in ("torch", "openvino", "onnxruntime"):
        try:
            libraries.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    shapes = [f"{name} {tuple(tensor.shape)}" for name, tensor in network.state_dict().items()]
    digest = hashlib.sha256("\n".join([repr(network), *shapes]).encode()).hexdigest()[:16]
    return ", ".join(
        [chip, f"{available_processors()} cores", *libraries, precision, f"network {digest}", str(preprocessing.size)]
    )
