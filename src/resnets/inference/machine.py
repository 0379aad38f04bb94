"""What the machine is and what it can do."""

from __future__ import annotations

import ctypes
import platform

import torch

MALLOC_TRIM_THRESHOLD, MALLOC_MMAP_MAX = -1, -4
"""Options of glibc's `mallopt`, from <malloc.h>."""


def computes_in_bfloat16(on_gpu: bool) -> bool:
    """Whether bfloat16 is a type that the hardware multiplies in, not one that is emulated."""
    if on_gpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def keep_freed_memory() -> None:
    """Have the C library keep what this process frees for its next allocations, until it ends.

    By default glibc gives large blocks back to the system and takes them anew, zeroed page by page, which costs every
    step of a CIFAR ResNet on a CPU a fifth of its time. Other C libraries are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        c_library = ctypes.CDLL(None)
        c_library.mallopt(MALLOC_MMAP_MAX, 0)  # take no block from the system by itself...
        c_library.mallopt(MALLOC_TRIM_THRESHOLD, 2**31 - 1)  # ...and give none back


def processor_name() -> str:
    """What the processor calls itself."""
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())
