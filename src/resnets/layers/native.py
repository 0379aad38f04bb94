"""C sources of this package, compiled for the processor when they are first needed.

What lies between convolutions moves memory and computes little, and PyTorch goes over it more often than it has to, in
bfloat16 above all. The sources are for that alone. Where there is no C compiler, or the system is not Linux, all is
PyTorch's.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import shlex
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.jit._trace import is_tracing
from torch.nn.modules.module import _has_any_global_hook

OPTIONS = ("-std=c11", "-O3", "-shared", "-fPIC", "-fopenmp")
OF_PROCESSORS = {"x86_64": ("-march=native", "-mprefer-vector-width=512"), "aarch64": ("-mcpu=native",)}
"""What tells the compiler to use all that this processor has, by what Python calls the kind; there is no other kind."""

SMALLEST = 1 << 15
"""Values of a map that are worth a call."""

LANES = 32
"""Values that a processor computes at once; a rest of fewer would be computed one by one."""

_log = logging.getLogger(__name__)


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """A C source, compiled and loaded; None where that cannot be done, which the log says at level INFO.

    The compiler is that of the environment variable CC, or `cc`. Nothing of what it makes is left on disk.
    """
    processor = OF_PROCESSORS.get(platform.machine())
    if platform.system() != "Linux" or processor is None:
        return None
    try:
        compiler = shlex.split(os.environ.get("CC") or "cc")
        with TemporaryDirectory() as folder:
            path = str(Path(folder) / "compiled.so")
            command = (*compiler, *OPTIONS, *processor, str(source), "-o", path, "-lm")
            subprocess.run(command, check=True, capture_output=True, timeout=60, text=True)
            return ctypes.CDLL(path)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or "").strip()
        _log.info("%s cannot be compiled and its work is left to PyTorch, which is slower: %s %s", source, error, said)
        return None


def suits(x: Tensor) -> bool:
    """Whether x is of maps (N, C, H, W) that the C sources are made for, and gradients may be wanted."""
    return (
        type(x) is Tensor
        and x.dtype == torch.bfloat16
        and x.device.type == "cpu"
        and x.dim() == 4
        and x.shape[1] % LANES == 0
        and x.numel() >= SMALLEST
        and x.is_contiguous(memory_format=torch.channels_last)
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not is_tracing()
    )


def watched(*modules: nn.Module) -> bool:
    """Whether a hook is called before or after one of the modules, or when its gradients are there."""
    return _has_any_global_hook() or any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in modules
    )


def call(source: Path, function: str, *arguments: int | float | Tensor | None) -> None:
    """Call a function of a C source, which `library` has: with long, float, and pointers to values, NULL for None."""
    getattr(library(source), function)(*map(_of_c, arguments))


def _of_c(argument: int | float | Tensor | None) -> ctypes.c_long | ctypes.c_float | ctypes.c_void_p:
    if isinstance(argument, int):
        return ctypes.c_long(argument)
    if isinstance(argument, float):
        return ctypes.c_float(argument)
    return ctypes.c_void_p(None if argument is None else argument.data_ptr())
