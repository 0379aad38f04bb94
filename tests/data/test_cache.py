"""Decoded pictures on disk: the same batches as without, whatever befalls the files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.data import cache as caching
from resnets.data.dataset import Dataset
from resnets.data.loading import Loader
from resnets.data.opening import open_dataset
from resnets.data.transforms import Augmentation
from resnets.types import Batch, Objects, Preprocessing

SMALL = Preprocessing((8, 8), 3, (0.5,) * 3, (0.5,) * 3, crop=0.8)
CROPS = Augmentation(scale=(0.2, 1.0), flip=True)


@pytest.fixture
def train(tmp_path: Path) -> Dataset:
    """Sixteen training pictures, each of another size."""
    for number in range(20):
        file = tmp_path / "pictures" / ("a" if number % 2 else "b") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (10 + number, 30 - number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    return open_dataset(tmp_path / "pictures").splits["train"]


def batches(dataset: Dataset, augmentation: Augmentation | None, **options: object) -> list[Batch]:
    loader = Loader(dataset, SMALL, 5, shuffle=True, augmentation=augmentation, workers=0, memory_limit=0, **options)
    return list(loader.epoch(2))


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images) and torch.equal(a.indices, b.indices)
        for a, b in zip(first, second, strict=True)
    )


@pytest.fixture
def undecodable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From here on no picture can be decoded."""

    def forbid() -> None:
        monkeypatch.setattr(Dataset, "picture", None)

    return forbid


@pytest.mark.parametrize("augmentation", [None, CROPS], ids=["fixed views", "random views"])
def test_a_cache_gives_the_same_batches_and_decodes_once(train, tmp_path, undecodable, augmentation):
    expected = batches(train, augmentation)
    assert same(expected, batches(train, augmentation, cache=tmp_path / "cache"))
    assert same(expected, batches(train, augmentation, cache="memory"))
    undecodable()
    assert same(expected, batches(train, augmentation, cache=str(tmp_path / "cache")))
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_what_decides_the_pictures_decides_the_file(train, tmp_path):
    folder = tmp_path / "cache"
    for dataset, augmentation, fingerprint in (
        (train, None, "a"),
        (train, CROPS, "a"),
        (train, None, "b"),
        (train.subset(range(12)), None, "a"),
    ):
        batches(dataset, augmentation, cache=folder, fingerprint=fingerprint)
    assert len(list(folder.glob("*.npy"))) == len(list(folder.glob("*.bin"))) == 4


def pack(folder: Path, kind: str) -> Path:
    """A folder as it is, or in an archive beside it that replaces what was there."""
    if kind == "folder":
        return folder
    ending = {"zip": "zip", "tar": "tar", "tar.gz": "gztar"}[kind]
    return Path(shutil.make_archive(str(folder.parent / "set"), ending, folder))


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_pictures_replaced_by_others_of_their_size_are_not_taken_from_the_cache(kind, tmp_path):
    """All uncompressed pictures of one size in pixels have one size in bytes."""
    for value in (10, 200):
        for number in range(12):
            file = tmp_path / "set" / "ab"[number % 2] / f"{number}.bmp"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (value,) * 3).save(file)
        data = open_dataset(pack(tmp_path / "set", kind))
        found = batches(data.splits["train"], None, cache=tmp_path / "cache", fingerprint=data.fingerprint)
        assert {int(batch.images.max()) for batch in found} == {value}
    again = open_dataset(pack(tmp_path / "set", kind))
    batches(again.splits["train"], None, cache=tmp_path / "cache", fingerprint=again.fingerprint)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == (2 if kind in ("folder", "zip", "tar.gz") else 3)


def test_another_set_of_the_same_names_and_sizes_has_a_cache_of_its_own(tmp_path):
    for place, value in (("here", 10), ("there", 200)):
        for number in range(12):
            file = tmp_path / place / "set" / "ab"[number % 2] / f"{number}.bmp"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (value,) * 3).save(file)
            os.utime(file, ns=(0, 0))  # as a copy program may leave them
        data = open_dataset(tmp_path / place / "set")
        found = batches(data.splits["train"], None, cache=tmp_path / "cache", fingerprint=data.fingerprint)
        assert {int(batch.images.max()) for batch in found} == {value}


def test_whole_pictures_and_such_of_reduced_size_have_files_of_their_own(train, tmp_path):
    folder = tmp_path / "cache"
    sizes = [tuple(train.picture(index, 3).shape[1:]) for index in range(len(train))]
    nothing = [
        Objects(size, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
        for size in sizes
    ]
    for dataset in (train, train.with_objects(nothing)):
        zoomed = CROPS if dataset.objects is None else Augmentation(zoom=(0.5, 2.0))
        batches(dataset, zoomed, cache=folder, fingerprint="a")
    assert len(list(folder.glob("*.npy"))) == 2


@pytest.mark.parametrize("torn", ["*.bin", "*.npy"])
@pytest.mark.parametrize("left", [0, 40])
def test_a_torn_file_is_written_anew(train, tmp_path, torn, left):
    folder = tmp_path / "cache"
    expected = batches(train, CROPS, cache=folder)
    (file,) = folder.glob(torn)
    file.write_bytes(file.read_bytes()[:left])
    assert same(expected, batches(train, CROPS, cache=folder))
    file.unlink()
    assert same(expected, batches(train, CROPS, cache=folder))


def test_writing_that_fails_leaves_nothing_behind(train, tmp_path, monkeypatch):
    monkeypatch.setattr(np, "save", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        batches(train, CROPS, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))
    assert not list((tmp_path / "cache").glob("*.tmp"))
    monkeypatch.undo()
    assert same(batches(train, CROPS), batches(train, CROPS, cache=tmp_path / "cache"))


def test_a_disk_without_room_is_said(train, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 99, 1))
    with pytest.raises(OSError, match=r"pictures take about 0\.0 GB, and 0\.0 GB are free in .*cache; give another"):
        batches(train, CROPS, cache=tmp_path / "cache")


def test_more_than_there_is_memory_is_refused(train, monkeypatch):
    monkeypatch.setattr("resnets.data.loading.physical_memory", lambda: 100)
    with pytest.raises(ValueError, match="more memory than there is; give a folder as --cache"):
        batches(train, CROPS, cache="memory")


def test_pictures_come_back_as_they_were(tmp_path):
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4, 5), (3, 1, 9), (3, 7, 2)]
    pictures = [torch.randint(256, shape, generator=generator).byte() for shape in shapes]
    caching.write_cache(tmp_path / "deep" / "cache", "key", pictures, 0)
    found = caching.open_cache(tmp_path / "deep" / "cache", "key", 3, 3)
    assert found is not None
    assert all(torch.equal(picture, found[index]) for index, picture in enumerate(pictures))
    assert caching.open_cache(tmp_path / "deep" / "cache", "key", 4, 3) is None
    assert caching.open_cache(tmp_path / "deep" / "cache", "other", 3, 3) is None
