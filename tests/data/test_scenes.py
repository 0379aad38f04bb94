"""Masks that follow their pictures through windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from resnets.data.loading import Loader
from resnets.data.opening import open_dataset
from resnets.data.statistics import preprocessing_for
from resnets.data.transforms import Augmentation
from resnets.data.views import training_scene, with_mask
from resnets.data.windows import whole
from resnets.types import IGNORED, Preprocessing

INPUT = Preprocessing((24, 32), 3, (0.5,) * 3, (1.0,) * 3, fit="contain", interpolation="nearest")
BUSY = Augmentation(zoom=(0.5, 2.0), window=0.75, flip=True, flip_vertical=True)


def scene(height: int, width: int) -> Tensor:
    """A picture in large tiles and a mask that says each tile's number, so that one can be told from the other."""
    rows, columns = torch.arange(height) * 4 // height, torch.arange(width) * 5 // width
    mask = (rows[:, None] * 5 + columns).to(torch.uint8)
    return torch.stack([10 * mask] * 3 + [mask])


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (31, 77), (90, 20)])
@pytest.mark.parametrize("rare", [False, True])
def test_a_mask_stays_on_its_picture(size: tuple[int, int], rare: bool) -> None:
    for epoch in range(20):
        seen = training_scene(scene(*size), INPUT, BUSY, seed=0, epoch=epoch, index=3, rare=rare)
        assert seen.shape == (4, 18, 24)
        inside = seen[3] != IGNORED
        assert inside.any()
        assert torch.equal(seen[0][inside], 10 * seen[3][inside])
        assert (seen[:3, ~inside] == 128).all()  # the mean, where nothing counts


def test_a_mask_is_never_interpolated() -> None:
    smooth = replace(INPUT, interpolation="bilinear")
    for epoch in range(20):
        seen = training_scene(scene(50, 70), smooth, BUSY, seed=0, epoch=epoch, index=0)
        assert set(seen[3].unique().tolist()) <= {*range(20), IGNORED}


def test_evaluation_sees_all_of_a_picture_and_its_mask() -> None:
    seen = with_mask(scene(20, 40), whole((20, 40), INPUT), INPUT)
    assert seen.shape == (4, 24, 32)
    assert set(seen[3, :16].unique().tolist()) == set(range(20))
    assert (seen[3, 16:] == IGNORED).all()


def test_rare_classes_are_seen_more_often() -> None:
    pixels = torch.zeros(4, 60, 80, dtype=torch.uint8)
    pixels[3, 50:53, 70:73] = 1
    shares = []
    for rare in (False, True):
        views = [
            training_scene(pixels, INPUT, Augmentation(zoom=(2.0, 3.0), window=0.5), 0, epoch, 0, rare)
            for epoch in range(100)
        ]
        shares.append(sum((view[3] == 1).any().item() for view in views) / len(views))
    assert shares[0] < 0.2
    assert shares[1] > 0.45  # every other window is to show it


def test_every_choice_is_a_function_of_seed_epoch_and_sample() -> None:
    def view(seed: int, epoch: int, index: int) -> Tensor:
        return training_scene(scene(50, 70), INPUT, BUSY, seed, epoch, index, rare=True)

    assert torch.equal(view(1, 2, 3), view(1, 2, 3))
    assert not all(torch.equal(view(1, 2, 3), other) for other in (view(0, 2, 3), view(1, 0, 3), view(1, 2, 0)))


@pytest.mark.parametrize("memory", [0, 1 << 30])
@pytest.mark.parametrize("training", [False, True])
def test_batches_have_masks_as_targets_from_memory_and_from_processes(
    tmp_path: Path, memory: int, training: bool
) -> None:
    for number in range(6):
        pixels = scene(30, 40).permute(1, 2, 0).numpy()
        for kind, content in (("images", pixels[..., :3]), ("masks", pixels[..., 3])):
            path = tmp_path / kind / ("train" if number < 4 else "val") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.ascontiguousarray(content)).save(path)
    data = open_dataset(tmp_path)
    preprocessing = replace(preprocessing_for(data), interpolation="nearest")
    assert (preprocessing.size, preprocessing.fit) == ((30, 40), "contain")
    loader = Loader(
        data.splits["train"],
        preprocessing,
        2,
        shuffle=training,
        balanced=training,
        augmentation=replace(BUSY, window=0.5) if training else None,
        workers=1,
        memory_limit=memory,
    )
    batches = list(loader.epoch(0))
    assert len(batches) == 2
    for batch in batches:
        assert batch.says_where
        assert batch.images.shape[2:] == batch.targets.shape[1:] == ((15, 20) if training else (30, 40))
        inside = batch.targets != IGNORED
        assert torch.equal(batch.images[:, 0][inside], 10 * batch.targets[inside])
