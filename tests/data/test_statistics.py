from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import resize

from resnets.data.opening import open_dataset
from resnets.data.statistics import preprocessing_for
from resnets.data.views import view
from resnets.types import Preprocessing

Paint = Callable[..., Path]


def test_digits_are_enlarged_twice_and_have_their_own_statistics() -> None:
    data = open_dataset("digits")
    got = preprocessing_for(data)
    train = data.splits["train"]
    pictures = torch.stack([train.picture(i, 1) for i in range(len(train))])
    pixels = resize(pictures, [16, 16], antialias=True).double() / 255
    assert got.size == (16, 16)
    assert got.channels == 1
    assert got.crop == 1.0
    assert got.mean == (round(pixels.mean().item(), 4),)
    assert got.std == (round(pixels.std(correction=0).item(), 4),)


def test_cifar10_has_its_known_statistics(shared_data: Path) -> None:
    """As published by many for all 50,000; ours are of 5,000, whose means differ by some thousandths."""
    got = preprocessing_for(open_dataset(shared_data / "cifar10.tar"))
    assert got.size == (32, 32)
    assert got.crop == 1.0
    assert got.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.006)
    assert got.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=0.006)


def test_photographs_are_seen_at_224(shared_data: Path) -> None:
    data = open_dataset(shared_data / "ants_bees")
    got = preprocessing_for(data)
    assert (got.size, got.channels, got.crop) == ((224, 224), 3, 0.875)
    train = data.splits["train"]
    pixels = torch.stack([view(train.picture(i, 3), got) for i in range(len(train))]).double() / 255
    assert got.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=0.002)
    assert got.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=0.01)


def test_what_is_asked_for_is_given(paint: Paint) -> None:
    folder = paint(*(f"{c}/{i}.png" for c in ("a", "b") for i in range(5)), size=(40, 50))
    data = open_dataset(folder)
    assert preprocessing_for(data).size == (40, 50)
    assert preprocessing_for(data, size=24).size == (24, 24)
    assert preprocessing_for(data, size=24).crop == 1.0
    assert preprocessing_for(data, size=(96, 128)).size == (96, 128)
    assert preprocessing_for(data, size=96).crop == 0.875
    grey = preprocessing_for(data, channels=1)
    assert grey.channels == len(grey.mean) == len(grey.std) == 1


def test_small_pictures_of_several_sizes_are_no_small_pictures(paint: Paint) -> None:
    paint(*(f"a/{i}.png" for i in range(5)), size=(40, 50))
    folder = paint(*(f"b/{i}.png" for i in range(5)), size=(50, 40))
    assert preprocessing_for(open_dataset(folder)).size == (224, 224)


def test_pictures_of_one_size_when_they_are_turned_upright_are_of_one_size(tmp_path: Path) -> None:
    for number, (name, turned) in enumerate([("a", 1), ("b", 6), ("a", 6), ("b", 1)]):
        image = Image.new("RGB", (40, 20) if turned == 1 else (20, 40))
        exif = image.getexif()
        exif[0x0112] = turned
        (tmp_path / "data/train" / name).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "data/train" / name / f"{number}.png", exif=exif)
    assert preprocessing_for(open_dataset(tmp_path / "data")).size == (20, 40)


def test_unreadable_pictures_are_no_part_of_the_statistics(paint: Paint) -> None:
    folder = paint(*(f"{c}/{i}.png" for c in ("a", "b") for i in range(5)), size=(20, 24))
    data = open_dataset(folder)
    train = data.splits["train"]
    (folder / train.names[0]).write_bytes(b"no picture")
    kept = torch.stack([train.picture(i, 3) for i in range(1, len(train))]).double() / 255
    assert preprocessing_for(data).mean == pytest.approx(kept.mean((0, 2, 3)).tolist(), abs=6e-5)
    for name in train.names:
        (folder / name).write_bytes(b"no picture")
    with pytest.raises(ValueError, match="none of the training pictures looked at can be read"):
        preprocessing_for(data)


@pytest.mark.parametrize(
    ("size", "seen", "expected"),
    [
        (None, (12, 12), (16, 16)),  # both small: the larger
        (None, (32, 32), (32, 32)),
        (None, (224, 224), (16, 16)),  # small pictures stay small
        (96, (160, 160), (96, 96)),
        (96, (32, 32), (96, 96)),
    ],
)
def test_weights_bring_their_preprocessing(size, seen, expected):
    like = Preprocessing(seen, 3, (0.4,) * 3, (0.2,) * 3, 0.5 if seen[0] > 64 else 1.0, "bicubic")
    found = preprocessing_for(open_dataset("digits"), size, like=like)
    crop = {(96, 160): 0.5, (96, 32): 0.875}.get((size, seen[0]), 1.0)
    assert found == replace(like, size=expected, crop=crop)


@pytest.mark.parametrize(("size", "expected"), [(None, (224, 448)), (40, (40, 80)), ((64, 64), (64, 64))])
def test_of_a_regressions_pictures_all_is_seen(tmp_path, size, expected):
    for index in range(4):
        Image.new("L", (200, 100), 60 * index).save(tmp_path / f"{index}.png")
    (tmp_path / "x.csv").write_text("path,count\n" + "".join(f"{i}.png,{i}\n" for i in range(4)))
    found = preprocessing_for(open_dataset(tmp_path / "x.csv"), size)
    assert (found.size, found.crop) == (expected, 1.0)
