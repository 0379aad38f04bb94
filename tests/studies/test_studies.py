"""Every study runs, says something, and goes on where it stopped."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from resnets.cli.main import main
from resnets.studies import find_study, list_studies
from resnets.studies.gradients import verdict
from resnets.studies.study import Study


@pytest.mark.parametrize("name", list_studies())
def test_a_study_from_the_command_line(tmp_path, capsys, monkeypatch, name):
    monkeypatch.setattr("resnets.studies.landscape.POINTS", 5)
    command = ["study", name, "--data", "digits", "--depths", "8,14", "--epochs", "1", "--run", str(tmp_path / "run")]
    assert main(command) == 0
    written = json.loads((tmp_path / "run" / f"{name}.json").read_text())
    assert written["sentences"]
    assert written["numbers"]
    page = (tmp_path / "run" / f"{name}.html").read_text()
    assert "<svg" in page
    assert "mathdefault" not in page
    for run in (tmp_path / "run" / "trainings").iterdir():
        (run / "checkpoint.pt").unlink()  # what is finished is not trained again
    capsys.readouterr()
    assert main(command) == 0
    assert "training resnet" not in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / f"{name}.json").read_text()) == written


def test_an_interrupted_study_goes_on(tmp_path):
    command = ["study", "degradation", "--depths", "8", "--epochs", "2", "--run", str(tmp_path / "run")]
    assert main([*command]) == 0
    whole = json.loads((tmp_path / "run" / "degradation.json").read_text())
    (folder,) = (tmp_path / "run" / "trainings").glob("resnet8-*")
    unfinished = json.loads((folder / "model.json").read_text()) | {"metrics": {}}
    (folder / "model.json").write_text(json.dumps(unfinished))
    (folder / "checkpoint.pt").unlink()
    assert main([*command]) == 0
    assert json.loads((tmp_path / "run" / "degradation.json").read_text()) == whole


def test_studies_share_their_networks_and_others_are_trained_anew(tmp_path):
    options = ["--depths", "8", "--run", str(tmp_path)]
    assert main(["study", "degradation", "--epochs", "1", *options]) == 0
    assert main(["study", "responses", "--epochs", "1", *options]) == 0
    assert len(list((tmp_path / "trainings").iterdir())) == 2
    assert main(["study", "responses", "--epochs", "2", *options]) == 0
    assert len(list((tmp_path / "trainings").iterdir())) == 4


def test_photographs_with_a_validation_split(tmp_path, shared_data):
    options = ["--depths", "8", "--epochs", "1", "--size", "16", "--run", str(tmp_path)]
    assert main(["study", "lesion", "--data", str(shared_data / "ants_bees"), *options]) == 0
    assert "error on 153 held-out pictures" in (tmp_path / "lesion.html").read_text()


def test_a_training_that_diverged_is_not_begun_again(tmp_path, capsys):
    study = Study("digits", (8,), 1, 1, tmp_path, Console())
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="the training has diverged"):
            study.trained("resnet8", lr=1e30, warmup=0.0, norm="none")
    assert capsys.readouterr().out.count("training resnet8") == 1


def test_what_a_study_refuses(tmp_path, capsys):
    folder = str(tmp_path / "run")
    assert main(["study", "alchemy"]) == 1
    assert "there is no study 'alchemy'; there is bottleneck, degradation" in capsys.readouterr().err
    assert main(["study", "degradation", "--depths", "deep"]) == 1
    assert "--depths are whole numbers" in capsys.readouterr().err
    assert main(["study", "degradation", "--depths", "9", "--epochs", "1", "--run", folder]) == 1
    assert "plain9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gradient", "error", "end"),
    [
        (0.1, 0.36, "degradation has another cause: the paper's authors are right"),
        (1e-15, 0.88, "the gradient has vanished in spite of batch norm"),
        (1e5, 0.88, "the gradient has exploded"),
        (1.0, 0.01, "no degradation shows at this depth"),
    ],
)
def test_the_gradients_verdict_follows_from_the_numbers(gradient, error, end):
    course = {("plain", 56): [1.0, gradient], ("resnet", 56): [1.0, 0.5]}
    said = verdict(course, {("plain", 20): 0.02, ("plain", 56): error}, 20, 56)
    assert end in said
    assert f"plain56 gets {gradient:.2g} times" in said


def test_every_study_says_where_its_claim_is_from(capsys):
    assert main(["study"]) == 0
    listed = capsys.readouterr().out
    for name in list_studies():
        assert name in listed
        assert find_study(name).SOURCE
        assert find_study(name).__doc__.splitlines()[0].endswith("?")
