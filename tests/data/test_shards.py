"""Shards hold the data set that they were written from, wherever they lie, as WebDataset's own library reads them."""

from __future__ import annotations

import functools
import gc
import http.server
import json
import pickle
import shutil
import tarfile
import threading
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from resnets.cli.main import main
from resnets.data import loading, order, remote
from resnets.data.audit import readable
from resnets.data.dataset import UnreadablePictureError
from resnets.data.loading import Loader
from resnets.data.opening import open_dataset
from resnets.data.order import by_shards, shards
from resnets.data.sources import find_source
from resnets.data.transforms import Augmentation
from resnets.types import Preprocessing

SEEN = Preprocessing((8, 8), 1, (0.5,), (0.5,))


@pytest.fixture(scope="session")
def digits_in_shards(tmp_path_factory) -> Path:
    """The digits in six shards of a megabyte: three files a picture, each of two blocks of 512 bytes."""
    folder = tmp_path_factory.mktemp("shards") / "digits"
    assert main(["shard", "digits", str(folder), "--size", "1"]) == 0
    return folder


@pytest.fixture
def served(digits_in_shards, tmp_path, monkeypatch):
    """The address of the digits' shards, and what is asked for there."""
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSES", (0.01,))
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(digits_in_shards.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/digits", asked
        server.shutdown()


def same(first, second) -> bool:
    return all(
        ours.names == theirs.names
        and torch.equal(ours.targets, theirs.targets)
        and all(torch.equal(ours.picture(i, 1), theirs.picture(i, 1)) for i in range(0, len(ours), 97))
        for ours, theirs in zip(first.splits.values(), second.splits.values(), strict=True)
    )


def test_shards_are_the_data_set_they_were_written_from(digits_in_shards):
    digits, packed = open_dataset("digits"), open_dataset(digits_in_shards)
    assert packed.format == "shards"
    assert (packed.fingerprint, packed.classes, packed.channels) == (digits.fingerprint, digits.classes, 1)
    assert packed.splits_made == digits.splits_made
    assert same(packed, digits)
    assert readable(packed) is packed  # which was done when they were written
    assert len(list(digits_in_shards.glob("*.tar"))) == 6
    first = packed.splits["train"]
    assert pickle.loads(pickle.dumps(first)).picture(5, 1).equal(first.picture(5, 1))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_webdatasets_own_library_reads_them(digits_in_shards):
    tars = sorted(map(str, digits_in_shards.glob("*.tar")))
    read = list(webdataset.WebDataset(tars, shardshuffle=False).decode("l8"))
    assert len({sample["__key__"] for sample in read}) == len(read) == 1797
    packed = open_dataset(digits_in_shards)
    known = {
        name: (int(target), split.picture(i, 1)[0])
        for split in packed.splits.values()
        for i, (name, target) in enumerate(zip(split.names, split.targets, strict=True))
    }
    for sample in read[::50]:
        target, pixels = known[sample["json"]["name"]]
        assert sample["cls"] == target
        assert sample["json"]["label"] == packed.classes[target]
        assert (sample["png"] == pixels.numpy()).all()
    gc.collect()  # the files that it leaves open


def test_shards_of_others_are_looked_through(tmp_path, digits_in_shards):
    """As webdataset writes them."""
    digits = open_dataset(digits_in_shards).splits["train"].sample(80)
    for split, numbers in {"train": range(60), "val": range(60, 80)}.items():
        with webdataset.TarWriter(str(tmp_path / f"{split}-0000.tar")) as writer:
            for i in numbers:
                picture = digits.picture(i, 1)[0].numpy()
                writer.write({"__key__": f"some/{i:04d}", "png": picture, "cls": int(digits.targets[i])})
    found = open_dataset(tmp_path)
    assert {split: len(pictures) for split, pictures in found.splits.items()} == {"train": 60, "val": 20}
    assert found.classes == tuple(map(str, range(int(digits.targets.max()) + 1)))
    assert found.splits["train"].names[7] == "train-0000/some/0007.png"
    assert torch.equal(found.splits["val"].targets, digits.targets[60:])
    assert torch.equal(found.splits["val"].picture(3, 1), digits.picture(63, 1))
    (tmp_path / "classes.txt").write_text("\n".join("abcdefghij"))
    assert open_dataset(tmp_path).classes == tuple("abcdefghij")


def test_folders_beside_the_archive_that_they_came_in_are_no_shards(paint, digits_in_shards):
    folder = paint(*(f"{label}/{number}.png" for label in "ab" for number in range(4)))
    shutil.make_archive(str(folder / "photos"), "tar", folder)
    data = open_dataset(folder)
    assert (data.format, data.classes) == ("folder", ("a", "b"))
    (folder / "digits.tar").write_bytes((digits_in_shards / "all-000000.tar").read_bytes())
    assert find_source(str(folder))[0] == "shards"


def test_a_number_of_a_class_that_would_fill_the_memory_is_refused(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "all-0000.tar")) as writer:
        for key, number in (("a", 0), ("b", 10**11)):
            writer.write({"__key__": key, "png": np.zeros((8, 8), np.uint8), "cls": number})
    with pytest.raises(ValueError, match=r"100000000000 is no number of a class without classes\.txt"):
        open_dataset(tmp_path)


def test_unreadable_pictures_are_left_out_and_files_are_kept_as_they_were(shared_data, tmp_path):
    source = shared_data / "ants_bees"
    if not source.is_dir():
        pytest.skip("needs the ants and bees")
    before, out = open_dataset(source), tmp_path / "out"
    assert main(["shard", str(source), str(out), "--size", "3"]) == 0
    after = open_dataset(out)
    lost = {bad.name for bad in after.unreadable}
    assert lost == {bad.name for bad in readable(before, 1.0).unreadable}
    assert set(after.splits["train"].names) == set(before.splits["train"].names) - lost
    with tarfile.open(next(out.glob("train-*.tar"))) as archive:
        key, told = next((m.name[:-5], json.load(archive.extractfile(m))) for m in archive if m.name.endswith(".json"))
        found = archive.extractfile(f"{key}.jpg").read()
    assert found in {path.read_bytes() for path in source.rglob(Path(told["name"]).name)}


def test_shards_are_written_whole_or_not_at_all(tmp_path, digits_in_shards, capsys):
    assert main(["shard", "digits", str(digits_in_shards)]) == 1
    assert "is not empty; write shards into a new folder" in capsys.readouterr().err
    assert main(["shard", "digits", str(tmp_path / "x"), "--size", "0"]) == 1
    assert not (tmp_path / "x").exists()
    (tmp_path / "x.unfinished").mkdir()
    assert main(["shard", "digits", str(tmp_path / "x")]) == 1
    assert "x.unfinished is there, which a writing that was interrupted has left" in capsys.readouterr().err


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12),
    st.integers(0, 99),
    st.sampled_from([1, 4, 16]),
    st.sampled_from([1, 16, 64]),
)
def test_every_sample_comes_once(sizes, seed, lanes, buffer):
    of = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    found = by_shards(seed, 3, of, torch.arange(len(of)), lanes, buffer)
    assert torch.equal(found.sort().values, torch.arange(len(of)))
    assert torch.equal(found, by_shards(seed, 3, of, torch.arange(len(of)), lanes, buffer))


def test_shards_are_read_from_beginning_to_end_by_processes_of_their_own():
    of = torch.arange(64).repeat_interleave(1000)
    orders = [by_shards(1, epoch, of, torch.arange(64_000)) for epoch in (0, 1)]
    assert not torch.equal(*orders)
    readers = defaultdict(set)
    for rank in range(4):
        own = torch.cat(shards(orders[0], 256, rank, 4))
        for shard in of[own].unique().tolist():
            readers[shard].add(rank)
        open_at_once = [len(of[part].unique()) for part in own.split(256)]
        assert max(open_at_once) <= 4 * 3  # four lanes, in each a shard, the next, and what the buffer holds back
    assert sum(len(ranks) for ranks in readers.values()) <= 64 + 4  # a shard has one reader, but at a few seams
    step = of[orders[0][:256]]
    assert len(step.unique()) >= 16


def batches(source) -> Loader:
    data, cut = open_dataset(source).splits["train"], Augmentation(scale=(0.5, 1.0), flip=True)
    return Loader(data, SEEN, 64, shuffle=True, augmentation=cut, seed=3, memory_limit=0, workers=2)


def test_shards_behind_http_give_the_batches_that_they_give_from_disk(served, digits_in_shards, monkeypatch):
    monkeypatch.setattr(order, "BUFFER", 256)
    monkeypatch.setattr(loading, "by_shards", functools.partial(by_shards, buffer=256))
    address, asked = served
    far, near = batches(address), batches(digits_in_shards)
    assert far.dataset.remote
    assert not near.dataset.remote
    assert all("tar" not in path for path in asked)  # opened by the index alone
    for found, expected in zip(far.epoch(2, 5), near.epoch(2, 5), strict=True):
        assert torch.equal(found.images, expected.images)
        assert torch.equal(found.indices, expected.indices)
    assert sorted(path for path in asked if "tar" in path) == [f"/digits/all-00000{i}.tar" for i in range(6)]
    list(far.epoch(3))
    assert len([path for path in asked if "tar" in path]) == 6  # kept on disk


def test_shards_in_an_object_store_are_read_alike(digits_in_shards, tmp_path, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path))
    store = fsspec.filesystem("memory")
    store.put(str(digits_in_shards), "/bucket/digits", recursive=True)
    assert same(open_dataset("memory://bucket/digits"), open_dataset(digits_in_shards))
    assert same(open_dataset("memory://bucket/digits/shards.json"), open_dataset(digits_in_shards))


def test_fetched_shards_make_room_for_others(served, monkeypatch, tmp_path):
    address, _ = served
    pictures = open_dataset(address).splits["train"]
    usage = remote.shutil._ntuple_diskusage(0, 0, 1_200_000)  # of which half, so that one shard has room
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: usage)
    for shard in range(4):
        pictures.fetch(shard)
    kept = {path.name for path in (tmp_path / "cache").rglob("*.tar")}
    assert kept == {"all-000003.tar"}


def test_shards_published_anew_are_fetched_anew(tmp_path, monkeypatch):
    """Of the same name and size, as tar files are filled up to blocks of 10,240 bytes."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("RESNETS_CACHE", str(tmp_path / "cache"))
    store = fsspec.filesystem("memory")
    sizes = set()
    for value in (10, 200):
        for label in "ab":
            for number in range(3):
                file = tmp_path / f"{value}" / label / f"{number}.bmp"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), value).save(file)
        folder = tmp_path / f"{value} in shards"
        assert main(["shard", str(tmp_path / f"{value}"), str(folder)]) == 0
        sizes.add((folder / "all-000000.tar").stat().st_size)
        store.put(f"{folder}/", "/bucket/anew/", recursive=True)
        assert open_dataset("memory://bucket/anew").whole().picture(0, 1).unique().tolist() == [value]
    assert len(sizes) == 1


def test_what_is_not_there_or_not_whole_is_said(served, digits_in_shards, tmp_path):
    address, _ = served
    with pytest.raises(OSError, match=r"nothing/shards.json cannot be fetched"):
        open_dataset(f"{address}/nothing")
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "shards.json").write_text('{"format": 1}')
    with pytest.raises(ValueError, match=r"is no index of shards"):
        open_dataset(torn)
    short = tmp_path / "short"
    assert main(["shard", "digits", str(short), "--size", "1"]) == 0
    pictures = open_dataset(short).splits["train"]
    for path in short.glob("*.tar"):
        path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(UnreadablePictureError, match="bytes, not the"):
        pictures.picture(0, 1)
    table = (short / "samples.csv.gz").read_bytes()
    (short / "samples.csv.gz").write_bytes(table[:10] + bytes(64) + table[74:])
    with pytest.raises(ValueError, match=r"is no index of shards"):
        open_dataset(short)
    (short / "samples.csv.gz").write_bytes(table)
    index = json.loads((short / "shards.json").read_text())
    index["shards"][0]["file"] = "../other.tar"
    (short / "shards.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="is no shard's name"):
        open_dataset(short)


def test_a_shard_that_was_changed_on_the_way_is_refused(served, monkeypatch, digits_in_shards):
    address, _ = served
    pictures = open_dataset(address).splits["train"]
    source = pictures._open_picture
    source.shards = [type(shard)(shard.file, None, shard.samples, shard.bytes, "0" * 64) for shard in source.shards]
    with pytest.raises(UnreadablePictureError, match="is not what its index says"):
        pictures.picture(0, 1)
