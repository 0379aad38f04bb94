"""Run-length codes of objects, checked against pycocotools, which writes and reads them."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks

from resnets.data.run_lengths import outline_of_runs
from resnets.tasks.detection import areas
from resnets.types import Objects


def shape(kind: str, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2, x - width / 2)
    shapes = {
        "nothing": distance < 0,
        "all": distance >= 0,
        "ring": (distance < height / 2) & (distance > height / 5),
        "columns": x % 3 > 0,
        "rows": y % 3 > 0,
        "noise": np.random.default_rng(0).random((height, width)) < 0.4,
    }
    return shapes[kind].astype(np.uint8)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
@pytest.mark.parametrize("kind", ["nothing", "all", "ring", "columns", "rows", "noise"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 30), (120, 90)])
def test_what_is_drawn_of_a_code_is_what_pycocotools_encoded(kind, height, width):
    mask = shape(kind, height, width)
    packed = coco_masks.encode(np.asfortranarray(mask))["counts"].decode()
    pixels = mask.flatten(order="F").tolist()
    listed = [0] * pixels[0] + [len(list(run)) for _, run in groupby(pixels)]
    for counts in (packed, listed):
        outline = outline_of_runs({"counts": counts, "size": [height, width]}, (height, width))
        assert (outline is None) == (not mask.any())
        if outline is not None:
            box = torch.tensor([[0.0, 0.0, width, height]])
            objects = Objects((height, width), box, torch.tensor([0]), torch.tensor([False]), ((outline,),))
            assert (objects.masks()[0].numpy() == mask).all()
            assert areas(objects).item() == pytest.approx(mask.sum(), abs=0.5)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ({"counts": [4, 8], "size": [4, 3]}, None),
        ({"counts": [4, 9], "size": [4, 3]}, "its runs are of 13 pixels, but the picture has 4 x 3"),
        ({"counts": [4, 8], "size": [3, 4]}, "its size is"),
        ({"counts": [-4, 16], "size": [4, 3]}, "no numbers of pixels"),
        ({"counts": "\x01", "size": [4, 3]}, "no numbers of pixels"),
        ({"size": [4, 3]}, "no numbers of pixels"),
    ],
)
def test_what_is_no_code_of_the_picture_is_refused(code, message):
    if message is None:
        assert outline_of_runs(code, (4, 3)) is not None
    else:
        with pytest.raises(ValueError, match=message):
            outline_of_runs(code, (4, 3))
