"""Small data sets of the tests' own making."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Paint = Callable[..., Path]


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """Write pictures of noise, all different, to paths below a folder, which is returned."""

    def write(*paths: str, root: str = "pictures", size: tuple[int, int] = (12, 10), seed: int = 0) -> Path:
        folder = tmp_path / root
        for number, path in enumerate(paths):
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng((seed, number)).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file)
        return folder

    return write


@pytest.fixture
def pets(paint: Paint) -> Path:
    """Twenty cats and ten dogs in class folders."""
    return paint(*(f"cats/{i:02d}.png" for i in range(20)), *(f"dogs/{i:02d}.png" for i in range(10)), root="pets")
