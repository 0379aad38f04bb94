from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from resnets.data.dataset import UnreadablePictureError
from resnets.data.listing import Listing
from resnets.data.opening import Data, open_dataset
from resnets.data.splitting import split_listing

Paint = Callable[..., Path]


def members(data: Data) -> dict[str, set[str]]:
    return {split: set(dataset.names) for split, dataset in data.splits.items()}


def test_class_folders_are_split_by_class(pets: Path) -> None:
    data = open_dataset(pets, val_share=0.25)
    assert data.splits_made == ("test", "val")
    counts = {split: dataset.targets.bincount().tolist() for split, dataset in data.splits.items()}
    assert counts == {"train": [12, 6], "val": [4, 2], "test": [4, 2]}
    names = [name for dataset in data.splits.values() for name in dataset.names]
    assert len(names) == len(set(names)) == 30


def test_the_split_is_a_function_of_seed_and_names(pets: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copy"
    shutil.copytree(pets, elsewhere)
    assert members(open_dataset(pets)) == members(open_dataset(elsewhere))
    assert members(open_dataset(pets)) != members(open_dataset(pets, split_seed=1))
    before = members(open_dataset(pets))["test"]
    Image.new("RGB", (5, 5)).save(pets / "cats" / "new.png")
    after = members(open_dataset(pets))["test"]
    assert len(before ^ after) <= 2  # one picture more moves at most one in and one out


def test_splits_that_are_there_are_kept(paint: Paint) -> None:
    paths = [f"{s}/{c}/{i}.png" for s in ("train", "val") for c in ("a", "b") for i in range(4)]
    data = open_dataset(paint(*paths))
    assert data.splits_made == ()
    assert members(data) == {s: {p for p in paths if p.startswith(s)} for s in ("train", "val")}
    with pytest.raises(ValueError, match="has a validation split already"):
        open_dataset(data.source, val_share=0.1)


def test_of_train_and_test_only_train_is_parted_for_validation(paint: Paint) -> None:
    paths = [f"{s}/{c}/{i}.png" for s in ("train", "test") for c in ("a", "b") for i in range(10)]
    data = open_dataset(paint(*paths), val_share=0.1)
    assert data.splits_made == ("val",)
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {
        "train": 18,
        "val": 2,
        "test": 20,
    }
    assert all(name.startswith("train/") for name in data.splits["val"].names)


def test_one_split_folder_is_parted_for_testing(paint: Paint) -> None:
    data = open_dataset(paint(*(f"train/{c}/{i}.png" for c in ("a", "b") for i in range(10))))
    assert data.splits_made == ("test",)
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 16, "test": 4}


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_splits_are_stratified(sizes: list[int], share: float, seed: int) -> None:
    names = [f"{c}/{i}" for c, size in enumerate(sizes) for i in range(size)]
    labels = [name.split("/")[0] for name in names]
    listing = Listing("set", names, labels, [None] * len(names), [0] * len(names), Image.open)
    splits, _ = split_listing(listing, share, seed)
    everything = sorted(position for positions in splits.values() for position in positions)
    assert everything == list(range(len(names)))
    for c, size in enumerate(sizes):
        test = sum(labels[i] == str(c) for i in splits.get("test", []))
        val = sum(labels[i] == str(c) for i in splits.get("val", []))
        assert size - test - val >= 1
        assert test == min(max(round(size * 0.2), 1), size - 1)
        assert val == min(max(round((size - test) * share), 1), size - test - 1)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 2.0])
def test_shares_out_of_range_are_refused(share: float, pets: Path) -> None:
    with pytest.raises(ValueError, match="val_share must be above 0 and below 1"):
        open_dataset(pets, val_share=share)


def test_the_fingerprint_tells_of_every_change(pets: Path) -> None:
    seen = {open_dataset(pets).fingerprint}
    assert open_dataset(pets, val_share=0.2, split_seed=3).fingerprint in seen
    (pets / "cats" / "00.png").rename(pets / "cats" / "renamed.png")
    seen.add(open_dataset(pets).fingerprint)
    (pets / "cats" / "01.png").rename(pets / "dogs" / "moved.png")
    seen.add(open_dataset(pets).fingerprint)
    Image.new("RGB", (9, 9)).save(pets / "cats" / "02.png")
    seen.add(open_dataset(pets).fingerprint)
    (pets / "cats" / "03.png").unlink()
    seen.add(open_dataset(pets).fingerprint)
    assert len(seen) == 5


def test_subsets(pets: Path) -> None:
    train = open_dataset(pets).splits["train"]
    part = train.subset([5, 0], split="val")
    assert part.split == "val"
    assert len(part) == 2
    assert part.names == [train.names[5], train.names[0]]
    assert part.targets.tolist() == train.targets[[5, 0]].tolist()
    assert torch.equal(part.picture(1, 3), train.picture(0, 3))
    assert len(train.subset([])) == 0


def test_a_broken_picture_is_named(pets: Path) -> None:
    (pets / "cats" / "00.png").write_bytes(b"no picture")
    (pets / "cats" / "01.png").unlink()
    data = open_dataset(pets)
    for dataset in data.splits.values():
        for index, name in enumerate(dataset.names):
            if name == "cats/00.png":
                with pytest.raises(UnreadablePictureError, match=r"cats/00\.png cannot be read: the file is no"):
                    dataset.picture(index, 3)
            else:
                dataset.picture(index, 3)


def test_grey_pictures_make_a_grey_data_set(shared_data: Path) -> None:
    data = open_dataset(shared_data / "orl_faces")
    assert data.channels == 1
    assert len(data.classes) == 30
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 240, "test": 60}
    assert data.splits["train"].picture(0, 1).shape == (1, 112, 92)


def test_photographs(shared_data: Path) -> None:
    data = open_dataset(shared_data / "ants_bees")
    assert data.classes == ("ants", "bees")
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 245, "val": 153}
    assert data.splits["train"].names[0] == "train/ants/0013035.jpg"


def test_cifar10_is_read_from_its_archive(shared_data: Path) -> None:
    """The first test pictures of each class, and the counts that its author states."""
    data = open_dataset(shared_data / "cifar10.tar")
    assert data.name == "cifar10"
    assert data.classes == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    assert data.splits["train"].targets.bincount().tolist() == [5000] * 10
    assert data.splits["test"].targets.bincount().tolist() == [1000] * 10
    assert data.splits_made == ()
    assert data.channels == 3
    assert data.splits["train"].picture(49_999, 3).shape == (3, 32, 32)
    held_out = open_dataset(shared_data / "cifar10.tar", val_share=0.1)
    assert held_out.splits["val"].targets.bincount().tolist() == [500] * 10
    assert held_out.fingerprint == data.fingerprint
