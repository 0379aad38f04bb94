"""`resnets models`."""

from __future__ import annotations

import json

import pytest

from resnets.cli.models import models
from resnets.networks.catalogue import list_models


def test_the_table_has_every_network_on_one_line_of_80_columns(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    models()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2 : 2 + len(list_models())]] == list_models()
    assert not any("…" in line for line in lines)
    row = next(line for line in lines if line.startswith("resnet50 "))
    assert row.split() == ["resnet50", "50", "25.6", "M", "4.09", "G", "224x224", "arXiv:1512.03385"]


def test_json_is_exact(capsys) -> None:
    models("resnet20", json=True)
    assert json.loads(capsys.readouterr().out) == [
        {
            "name": "resnet20",
            "layers": 20,
            "parameters": 269_722,
            "multiply_adds": 40_551_040,
            "size": [32, 32],
            "source": "arXiv:1512.03385",
        }
    ]


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no network's name matches 'alexnet\*'"):
        models("alexnet*")
