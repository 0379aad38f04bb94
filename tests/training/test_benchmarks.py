"""What the benchmarks share."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from resnets.data.opening import open_dataset
from resnets.runs.run import Run
from resnets.training.plan import plan

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_figures_of_another_run_are_not_taken_for_those_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    trained = import_module("common").trained
    run = Run(tmp_path / "run")
    card = plan(open_dataset("digits"), model="resnet8", size=16, recipe="quick", changes={"epochs": 2})
    run.write_card(replace(card, metrics={"accuracy": 0.5}))
    options = {"model": "resnet8", "size": 16, "recipe": "quick"}
    assert trained("digits", run.folder, **options, epochs=2) == run
    for other, field in (
        ({}, "recipe.epochs 2"),
        ({"epochs": 2, "model": "resnet14"}, "architecture.depths"),
        ({"epochs": 2, "size": 8}, "preprocessing.size"),
        ({"epochs": 2, "norm": "group"}, "architecture.norm batch"),
    ):
        with pytest.raises(ValueError, match=rf"run has a run with {field}"):
            trained("digits", run.folder, **(options | other))
