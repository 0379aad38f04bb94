"""C sources of this package, compiled for the processor when they are first needed.

What lies between convolutions moves memory and computes little, and PyTorch goes over it more often than it has to.
Where there is no C compiler, or the system is not Linux, all is PyTorch's.
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

OPTIONS = ("-std=c11", "-O3", "-shared", "-fPIC", "-fopenmp", "-lm")
OF_PROCESSORS = {"x86_64": ("-march=native", "-mprefer-vector-width=512"), "aarch64": ("-mcpu=native",)}
"""What tells the compiler to use all that this processor has, by what Python calls the kind; there is no other kind."""

DEFINED = {torch.float32: (), torch.bfloat16: ("-DBFLOAT16",)}
"""What tells it the type of the values."""

_log = logging.getLogger(__name__)


@cache
def library(source: Path, dtype: torch.dtype) -> ctypes.CDLL | None:
    """A C source compiled for values of a type; None where that cannot be done, which the log says at level INFO.

    The compiler is that of the environment variable CC, or `cc`. What it makes is gone when the process ends.
    """
    processor = OF_PROCESSORS.get(platform.machine())
    if platform.system() != "Linux" or processor is None:
        return None
    compiler = shlex.split(os.environ.get("CC", "cc"))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "compiled.so"
        try:
            command = (*compiler, *OPTIONS, *processor, *DEFINED[dtype], str(source), "-o", str(path))
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            return ctypes.CDLL(str(path))
        except (OSError, subprocess.SubprocessError) as error:
            _log.info("%s cannot be compiled, and its work is left to PyTorch, which is slower: %s", source.name, error)
            return None


def suits(x: Tensor) -> bool:
    """Whether x is of maps (N, C, H, W) as the C sources know them, and in a training that they make faster."""
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype in DEFINED
        and x.dim() == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def watched(*modules: nn.Module) -> bool:
    """Whether anyone wants to know what goes into one of the modules, or comes out of it, on either way."""
    return any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in modules
    )


def call(source: Path, function: str, dtype: torch.dtype, *arguments: int | float | Tensor | None) -> None:
    """Call a function of a C source, which `library` has: with long, float, and pointers to values, NULL for None."""
    getattr(library(source, dtype), function)(*map(_of_c, arguments))


def _of_c(argument: int | float | Tensor | None) -> ctypes.c_long | ctypes.c_float | ctypes.c_void_p:
    if isinstance(argument, int):
        return ctypes.c_long(argument)
    if isinstance(argument, float):
        return ctypes.c_float(argument)
    return ctypes.c_void_p(None if argument is None else argument.data_ptr())
