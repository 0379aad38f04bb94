"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures that some tests read; they skip where it is absent."""
    folder = Path(os.environ.get("RESNETS_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"needs the pictures of RESNETS_DATA; {folder} is not there")
    return folder
