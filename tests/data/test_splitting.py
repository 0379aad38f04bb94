"""Splits of an open set: every class is in one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnets.data.opening import Data, open_dataset


def classes_of(data: Data) -> dict[str, set[str]]:
    return {split: {data.classes[n] for n in part.targets.tolist()} for split, part in data.splits.items()}


@pytest.fixture
def people(paint) -> Path:
    return paint(*(f"p{person:02d}/{number}.png" for person in range(20) for number in range(3)), root="people")


def test_whole_classes_are_held_out(people, paint):
    data = open_dataset(people, task="recognition", val_share=0.25)
    held = classes_of(data)
    assert {split: len(names) for split, names in held.items()} == {"train": 12, "test": 4, "val": 4}
    assert set.union(*held.values()) == set(data.classes)
    assert sum(map(len, held.values())) == 20
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 36, "test": 12, "val": 12}
    assert (data.task, data.splits_made) == ("recognition", ("test", "val"))
    assert classes_of(open_dataset(people, task="recognition", split_seed=1))["test"] != held["test"]
    before = classes_of(open_dataset(people, task="recognition"))["test"]
    assert before == held["test"]
    (people / "p20").mkdir()
    (people / "p20" / "0.png").write_bytes((people / "p00" / "0.png").read_bytes())
    after = classes_of(open_dataset(people, task="recognition"))["test"]
    assert len(after & before) >= 3  # one class more moves few others


def test_every_class_is_in_one_fold(people):
    folds = [classes_of(open_dataset(people, task="recognition", fold=(number, 4))) for number in range(1, 5)]
    held = [fold["val"] for fold in folds]
    assert sum(map(len, held)) == len(set.union(*held)) == 16  # the four of the test split take no part
    assert not any(fold["val"] & fold["train"] for fold in folds)
    with pytest.raises(ValueError, match="too few for 9 folds"):
        open_dataset(people, task="recognition", fold=(1, 9))


def test_few_classes_leave_some_to_either_side(paint):
    for count, test in ((2, 1), (3, 1), (4, 2), (5, 2)):
        folder = paint(*(f"c{k}/{n}.png" for k in range(count) for n in range(2)), root=f"few{count}")
        held = classes_of(open_dataset(folder, task="recognition"))
        assert (len(held["test"]), len(held["train"])) == (test, count - test)


def test_splits_of_the_source_are_used_if_no_class_is_in_two(paint):
    apart = paint(
        *(f"{split}/{c}/{n}.png" for split, c in (("train", "a"), ("train", "b"), ("test", "c")) for n in "12")
    )
    assert classes_of(open_dataset(apart, task="recognition")) == {"train": {"a", "b"}, "test": {"c"}}
    mixed = paint(*(f"{split}/{c}/{n}.png" for split in ("train", "test") for c in "ab" for n in "12"), root="mixed")
    with pytest.raises(ValueError, match="has a in train and in test"):
        open_dataset(mixed, task="recognition")
    assert open_dataset(mixed).task == "classification"
