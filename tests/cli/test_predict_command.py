"""Answers on disk: whole lines, resumed, in order."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from resnets.cli.main import main
from resnets.cli.predict import answered, find_pictures
from resnets.runs.run import Run, find_run


@pytest.fixture
def pictures(tmp_path):
    for number in range(12):
        folder = tmp_path / "pictures" / f"{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 30, 3), 20 * number, np.uint8)).save(folder / f"{number:02}.png")
    return tmp_path / "pictures"


def names(file):
    return [json.loads(line)["name"] for line in file.read_text().splitlines()]


def test_a_picture_that_could_not_be_read_is_tried_again(pictures, tmp_path, capsys):
    output, broken = tmp_path / "answers.jsonl", sorted(pictures.rglob("*.png"))[3]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:60])
    command = ["predict", "resnet20-cifar10", str(pictures), "--output", str(output)]
    assert main(command) == 1
    assert main([*command, "--skip-existing"]) == 1
    assert len(names(output)) == 12
    broken.write_bytes(whole)
    assert main([*command, "--skip-existing"]) == 0
    assert sorted(names(output)) == sorted(str(path) for path in find_pictures(str(pictures)))
    assert not any("error" in json.loads(line) for line in output.read_text().splitlines())
    assert "1 of 12" in capsys.readouterr().err


def test_an_interrupted_file_is_gone_on_with(pictures, tmp_path, capsys):
    output = tmp_path / "out" / "answers.jsonl"
    command = ["predict", "resnet20-cifar10", str(pictures), "--output", str(output)]
    assert main(command) == 0
    whole = output.read_bytes()
    assert names(output) == [str(path) for path in find_pictures(str(pictures))]
    lines = whole.splitlines(keepends=True)
    output.write_bytes(b"".join(lines[:5]) + lines[5][:10])  # as a power cut leaves it
    assert main([*command, "--skip-existing"]) == 0
    assert output.read_bytes() == whole
    assert main([*command, "--skip-existing"]) == 0
    assert output.read_bytes() == whole
    assert main(command) == 1
    assert "--skip-existing" in capsys.readouterr().err


def test_a_file_that_is_no_output_is_left_as_it_is(tmp_path):
    file = tmp_path / "letter.txt"
    file.write_text("Dear Sir,\nI write")
    with pytest.raises(ValueError, match="is no output of `resnets predict`"):
        answered(file)
    assert file.read_text() == "Dear Sir,\nI write"


def test_what_is_not_there_is_said_before_anything_is_answered(pictures, tmp_path, capsys):
    for missing in ("none.png", "none.mp4", "none/*.jpg"):
        output = tmp_path / "answers.jsonl"
        command = ["predict", "resnet20-cifar10", str(pictures), str(tmp_path / missing), "--output", str(output)]
        assert main(command) == 1
        assert f"at {tmp_path / missing}" in " ".join(capsys.readouterr().err.split())
        assert not output.exists()


def test_tiles_are_of_a_single_run(pictures, capsys):
    assert main(["predict", "resnet20-cifar10+resnet20-cifar10", str(pictures), "--tiled"]) == 1
    assert "--tiled is of a single run" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_number_of_pictures():
    """What Python holds while answers are asked for one by one."""
    from resnets.inference.predictor import load

    predictor = load("resnet20-cifar10")
    picture = np.zeros((32, 32, 3), np.uint8)
    peaks = []
    for count in (300, 1500):
        tracemalloc.start()
        assert sum(1 for _ in predictor.predict((picture for _ in range(count)), top=1, batch_size=8)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 100_000


def test_labels_are_those_that_reach_their_thresholds(pictures, tmp_path, capsys):
    """However many; a picture that has none says so."""
    run = Run(tmp_path / "labels")
    shutil.copytree(find_run("resnet20-cifar10").folder, run.folder)
    picture = str(next(find_pictures(str(pictures))))
    for wanted in (["cat", "ship"], []):
        thresholds = [0.0 if name in wanted else 1.5 for name in run.card().classes]
        run.write_card(replace(run.card(), task="multilabel", settings={"thresholds": thresholds}))
        assert main(["predict", str(run.folder), picture, "--json"]) == 0
        assert sorted(json.loads(capsys.readouterr().out).get("classes", [])) == wanted
    assert main(["predict", str(run.folder), picture]) == 0
    assert "none" in capsys.readouterr().out.split()
    assert main(["predict", str(run.folder), picture, "--top", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["classes"]) == 3
