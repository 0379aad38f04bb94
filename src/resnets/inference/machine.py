"""What the machine is and what it can do."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

MALLOC_TRIM_THRESHOLD, MALLOC_MMAP_THRESHOLD, MALLOC_MMAP_MAX = -1, -3, -4
"""Options of glibc's `mallopt`, from <malloc.h>."""

LARGE = 2 << 20
"""Bytes of a block that `give_large_blocks_back` lets the system have: a map of a batch, of CIFAR's pictures, too."""


def computes_in_bfloat16(on_gpu: bool) -> bool:
    """Whether bfloat16 is a type that the hardware multiplies in, not one that is emulated."""
    if on_gpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def in_bfloat16() -> torch.autocast:
    """Compute as training does on this machine's CPU: in bfloat16 where the hardware has it, and else in float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=computes_in_bfloat16(on_gpu=False))


def keep_freed_memory() -> None:
    """Have the C library keep what this process frees for its next allocations, until it ends.

    By default glibc gives large blocks back to the system and takes them anew, zeroed page by page, which costs every
    step of a CIFAR ResNet on a CPU a fifth of its time. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        c_library = ctypes.CDLL(None)
        c_library.mallopt(MALLOC_MMAP_MAX, 0)  # take no block from the system by itself...
        c_library.mallopt(MALLOC_TRIM_THRESHOLD, 2**31 - 1)  # ...and give none back


def give_large_blocks_back() -> None:
    """Have the C library take `LARGE` blocks from the system one by one, and give each back when it is freed.

    What is kept lies in pieces between what is in use, and the largest maps do not fit into them: of the memory that
    ResNet-152 takes in steps of 16 photographs, that is a fifth; of what 1,202 layers take in steps of 128 pictures of
    CIFAR-10, with blocks computed again, more than half. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        c_library = ctypes.CDLL(None)
        c_library.mallopt(MALLOC_MMAP_MAX, 65_536)  # the default
        c_library.mallopt(MALLOC_MMAP_THRESHOLD, LARGE)
        c_library.mallopt(MALLOC_TRIM_THRESHOLD, 1 << 20)


class SignalStack(ctypes.Structure):
    """Linux's `stack_t`, from <signal.h>: where a thread's signal handlers run."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack() -> SignalStack:
    """Where this thread's signal handlers run, on Linux."""
    stack = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Have this thread's signal handlers run where they did before.

    Each core of OpenVINO gives its thread a signal stack for as long as it lives, and puts back the one that it found.
    Of two that do not end in the reverse order, the second puts back one that is no longer there, and the next signal,
    be it Ctrl-C, ends the process. A core that finds another stack than its own leaves it.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    before = signal_stack()
    try:
        yield
    finally:
        ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)


def processor_name() -> str:
    """What the processor calls itself."""
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())
