"""Lists of runs and their differences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resnets.networks.catalogue import architecture
from resnets.runs.card import Card
from resnets.runs.listing import differences, find_runs, summarise
from resnets.runs.run import Run
from resnets.types import Preprocessing

CARD = Card(
    model="resnet8",
    task="classification",
    architecture=architecture("resnet8").to_dict(),
    classes=("a", "b"),
    preprocessing=Preprocessing((8, 8), 1, (0.5,), (0.5,)),
    metrics={"accuracy": 0.93, "loss": 0.2, "count": 10.0},
    recipe={"epochs": 4, "steps": 0, "lr": 0.1, "reasons": {"lr": "by chance"}},
    data={"name": "toys", "fingerprint": "f"},
    provenance={"seconds": 12.0, "started": "2026-01-02T03:04:05+00:00", "command": "resnets train toys"},
)


def write(run: Run, card: Card = CARD, epochs: int = 4) -> Run:
    run.write_card(card)
    run.write_history([{"epoch": n, "step": n, "val_accuracy": n / 10, "val_loss": 1.0} for n in range(1, epochs + 1)])
    return run


def test_a_finished_run_in_a_line(tmp_path):
    summary = summarise(write(Run(tmp_path / "run")))
    assert (summary.state, summary.metric, summary.value, summary.score) == (
        "finished", "accuracy", 0.93, "accuracy 93.00%"
    )  # fmt: skip
    assert (summary.epochs, summary.planned) == (4, 4)
    assert summary.size == sum(file.stat().st_size for file in (tmp_path / "run").iterdir())


def test_of_an_interrupted_run_the_last_judged_epoch_tells(tmp_path):
    begun = replace(CARD, metrics={}, provenance={"started": "2026"})
    summary = summarise(write(Run(tmp_path / "run"), begun, epochs=3))
    assert (summary.state, summary.value, summary.epochs, summary.planned) == ("interrupted", 0.3, 3, 4)
    nothing = summarise(write(Run(tmp_path / "new"), begun, epochs=0))
    assert (nothing.state, nothing.score, nothing.epochs) == ("interrupted", "", 0)
    steps = summarise(write(Run(tmp_path / "steps"), replace(CARD, recipe={"steps": 9, "epochs": 4})))
    assert steps.planned is None


def test_an_export_is_none_of_both(tmp_path):
    assert summarise(write(Run(tmp_path / "run"), replace(CARD, export={"format": "onnx"}))).state == "export"


def test_runs_are_found_at_any_depth(tmp_path):
    for name in ("b", "a", "folds/1", "folds/2"):
        write(Run(tmp_path / name))
    (tmp_path / "notes").mkdir()
    assert [str(run.folder.relative_to(tmp_path)) for run in find_runs(tmp_path)] == ["a", "b", "folds/1", "folds/2"]
    assert [run.folder for run in find_runs(tmp_path / "a")] == [tmp_path / "a"]
    with pytest.raises(FileNotFoundError, match="no folder"):
        list(find_runs(tmp_path / "nowhere"))


def test_differences_are_the_fields_that_differ():
    other = replace(
        CARD,
        architecture=CARD.architecture | {"depths": [1, 2, 1]},
        preprocessing=Preprocessing((16, 16), 1, (0.5,), (0.5,)),
        recipe={"epochs": 4, "steps": 0, "lr": 0.2, "reasons": {"lr": "by luck"}, "ema": 0.9},
        provenance={"seconds": 99.0, "started": "2027", "command": "resnets train", "device": "a GPU"},
    )
    assert differences([CARD, other, CARD]) == {
        "architecture.depths": [[1, 1, 1], [1, 2, 1], [1, 1, 1]],
        "preprocessing.size": [[8, 8], [16, 16], [8, 8]],
        "recipe.lr": [0.1, 0.2, 0.1],
        "recipe.ema": [None, 0.9, None],
        "provenance.device": [None, "a GPU", None],
    }
    assert differences([CARD, CARD]) == {}
