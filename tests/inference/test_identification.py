"""An index of named pictures: its threshold, its file, and whom it names."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import functional as F

from resnets.cli.main import main
from resnets.inference.export import write_export
from resnets.inference.gallery import (
    Gallery,
    Threshold,
    fit_threshold,
    read_gallery,
    to_other_classes,
    write_gallery,
)
from resnets.inference.identification import build_gallery, identify
from resnets.inference.prediction import Prediction
from resnets.runs.run import Run
from resnets.training.train import train

pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Run:
    """Trained on eight of the digits; which two it has not seen is in its card."""
    options = {"model": "resnet8", "epochs": 4, "size": 8, "precision": "32-true", "embedding": 32, "batch_size": 32}
    folder = tmp_path_factory.mktemp("recogniser") / "run"
    return train(digits, run=folder, task="recognition", flip=False, console=Console(quiet=True), **options)


def test_the_threshold_lets_no_more_strangers_pass_than_asked():
    similarities = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.7])
    for rate, accepted, low, high in ((0.4, 2, 0.5, 0.7), (0.2, 1, 0.7, 0.9), (0.39, 1, 0.7, 0.9)):
        value, count = fit_threshold(similarities, rate)
        assert count == accepted == int((similarities >= value).sum())
        assert low < value < high
    value, count = fit_threshold(similarities, 0.1)
    assert count == 0
    assert 0.9 < value < 0.901
    assert int((similarities >= value).sum()) == 0
    assert fit_threshold(torch.full((10,), 0.5), 0.3)[1] == 0  # ties: all or none
    drawn = torch.from_numpy(np.random.default_rng(0).normal(size=100_000))
    assert fit_threshold(drawn, 0.05)[0] == pytest.approx(1.645, abs=0.02)


def test_a_stranger_is_compared_with_all_classes_but_its_own():
    generator = torch.Generator().manual_seed(0)
    units, targets = F.normalize(torch.randn(20, 4, generator=generator)), torch.arange(20) % 3
    found = to_other_classes(units, targets)
    for number in range(20):
        others = targets != targets[number]
        assert found[number].item() == pytest.approx((units[others] @ units[number]).max().item())


@pytest.fixture
def gallery() -> Gallery:
    units = F.normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)))
    names = tuple(f"name {number % 5}" for number in range(50))
    return Gallery("run", "0" * 64, names, tuple(map(str, range(50))), units, Threshold(0.5, 0.01, 100, 1))


def test_a_search_finds_what_is_most_alike(gallery):
    asked = F.normalize(torch.randn(7, 8, generator=torch.Generator().manual_seed(1)))
    similarities, positions = gallery.searcher()(asked, 4)
    expected = (asked @ gallery.embeddings.T).topk(4)
    torch.testing.assert_close(similarities, expected.values)
    assert torch.equal(positions, expected.indices)


def test_many_pictures_are_looked_up_in_one_index(gallery, monkeypatch):
    """Of which some cannot be read: whole batches, and the last."""
    asked = F.normalize(torch.randn(10, 8, generator=torch.Generator().manual_seed(1)))
    answers = [Prediction(str(n), embedding=tuple(row)) for n, row in enumerate(asked.tolist())]
    answers[1:1] = [Prediction("broken", error="no picture")] * 6
    predictor = SimpleNamespace(predict=lambda *_, **_options: iter(answers))
    monkeypatch.setattr("resnets.inference.identification.recogniser", lambda *_: predictor)
    monkeypatch.setattr("resnets.inference.identification._digest", lambda _: gallery.weights)
    made, searcher = [], Gallery.searcher
    monkeypatch.setattr(Gallery, "searcher", lambda self: made.append(self) or searcher(self))
    found = list(identify(gallery, [], batch_size=3))
    assert [one.picture for one in found] == [answer.name for answer in answers]
    expected = (asked @ gallery.embeddings.T).argmax(1).tolist()
    assert [one.nearest[0].picture for one in found if one.error is None] == list(map(str, expected))
    assert len(made) == 1


def test_an_index_survives_its_files(gallery, tmp_path):
    write_gallery(gallery, tmp_path / "index")
    again = read_gallery(tmp_path / "index")
    assert torch.equal(again.embeddings, gallery.embeddings)
    assert {**vars(again), "embeddings": None} == {**vars(gallery), "embeddings": None}
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_gallery(gallery, tmp_path / "index")
    (tmp_path / "index" / "notes.txt").write_text("keep me, too")
    write_gallery(gallery, tmp_path / "index", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == [
        "embeddings.safetensors",
        "gallery.json",
        "notes.txt",
    ]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="is no index"):
        write_gallery(gallery, tmp_path / "mine", overwrite=True)
    with pytest.raises(FileNotFoundError, match="resnets index"):
        read_gallery(tmp_path / "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ["only one"]}, "1 names and embeddings of shape"),
        ({"format": 9}, "it has format 9"),
        ({"threshold": 0.5}, "is not a whole index"),
        ({"threshold": vars(Threshold(float("nan"), 0.1, 10, 1))}, "its threshold is nan"),
        ({"threshold": vars(Threshold("high", 0.1, 10, 1))}, "is not a whole index"),  # type: ignore[arg-type]
    ],
)
def test_a_spoilt_index_is_refused(gallery, tmp_path, change, message):
    write_gallery(gallery, tmp_path / "index")
    path = tmp_path / "index" / "gallery.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        read_gallery(tmp_path / "index")


@pytest.mark.parametrize("spoil", [lambda e: e * float("nan"), lambda e: 2 * e], ids=["no numbers", "too long"])
def test_embeddings_that_are_none_are_refused(gallery, tmp_path, spoil):
    write_gallery(replace(gallery, embeddings=spoil(gallery.embeddings)), tmp_path / "index")
    with pytest.raises(ValueError, match="not of length 1"):
        read_gallery(tmp_path / "index")


def test_pictures_are_named_and_strangers_are_not(recogniser, digits, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    card = recogniser.card()
    unseen = [name for number, name in enumerate(card.classes) if number not in card.settings["trained_on"]]
    seen = [name for name in card.classes if name not in unseen]
    for name in seen[:4]:
        (tmp_path / "named" / name).mkdir(parents=True)
        for path in sorted((digits / name).iterdir())[:10]:
            (tmp_path / "named" / name / path.name).symlink_to(path)
    for name in unseen:
        (tmp_path / "strangers").mkdir(exist_ok=True)
        (tmp_path / "strangers" / name).symlink_to(digits / name)
    folder = str(tmp_path / "index")
    command = ["index", str(recogniser.folder), str(tmp_path / "named"), "--to", folder, "--false-accepts", "0.1"]
    assert main([*command, "--strangers", str(tmp_path / "strangers")]) == 0
    out = capsys.readouterr().out
    assert "40 pictures of 4 names" in out
    assert "strangers are taken for somebody" in out
    asked = {name: sorted((digits / name).iterdir())[10:20] for name in (*seen[:4], *unseen)}
    gallery = read_gallery(folder)
    right, unknown = [], []
    for name, paths in asked.items():
        for answer in identify(gallery, paths, top=2, batch_size=16):
            assert len({likeness.name for likeness in answer.nearest}) == 2
            assert answer.nearest[0].similarity >= answer.nearest[1].similarity
            assert (answer.name is None) == (answer.nearest[0].similarity < gallery.threshold.value)
            (unknown if name in unseen else right).append(
                answer.name is None if name in unseen else answer.name == name
            )
    assert np.mean(right) > 0.5
    assert np.mean(unknown) > 0.7
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    paths = [str(asked[seen[0]][0]), str(asked[unseen[0]][0]), str(broken)]
    assert main(["identify", folder, *paths]) == 1
    captured = capsys.readouterr()
    assert "1 of 3 pictures could not be read" in captured.err
    assert main(["identify", folder, *paths[:2], "--json", "--top", "3"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(row["nearest"]) for row in rows] == [3, 3]


def test_what_does_not_fit_is_refused(recogniser, run, digits, tmp_path):
    for name in recogniser.card().classes[:2]:
        (tmp_path / "two" / name).mkdir(parents=True)
        for path in sorted((digits / name).iterdir())[:3]:
            (tmp_path / "two" / name / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="needs a run of --task recognition"):
        build_gallery(run.folder, digits)
    with pytest.raises(ValueError, match="share above 0"):
        build_gallery(recogniser.folder, digits, rate=1.5)
    with pytest.raises(ValueError, match="in the gallery and among the strangers"):
        build_gallery(recogniser.folder, digits, strangers=digits)
    with pytest.warns(UserWarning, match="trained on 8 of the names"):
        gallery = build_gallery(recogniser.folder, digits)
    assert gallery.threshold.strangers == len(gallery.names)
    with pytest.warns(UserWarning, match="such as"):
        mirrored = build_gallery(recogniser.folder, tmp_path / "two", views="mirrored")
    asked = sorted((tmp_path / "two").rglob("*.png"))
    for answer, path in zip(identify(mirrored, asked), asked, strict=True):
        assert answer.nearest[0].similarity == pytest.approx(1, abs=1e-5)  # itself, seen alike
        assert answer.nearest[0].picture.endswith(path.name)
    halved = replace(gallery, embeddings=F.normalize(gallery.embeddings[:, :16]))
    with pytest.raises(ValueError, match="embeddings of 32 numbers, and those of the index have 16"):
        next(identify(halved, asked))
    other = Gallery(**{**vars(gallery), "weights": "0" * 64})
    with pytest.raises(ValueError, match="not those that the index was made with"):
        next(identify(other, [next(digits.rglob("*.png"))]))


@pytest.mark.filterwarnings("ignore:the network was trained on")
def test_one_name_needs_strangers_and_one_stranger_will_do(recogniser, digits, tmp_path, capsys):
    one, other = (str(tmp_path / name) for name in ("one", "other"))
    for folder, name in ((one, "3"), (other, "7")):
        shutil.copytree(digits / name, Path(folder) / name)
    with pytest.raises(ValueError, match=r"one has one class only \(3\).*; give strangers"):
        build_gallery(recogniser.folder, one)
    gallery = build_gallery(recogniser.folder, one, strangers=other, rate=0.1)
    assert gallery.threshold.strangers == len(list(Path(other).rglob("*.png")))
    command = ["index", str(recogniser.folder), str(digits), "--to", one]
    assert main(command) == 1
    assert "is no index" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:the network was trained on")
def test_an_export_makes_an_index_and_names_by_it(recogniser, digits, tmp_path):
    exported = write_export(recogniser, tmp_path / "export", "openvino").run.folder
    for name in recogniser.card().classes[:2]:
        (tmp_path / "two" / name).mkdir(parents=True)
        for path in sorted((digits / name).iterdir())[:3]:
            (tmp_path / "two" / name / path.name).symlink_to(path)
    gallery = build_gallery(exported, tmp_path / "two")
    expected = build_gallery(recogniser.folder, tmp_path / "two")
    torch.testing.assert_close(gallery.embeddings, expected.embeddings, atol=1e-4, rtol=0)
    asked = [tmp_path / "two" / picture for picture in gallery.pictures]
    answers = list(identify(gallery, asked))
    assert [answer.nearest[0].name for answer in answers] == list(gallery.names)
    with pytest.raises(ValueError, match="not those that the index was made with"):
        next(identify(gallery, asked, run=recogniser.folder))
