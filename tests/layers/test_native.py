"""C sources that are compiled when they are first needed."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

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
    assert [source.name for source in SOURCES] == ["fused.c", "pooling.c"]


@pytest.mark.skipif(not COMPILES, reason="not a system that is compiled for")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_compiler_has_nothing_to_warn_of(source, monkeypatch):
    if library(source) is None:
        pytest.skip("there is no C compiler")
    library.cache_clear()
    monkeypatch.setattr(native, "OPTIONS", (*native.OPTIONS, "-Wall", "-Wextra", "-Werror"))
    assert library(source) is not None


@pytest.mark.skipif(not COMPILES, reason="not a system that is compiled for")
@pytest.mark.parametrize("compiler", ["no-such-compiler", "false", "true", "'cc"])
def test_without_a_compiler_that_works_there_is_nothing_and_the_log_says_why(compiler, monkeypatch, caplog):
    monkeypatch.setenv("CC", compiler)
    caplog.set_level("INFO", "resnets")
    assert library(SOURCES[0]) is None
    assert "fused.c cannot be compiled and its work is left to PyTorch" in caplog.text


@pytest.mark.skipif(not COMPILES, reason="not a system that is compiled for")
def test_where_there_is_no_room_there_is_nothing(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(native, "TemporaryDirectory", full)
    assert library(SOURCES[0]) is None


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "riscv64"), ("Windows", "AMD64")])
def test_elsewhere_there_is_nothing(system, machine, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(subprocess, "run", None)
    assert library(SOURCES[0]) is None
