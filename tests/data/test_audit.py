from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from resnets.cli.main import main
from resnets.data.audit import Shortage, audit, readable
from resnets.data.opening import open_dataset

Paint = Callable[..., Path]


@pytest.fixture
def flawed(paint: Paint) -> Path:
    """Train and test with two broken files, one leak, a tiny class and one that is missing from the test."""
    folder = paint(
        *(f"train/a/{i:02d}.png" for i in range(30)),
        *(f"train/b/{i:02d}.png" for i in range(12)),
        *(f"train/c/{i:02d}.png" for i in range(3)),
        *(f"test/a/{i:02d}.png" for i in range(12)),
        *(f"test/b/{i:02d}.png" for i in range(11)),
    )
    (folder / "train/a/07.png").write_bytes(b"no picture")
    whole = (folder / "test/b/02.png").read_bytes()
    (folder / "test/b/02.png").write_bytes(whole[: len(whole) // 2])
    # The same pixels in another file format under another name.
    Image.open(folder / "train/a/03.png").save(folder / "test/a/leak.bmp")
    shutil.copy(folder / "train/a/04.png", folder / "train/a/again.png")  # no leak: both are in train
    Image.new("L", (20, 30)).save(folder / "train/b/grey.png")
    return folder


def test_an_audit_finds_what_was_hidden(flawed: Path) -> None:
    data = open_dataset(flawed)
    advanced = []
    found = audit(data, advance=lambda: advanced.append(1))
    assert len(advanced) == sum(len(dataset) for dataset in data.splits.values())
    assert {bad.name for bad in found.unreadable} == {"train/a/07.png", "test/b/02.png"}
    assert all(bad.reason for bad in found.unreadable)
    assert [set(group) for group in found.shared] == [{("train", "train/a/03.png"), ("test", "test/a/leak.bmp")}]
    assert found.shortages == (Shortage("test", "c", 0), Shortage("train", "c", 3))
    assert found.counts["train"] == {"a": 31, "b": 13, "c": 3}
    assert found.sizes == {(12, 10): 68, (30, 20): 1}
    assert found.modes == {"RGB": 68, "L": 1}
    assert not found.sound


def test_one_picture_under_two_classes_is_a_contradiction(paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    folder = paint(*(f"{label}/{number:02d}.png" for label in "ab" for number in range(20)))
    Image.open(folder / "a/03.png").save(folder / "b/03.bmp")
    shutil.copy(folder / "a/04.png", folder / "a/again.png")
    data = open_dataset(folder)
    found = audit(data)
    assert [{(name, told) for _, name, told in group} for group in found.contradicting] == [
        {("a/03.png", "a"), ("b/03.bmp", "b")}
    ]
    assert not found.sound
    assert main(["check", str(folder)]) == 1
    assert "a/03.png (a) = b/03.bmp (b)" in capsys.readouterr().out


def test_of_one_picture_there_may_be_several_measurements(paint: Paint) -> None:
    folder = paint(*(f"{number}.png" for number in range(4)))
    shutil.copy(folder / "0.png", folder / "again.png")
    rows = [f"{number}.png,{number},train" for number in range(4)]
    (folder / "table.csv").write_text("\n".join(["path,age,split", *rows, "again.png,9,train"]))
    assert audit(open_dataset(folder / "table.csv")).contradicting == ()


def test_classes_that_differ_in_capitals_only_are_named(paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    folder = paint(*(f"{label}/{number:02d}.png" for label in ("Cat", "cat", "dog") for number in range(60)))
    assert audit(open_dataset(folder)).alike == (("Cat", "cat"),)
    assert main(["check", str(folder)]) == 0
    assert "classes that differ in capitals only: \n  Cat, cat\n" in capsys.readouterr().out


def test_a_sound_data_set(shared_data: Path) -> None:
    found = audit(open_dataset(shared_data / "ants_bees"))
    assert found.sound
    assert not found.shortages
    assert found.modes == {"RGB": 398}
    assert sum(found.sizes.values()) == 398
    assert max(max(size) for size in found.sizes) <= 640
    assert found.counts["val"] == {"ants": 70, "bees": 83}


def test_unreadable_pictures_are_named_and_left_out(flawed: Path) -> None:
    data = open_dataset(flawed)
    advanced = []
    kept = readable(data, max_share=0.1, advance=lambda: advanced.append(1))
    assert len(advanced) == sum(len(dataset) for dataset in data.splits.values())
    assert {bad.name for bad in kept.unreadable} == {"train/a/07.png", "test/b/02.png"}
    assert len(kept.splits["train"]) == len(data.splits["train"]) - 1
    assert set(data.splits["test"].names) - set(kept.splits["test"].names) == {"test/b/02.png"}
    assert kept.fingerprint == data.fingerprint
    assert readable(kept) == kept
    assert audit(kept).unreadable == kept.unreadable


def test_classes_to_recognise_are_in_one_split_each(paint: Paint) -> None:
    folder = paint(*(f"{label}/{number:02d}.png" for label in "abcdefgh" for number in range(12)))
    found = audit(open_dataset(folder, task="recognition"))
    assert len(found.counts) > 1
    assert found.shortages == ()
    assert found.sound


def test_too_many_unreadable_pictures_stop_the_run(flawed: Path) -> None:
    with pytest.raises(
        ValueError, match=r"(?s)1 of the 47 pictures of train in .* more than.*0\.01.*train/a/07\.png: "
    ):
        readable(open_dataset(flawed))


def test_truncated_jpegs_are_found_at_an_eighth_of_their_size(paint: Paint) -> None:
    folder = paint(*(f"{c}/{i}.jpg" for c in ("a", "b") for i in range(4)), size=(300, 400))
    whole = (folder / "a/1.jpg").read_bytes()
    (folder / "a/1.jpg").write_bytes(whole[: len(whole) * 9 // 10])
    kept = readable(open_dataset(folder), max_share=0.5)
    assert [bad.name for bad in kept.unreadable] == ["a/1.jpg"]
    assert "truncated" in kept.unreadable[0].reason


def test_nothing_changes_where_all_is_readable(pets: Path) -> None:
    data = open_dataset(pets)
    assert readable(data) is data
