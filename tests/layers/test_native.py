"""C sources that are compiled when they are first needed."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
import torch

from resnets.layers import native
from resnets.layers.native import library

SOURCES = sorted(Path(native.__file__).parent.glob("*.c"))
COMPILES = platform.system() == "Linux" and platform.machine() in native.OF_PROCESSORS


@pytest.fixture(autouse=True)
def _anew():
    library.cache_clear()
    yield
    library.cache_clear()


def test_there_are_sources():
    assert [source.name for source in SOURCES] == ["fused.c", "pooling.c", "shortcuts.c"]


@pytest.mark.skipif(not COMPILES, reason="not a system that is compiled for")
@pytest.mark.parametrize("dtype", native.DEFINED)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_compiler_has_nothing_to_warn_of(source, dtype, tmp_path):
    if library(source, dtype) is None:
        pytest.skip("there is no C compiler")
    command = ("cc", "-Wall", "-Wextra", "-Werror", *native.OPTIONS, *native.DEFINED[dtype], str(source))
    subprocess.run((*command, "-o", str(tmp_path / "compiled.so")), check=True)


@pytest.mark.skipif(not COMPILES, reason="not a system that is compiled for")
@pytest.mark.parametrize("compiler", ["no-such-compiler", "false", "true"], ids=["none", "fails", "makes nothing"])
def test_without_a_compiler_that_works_there_is_nothing_and_the_log_says_why(compiler, monkeypatch, caplog):
    monkeypatch.setenv("CC", compiler)
    caplog.set_level("INFO", "resnets")
    assert library(SOURCES[0], torch.float32) is None
    assert "fused.c cannot be compiled, and its work is left to PyTorch" in caplog.text


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "riscv64"), ("Windows", "AMD64")])
def test_elsewhere_there_is_nothing(system, machine, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(subprocess, "run", None)
    assert library(SOURCES[0], torch.float32) is None
