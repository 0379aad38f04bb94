"""Every study runs, says something, and goes on where it stopped."""

from __future__ import annotations

import json

import pytest

from resnets.cli.main import main
from resnets.studies import find_study, list_studies


@pytest.mark.parametrize("name", list_studies())
def test_a_study_from_the_command_line(tmp_path, capsys, name):
    command = ["study", name, "--data", "digits", "--depths", "8,14", "--epochs", "1", "--run", str(tmp_path / "run")]
    assert main(command) == 0
    written = json.loads((tmp_path / "run" / f"{name}.json").read_text())
    assert written["sentences"]
    assert written["numbers"]
    page = (tmp_path / "run" / "study.html").read_text()
    assert "<svg" in page
    assert "mathdefault" not in page
    for run in (tmp_path / "run").glob("*-seed0"):
        (run / "checkpoint.pt").unlink()  # what is finished is not trained again
    capsys.readouterr()
    assert main(command) == 0
    assert "training resnet" not in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / f"{name}.json").read_text()) == written


def test_an_interrupted_study_goes_on(tmp_path, monkeypatch):
    command = ["study", "degradation", "--depths", "8", "--epochs", "2", "--run", str(tmp_path / "run")]
    assert main([*command]) == 0
    whole = json.loads((tmp_path / "run" / f"{name}.json").read_text())
    card = tmp_path / "run" / "resnet8-seed0" / "model.json"
    unfinished = json.loads(card.read_text()) | {"metrics": {}}
    card.write_text(json.dumps(unfinished))
    (tmp_path / "run" / "resnet8-seed0" / "checkpoint.pt").unlink()
    assert main([*command]) == 0
    assert json.loads((tmp_path / "run" / f"{name}.json").read_text()) == whole


def test_what_a_study_refuses(tmp_path, capsys):
    folder = str(tmp_path / "run")
    assert main(["study", "alchemy"]) == 1
    assert "there is no study 'alchemy'; there is degradation" in capsys.readouterr().err
    assert main(["study", "degradation", "--depths", "deep"]) == 1
    assert "--depths are whole numbers" in capsys.readouterr().err
    assert main(["study", "degradation", "--depths", "9", "--epochs", "1", "--run", folder]) == 1
    assert "plain9" in capsys.readouterr().err
    assert main(["study", "degradation", "--depths", "8", "--epochs", "1", "--run", folder]) == 1
    assert "begun with other options" in capsys.readouterr().err


def test_every_study_says_where_its_claim_is_from(capsys):
    assert main(["study"]) == 0
    listed = capsys.readouterr().out
    for name in list_studies():
        assert name in listed
        assert find_study(name).SOURCE
        assert find_study(name).__doc__.splitlines()[0].endswith("?")
