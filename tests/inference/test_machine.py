"""What becomes of memory that is freed, as the system counts it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
import torch

from resnets.inference.machine import give_large_blocks_back, keep_freed_memory

MEBIBYTES = 256


def resident() -> float:
    """MiB of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_freed_memory_is_kept_or_given_back():
    give_large_blocks_back()
    before = resident()
    tensor = torch.ones(MEBIBYTES << 20, dtype=torch.uint8)
    assert resident() - before > 0.9 * MEBIBYTES
    del tensor
    assert resident() - before < 0.1 * MEBIBYTES
    keep_freed_memory()
    tensor = torch.ones(MEBIBYTES << 20, dtype=torch.uint8)
    held = resident()  # it may lie in memory that was kept before
    del tensor
    assert held - resident() < 0.1 * MEBIBYTES
    give_large_blocks_back()
