"""The pictures that set the scales of int8."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.data.opening import open_dataset
from resnets.inference.samples import calibration_pixels
from resnets.types import Preprocessing

CARD = SimpleNamespace(preprocessing=Preprocessing((8, 8), 1, (0.5,), (0.5,)), data={})


def pictures(folder: Path, sizes: list[tuple[int, int]]) -> SimpleNamespace:
    """Grey pictures of one value each, which is their number."""
    for number, (height, width) in enumerate(sizes):
        (folder / str(number % 2)).mkdir(exist_ok=True)
        Image.fromarray(np.full((height, width), number, np.uint8)).save(folder / str(number % 2) / f"{number}.png")
    return SimpleNamespace(splits={"train": open_dataset(folder).whole()})


def test_pictures_of_every_size_calibrate_and_copies_are_not_counted(tmp_path):
    data = pictures(tmp_path, [(8, 9)] * 11 + [(10, 8)] * 3 + [(12, 13)])
    for whole, batches in ((True, 5), (False, 4)):
        found, count = calibration_pixels(CARD, data, whole, 4)
        assert count == 15
        assert [len(batch) for batch in found] == [4] * batches
        assert {int(value) for batch in found for value in batch[:, 0, 0, 0]} == set(range(15))
    found, count = calibration_pixels(CARD, data, True, None)
    assert (count, len(found)) == (15, 15)
    assert sorted(int(pixels[0, 0, 0, 0]) for pixels in found) == list(range(15))
    assert all(torch.equal(pixels, torch.full_like(pixels, pixels.flatten()[0])) for pixels in found)


def test_too_many_sizes_for_large_batches_are_refused(tmp_path):
    data = pictures(tmp_path, [(8, 8 + number) for number in range(40)])
    with pytest.raises(ValueError, match="batches of 100 would hold 3 of them"):
        calibration_pixels(CARD, data, True, 100)
    found, count = calibration_pixels(CARD, data, True, 8)
    assert (count, len(found)) == (38, 38)
