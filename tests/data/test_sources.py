"""One contract for all sources, and what each of them has of its own."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_digits

from resnets.cli.main import main
from resnets.data.opening import Data, open_dataset
from resnets.data.sources import builtin, find_source, sources
from resnets.runs.run import write_whole

Paint = Callable[..., Path]
PATHS = (
    *(f"train/cats/{i}.png" for i in range(6)),
    *(f"train/dogs/deep/er/{i}.png" for i in range(4)),
    *(f"test/cats/{i}.png" for i in range(3)),
    *(f"test/dogs/{i}.png" for i in range(2)),
)


def pack_tar(folder: Path, name: str = "set.tar", mode: str = "w", top: str = "") -> Path:
    archive = folder.parent / name
    with tarfile.open(archive, mode) as tar:
        for file in sorted(folder.rglob("*.png"), reverse=True):
            tar.add(file, top + file.relative_to(folder).as_posix())
    return archive


def pack_zip(folder: Path, name: str = "set.zip", top: str = "") -> Path:
    archive = folder.parent / name
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zip_file:
        for file in sorted(folder.rglob("*.png")):
            zip_file.write(file, top + file.relative_to(folder).as_posix())
    return archive


def rows(folder: Path) -> list[dict[str, str]]:
    files = [file.relative_to(folder) for file in sorted(folder.rglob("*.png"))]
    return [{"path": f.as_posix(), "label": f.parts[1], "split": f.parts[0]} for f in files]


def write_csv(folder: Path, delimiter: str = ",") -> Path:
    table = folder / ("table.csv" if delimiter == "," else "table.tsv")
    with table.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["path", "label", "split"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows(folder))
    return table


def write_parquet(folder: Path) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(rows(folder)), folder / "table.parquet")
    return folder / "table.parquet"


SAME_SET: dict[str, Callable[[Path], Path]] = {
    "folder": lambda folder: folder,
    "tar": pack_tar,
    "tar with ./": lambda folder: pack_tar(folder, top="./"),
    "tar with a folder above": lambda folder: pack_tar(folder, top="all/of/it/"),
    "tar.gz": lambda folder: pack_tar(folder, "set.tar.gz", "w:gz"),
    "tgz": lambda folder: pack_tar(folder, "set.TGZ", "w:gz"),
    "tar.xz": lambda folder: pack_tar(folder, "set.tar.xz", "w:xz"),
    "tar.bz2": lambda folder: pack_tar(folder, "set.tar.bz2", "w:bz2"),
    "zip": pack_zip,
    "zip with a folder above": lambda folder: pack_zip(folder, top="set/"),
    "csv": write_csv,
    "tsv": lambda folder: write_csv(folder, "\t"),
    "parquet": write_parquet,
}


@pytest.mark.parametrize("kind", SAME_SET)
def test_the_same_pictures_are_read_from_every_kind(kind: str, paint: Paint) -> None:
    folder = paint(*PATHS)
    data = open_dataset(SAME_SET[kind](folder))
    assert data.classes == ("cats", "dogs")
    assert set(data.splits) == {"train", "test"}
    assert data.splits_made == ()
    assert data.channels == 3
    for split, dataset in data.splits.items():
        assert sorted(dataset.names) == sorted(path for path in PATHS if path.startswith(split))
        for index, name in enumerate(dataset.names):
            assert data.classes[dataset.targets[index]] == name.split("/")[1]
            expected = torch.from_numpy(np.array(Image.open(folder / name))).permute(2, 0, 1)
            assert torch.equal(dataset.picture(index, 3), expected)
    assert data.fingerprint == open_dataset(folder).fingerprint


@pytest.mark.parametrize("kind", SAME_SET)
def test_sources_are_read_by_threads_and_other_processes(kind: str, paint: Paint) -> None:
    dataset = open_dataset(SAME_SET[kind](paint(*PATHS))).splits["train"]
    expected = [dataset.picture(i, 3) for i in range(len(dataset))]
    elsewhere = pickle.loads(pickle.dumps(dataset))
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda i: elsewhere.picture(i % len(dataset), 3), range(100)))
    assert all(torch.equal(picture, expected[i % len(dataset)]) for i, picture in enumerate(got))


def test_every_source_says_what_it_accepts_and_claims_nothing_else(tmp_path: Path) -> None:
    assert set(sources()) == {"archive", "builtin", "coco", "folder", "hub", "masks", "shards", "table", "voc", "yolo"}
    for module in sources().values():
        assert module.ACCEPTS
        assert not module.recognises(str(tmp_path / "absent"))
    with pytest.raises(ValueError, match=r"(?s)no data set at 'absent'.*folder: .*hub: hf:") as caught:
        find_source("absent")
    for name, module in sources().items():
        assert f"{name}: {module.ACCEPTS}" in str(caught.value)


def test_two_sources_that_claim_one_name_are_an_error(paint: Paint, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = paint("cats/0.png", "cats/1.png", "dogs/0.png", "dogs/1.png", root="digits")
    monkeypatch.chdir(folder.parent)
    with pytest.raises(ValueError, match=r"'digits' could be builtin or folder; .* \./digits"):
        open_dataset("digits")
    assert open_dataset("./digits").format == "folder"
    assert open_dataset(Path("digits")).format == "folder"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_may_have_spaces_around_their_names(kind: str, paint: Paint) -> None:
    folder = paint("0.png", "1.png", "2.png", "3.png")
    found = [(f"{i}.png", "ab"[i % 2], "train" if i < 2 else "test") for i in range(4)]
    table = folder / f"table.{kind}"
    if kind == "csv":
        table.write_text("\n".join(["path, label, split", *map(", ".join, found)]))
    else:
        heading = ("path", " label", " split ")
        parquet.write_table(pyarrow.Table.from_pylist([dict(zip(heading, row, strict=True)) for row in found]), table)
    data = open_dataset(table)
    assert {split: list(dataset.names) for split, dataset in data.splits.items()} == {
        "train": ["0.png", "1.png"],
        "test": ["2.png", "3.png"],
    }
    assert data.splits_made == ()


def test_what_cannot_be_downloaded_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nTried https://a:\n<urlopen error>\n")

    monkeypatch.setitem(builtin._DOWNLOADED, "mnist", offline)
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=r"mnist is not whole in .* and cannot be downloaded: Error .* <urlopen error>$"):
        open_dataset("mnist")


# Folders


def test_split_folders_have_several_names(paint: Paint) -> None:
    folder = paint(*(f"{s}/{c}/{i}.png" for s in ("Training", "valid", "test") for c in ("a", "b") for i in range(2)))
    assert set(open_dataset(folder).splits) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("train2017", "val2017"),
        ("seg_train/seg_train", "seg_test/seg_test"),
    ],
)
def test_split_folders_may_be_named_more_fully(train: str, test: str, paint: Paint) -> None:
    """As in sets of Kaggle's, and in COCO's and Intel's."""
    data = open_dataset(paint(*(f"{s}/{c}/{i}.png" for s in (train, test) for c in ("cats", "dogs") for i in range(3))))
    assert data.classes == ("cats", "dogs")
    assert set(data.splits) == {"train", "val" if "val" in test else "test"}
    assert data.splits_made == ()


def test_classes_may_have_the_words_of_splits_in_their_names(paint: Paint) -> None:
    classes = ("bullet train", "bus", "car", "freight train", "plane", "test tube")
    assert open_dataset(paint(*(f"{c}/{i}.png" for c in classes for i in range(5)))).classes == classes


def test_a_class_is_one_however_its_letters_are_composed(paint: Paint) -> None:
    """macOS takes accents apart, others do not."""
    folder = paint(
        *(f"train/{c}/{i}.png" for c in ("caf\u00e9", "dogs") for i in range(3)),
        *(f"test/{c}/{i}.png" for c in ("cafe\u0301", "dogs") for i in range(3)),
    )
    assert open_dataset(folder).classes == ("caf\u00e9", "dogs")


def test_hidden_and_other_files_are_no_pictures(paint: Paint) -> None:
    folder = paint("a/0.png", "a/.1.png", "b/0.png", ".cache/x/0.png", "__MACOSX/a/0.png", "a/1.png", "b/1.png")
    paint("a/@eaDir/0.png/THUMB.png", "$RECYCLE.BIN/0.png", "b/#recycle/0.png")
    (folder / "a" / "notes.txt").write_text("no picture")
    data = open_dataset(folder)
    assert sorted(n for d in data.splits.values() for n in d.names) == [
        "a/0.png",
        "a/1.png",
        "b/0.png",
        "b/1.png",
    ]


NEITHER = {
    "a/phone.HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "kind .heic are not read"),
    "a/phone": (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "kind .heic are not read"),
    "b/raw.dng": (b"II*\0" + bytes(20), "kind .dng are not read"),
    "b/jpeg": (b"\xff\xd8\xff\xe0" + bytes(20), "its name does not end as a picture's"),
    "b/webp": (b"RIFF\x10\0\0\0WEBPVP8 ", "its name does not end as a picture's"),
    "b/bmp.txt": (b"BM\x10\x10\0\0\0\0\0\0\x36\0\0\0", "its name does not end as a picture's"),
}
"""Files that look like pictures and are not read, and why."""


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_files_that_look_like_pictures_and_are_not_read_are_named(kind: str, paint: Paint) -> None:
    folder = paint("a/0.png", "a/1.png", "b/0.png", "b/1.png")
    for name, (content, _) in NEITHER.items():
        (folder / name).write_bytes(content)
    (folder / "a/BMW notes.txt").write_text("BMW builds cars")
    (folder / "a/.hidden").write_bytes(b"\xff\xd8\xff\xe0")
    packed = {"zip": "zip", "tar": "tar", "tar.gz": "gztar"}
    source = folder if kind == "folder" else shutil.make_archive(str(folder.parent / "set"), packed[kind], folder)
    reasons = {bad.name: bad.reason for bad in open_dataset(source).unreadable}
    assert reasons.keys() == NEITHER.keys()
    assert all(reason in reasons[name] for name, (_, reason) in NEITHER.items())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_file_names_may_be_in_another_encoding(paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    folder = paint(*(f"{c}/{i}.png" for c in "ab" for i in range(5)))
    (folder / "a/0.png").rename(os.fsdecode(os.fsencode(folder / "a") + b"/caf\xe9.png"))
    data, packed = open_dataset(folder), folder.parent / "packed"
    assert main(["shard", str(folder), str(packed)]) == 0
    assert open_dataset(packed).fingerprint == data.fingerprint
    for whole in (data.whole(), open_dataset(packed).whole()):
        assert whole.picture(whole.names.index("a/caf\udce9.png"), 3).shape == (3, 12, 10)
    Path(folder, "a/caf\udce9.png").write_bytes(b"no picture")
    assert main(["check", str(folder)]) == 1
    assert "a/caf\\udce9.png: the file is no picture" in capsys.readouterr().out
    write_whole(folder / "card.json", json.dumps(["a/caf\udce9.png"], ensure_ascii=False))
    assert json.loads((folder / "card.json").read_text(encoding="utf-8")) == ["a/caf\udce9.png"]


def test_links_are_followed_but_not_in_circles(paint: Paint, tmp_path: Path) -> None:
    paint(*(f"{i}.png" for i in range(3)), root="elsewhere")
    folder = paint("a/0.png", "a/1.png", root="linked")
    (folder / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "a" / "circle").symlink_to(folder, target_is_directory=True)
    data = open_dataset(folder)
    assert data.classes == ("a", "b")
    assert sum(len(d) for d in data.splits.values()) == 5


def test_a_class_may_be_called_train(paint: Paint) -> None:
    folder = paint(*(f"{c}/{i}.png" for c in ("train", "bus", "car") for i in range(5)))
    assert open_dataset(folder).classes == ("bus", "car", "train")


@pytest.mark.parametrize(
    ("paths", "complaint"),
    [
        ((), "holds no pictures"),
        (("0.png", "a/1.png"), "0.png is in no class folder"),
        (("a/0.png", "a/1.png"), r"one class only \(a\)"),
        (
            ("train/a/0.png", "train/b/0.png", "test/0.png"),
            "test/0.png is in a split folder but in no class folder",
        ),
        (
            ("train/a/0.png", "train/b/0.png", "masks/0.png"),
            r"split folders \(train\) beside other folders \(masks\)",
        ),
        (("val/a/0.png", "val/b/0.png", "test/a/0.png"), "has test and val, but no pictures to train on"),
        (
            ("train/0.png", "trainannot/0.png", "test/0.png", "testannot/0.png"),
            r"folders that are named like splits \(test, train\), but not as split/class/picture",
        ),
        (("train_a/0.png", "train_b/0.png", "test_a/0.png"), r"named like splits \(test_a, train_a, train_b\)"),
        (
            ("a/train/0.png", "a/test/0.png", "b/train/0.png", "b/test/1.png"),
            r"split folders \(test, train\) below others, such as a",
        ),
        (("Images/0.png", "labels/0.png"), "has the folders Images, labels, which name no classes"),
    ],
)
def test_folders_that_are_no_data_set(paths: tuple[str, ...], complaint: str, paint: Paint, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(ValueError, match=complaint):
        open_dataset(paint(*paths))


# Archives


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (3, 3), value).save(buffer, "PNG")
    return buffer.getvalue()


def test_nothing_of_an_archive_reaches_the_disk_by_its_own_name(tmp_path: Path) -> None:
    """Members that climb out, absolute names, links, devices: only plain ones are read, and only as bytes."""
    folder = tmp_path / "inside"
    folder.mkdir()
    archive = folder / "hostile.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png", "../../b/2.png", "/b/3.png"):
            member = tarfile.TarInfo(name)
            member.size = len(png(0))
            tar.addfile(member, io.BytesIO(png(0)))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"a/{kind.decode()}.png")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    before = sorted(tmp_path.rglob("*"))
    data = open_dataset(archive)
    names = sorted(name for dataset in data.splits.values() for name in dataset.names)
    assert names == ["a/0.png", "a/1.png", "b/0.png", "b/1.png", "b/3.png"]
    assert sorted(tmp_path.rglob("*")) == before


def test_of_a_member_that_stands_twice_the_last_counts(tmp_path: Path) -> None:
    archive = tmp_path / "twice.tar"
    with tarfile.open(archive, "w") as tar:
        for name, value in (("a/0.png", 1), ("a/1.png", 3), ("b/0.png", 4), ("b/1.png", 5), ("a/0.png", 2)):
            member = tarfile.TarInfo(name)
            member.size = len(png(value))
            tar.addfile(member, io.BytesIO(png(value)))
    data = open_dataset(archive)
    values = {n: int(d.picture(i, 1).max()) for d in data.splits.values() for i, n in enumerate(d.names)}
    assert values == {"a/0.png": 2, "a/1.png": 3, "b/0.png": 4, "b/1.png": 5}


@pytest.mark.parametrize("above", ["", "train/"])
def test_pictures_and_masks_in_an_archive_are_no_classes(above: str, paint: Paint) -> None:
    archive = pack_zip(paint(*(f"{above}{kind}/{i}.png" for kind in ("Images", "masks") for i in range(3))))
    with pytest.raises(ValueError, match=r"has the folders Images, masks, which name no classes; .* not in an archive"):
        open_dataset(archive)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_hard_links_in_an_archive_are_what_they_link_to_and_others_are_named(mode: str, paint: Paint) -> None:
    folder = paint("a/0.png", "a/1.png", "b/0.png", "b/1.png")
    (folder / "b/2.png").hardlink_to(folder / "a/0.png")
    (folder / "b/3.png").symlink_to("0.png")
    data = open_dataset(pack_tar(folder, "set.tar.gz" if "gz" in mode else "set.tar", mode))
    whole = data.whole()
    assert sorted(whole.names) == ["a/0.png", "a/1.png", "b/0.png", "b/1.png", "b/2.png"]
    pixels = {name: whole.picture(index, 3) for index, name in enumerate(whole.names)}
    assert torch.equal(*(pixels[name] for name in ("a/0.png", "b/2.png")))
    assert [(bad.name, bad.reason) for bad in data.unreadable] == [
        ("b/3.png", "it is a link or another special file, which is not read in an archive")
    ]


def test_names_in_a_zip_that_are_in_utf_8_without_saying_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS writes them."""
    monkeypatch.setattr(
        zipfile.ZipInfo, "_encodeFilenameFlags", lambda info: (info.filename.encode(), info.flag_bits & ~0x800)
    )
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for number, label in enumerate(("caf\u00e9", "\u72ac", "plain")):
            for i in range(3):
                archive.writestr(f"{label}/{i}.png", png(10 * number + i))
    monkeypatch.undo()
    data = open_dataset(tmp_path / "set.zip")
    assert data.classes == ("caf\u00e9", "plain", "\u72ac")
    whole = data.whole()
    assert whole.picture(whole.names.index("\u72ac/2.png"), 1).unique().tolist() == [12]


@pytest.mark.parametrize("name", ["broken.tar", "broken.tar.gz", "broken.zip"])
def test_what_is_no_archive_is_said_to_be_none(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"this is not an archive" * 100)
    with pytest.raises(ValueError, match=f"{name} is not a whole archive"):
        open_dataset(tmp_path / name)


# Built-in


def test_digits_are_scikit_learns() -> None:
    data = open_dataset("digits")
    reference = load_digits()
    assert data.classes == tuple("0123456789")
    assert data.channels == 1
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 1438, "test": 359}
    seen = set()
    for dataset in data.splits.values():
        for index, name in enumerate(dataset.names):
            label, number = name.split("/")
            seen.add(int(number))
            assert reference.target[int(number)] == int(label) == dataset.targets[index]
            expected = torch.from_numpy(reference.images[int(number)] / 16 * 255)
            torch.testing.assert_close(dataset.picture(index, 1)[0].double(), expected, rtol=0, atol=0.5)
    assert seen == set(range(1797))


def test_mnist_is_read_from_torchvisions_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files in the cache, in their published layout, so that there is nothing to download."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 20), ("t10k", 10)):
        pixels = np.random.default_rng(n).integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        for name, magic, values in (("images-idx3", 2051, pixels), ("labels-idx1", 2049, labels)):
            header = struct.pack(f">I{values.ndim}I", magic, *values.shape)
            (raw / f"{part}-{name}-ubyte").write_bytes(header + values.tobytes())
            (raw / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path))
    data = open_dataset("mnist")
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 20, "test": 10}
    assert data.classes[3] == "3 - three"
    assert data.splits["test"].targets.tolist() == list(range(10))
    expected = np.random.default_rng(10).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    assert torch.equal(data.splits["test"].picture(4, 1)[0], torch.from_numpy(expected[4]))


# Hugging Face


@pytest.fixture
def hub_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Data]:
    """Opens a data set in the Hub's layout, Parquet files, from a folder instead of the network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["cat", "ant"]),
            "id": datasets.Value("int64"),
        }
    )

    def write(**splits: list[int]) -> Data:
        repository = tmp_path / "owner" / "name"
        for split, labels in splits.items():
            images = [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(len(labels))]
            columns = {"image": images, "label": labels, "id": list(range(len(labels)))}
            part = datasets.Dataset.from_dict(columns, features=features)
            (repository / "data").mkdir(parents=True, exist_ok=True)
            part.to_parquet(repository / "data" / f"{split}-00000-of-00001.parquet")
        return open_dataset(f"hf:{repository}")

    return write


def test_a_hub_data_set(hub_set: Callable[..., Data]) -> None:
    data = hub_set(train=[0, 1, 1, 0, 1], validation=[1, 0], test=[-1, -1])
    assert data.format == "hub"
    assert data.classes == ("cat", "ant")
    assert set(data.splits) == {"train", "val"}
    train = pickle.loads(pickle.dumps(data.splits["train"]))
    assert train.targets.tolist() == [0, 1, 1, 0, 1]
    assert [int(train.picture(i, 3)[0].max()) for i in range(5)] == [0, 1, 2, 3, 4]
    assert data.splits["val"].names[1] == "val/0000001"


def test_a_hub_data_set_with_some_labels_missing(hub_set: Callable[..., Data]) -> None:
    with pytest.raises(ValueError, match="some pictures of train have no label"):
        hub_set(train=[0, 1, -1])
