"""`resnets runs` and `resnets compare` on the runs of the package's results."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from resnets.cli.main import main
from resnets.report.runs import Comparison, letter_of, write_comparison
from resnets.runs.listing import summarise
from resnets.runs.run import Run

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two runs on CIFAR-10, one that was interrupted, and a folder whose card is torn."""
    monkeypatch.setenv("COLUMNS", "160")
    for name in ("resnet20-cifar10-paper", "resnet20-cifar10-quick"):
        shutil.copytree(RESULTS / name, tmp_path / "runs" / name)
    stopped = Run(tmp_path / "runs" / "stopped")
    card = Run(RESULTS / "resnet20-cifar10-quick").card()
    provenance = {name: value for name, value in card.provenance.items() if name != "seconds"}
    stopped.write_card(replace(card, metrics={}, provenance={**provenance, "started": "2001-01-01T00:00:00+00:00"}))
    stopped.write_history(Run(RESULTS / "resnet20-cifar10-quick").history()[:7])
    (tmp_path / "runs" / "torn").mkdir()
    (tmp_path / "runs" / "torn" / "model.json").write_text('{"format": 1, ')
    return tmp_path / "runs"


def test_runs_are_listed_newest_first(runs, capsys):
    assert main(["runs", str(runs)]) == 0
    out, err = capsys.readouterr()
    rows = [line for line in out.splitlines() if " classification " in line]
    assert ["stopped" in row for row in rows] == [False, False, True]
    assert re.search(r"stopped +resnet20 +classification +accuracy \d\d\.\d\d% +7/20 +interrupted +2001-01-01", out)
    assert sum("finished" in row for row in rows) == 2
    assert "torn" in err
    assert main(["runs", str(runs), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {Path(row["run"]).name: row["state"] for row in listed} == {
        "resnet20-cifar10-paper": "finished",
        "resnet20-cifar10-quick": "finished",
        "stopped": "interrupted",
    }
    paper = next(row for row in listed if row["run"].endswith("paper"))
    assert paper["value"] == Run(RESULTS / "resnet20-cifar10-paper").card().metrics["accuracy"]


def test_a_folder_without_runs_is_said(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 1
    assert main(["runs", str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"resnets runs: there is no run in {tmp_path}",
        f"resnets runs: there is no folder {tmp_path / 'nowhere'} of runs; `resnets train` makes one",
    ]


def test_runs_side_by_side(runs, capsys, tmp_path):
    page = tmp_path / "compare.html"
    names = ("resnet20-cifar10-paper", "resnet20-cifar10-quick")
    assert main(["compare", *(str(runs / name) for name in names), "--report", str(page)]) == 0
    out = capsys.readouterr().out
    cards = [Run(runs / name).card() for name in names]
    for card in cards:
        assert f"{card.metrics['accuracy']:.2%}" in out
    assert re.search(r"recipe\.optimizer +sgd +muon", out)
    assert "recipe.flip" not in out  # alike
    html = page.read_text()
    assert "recipe.optimizer" in html
    assert html.count("<svg") >= 2  # loss and accuracy
    best = max(card.metrics["accuracy"] for card in cards)
    assert f"<strong>{best:.2%}</strong>" in html
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)


def test_figures_of_other_pictures_are_not_compared(runs, capsys):
    run = Run(runs / "resnet20-cifar10-quick")
    card = run.card()
    run.write_card(replace(card, data={**card.data, "fingerprint": "other"}))
    assert main(["compare", str(runs / "resnet20-cifar10-paper"), str(run.folder)]) == 0
    assert "judged on different pictures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ({"ignore": "void"}, {"ignore": None}, False),
        ({"splits_made": ["test"], "split_seed": 0}, {"splits_made": ["test"], "split_seed": 1}, False),
        ({"splits_made": ["test"], "fold": [1, 5]}, {"splits_made": ["test"], "fold": [2, 5]}, False),
        ({"split_seed": 0}, {"split_seed": 1}, True),  # the test pictures are the data's own
    ],
)
def test_figures_are_compared_only_of_the_same_pictures(runs, capsys, first, second, alike):
    folders = [runs / "resnet20-cifar10-paper", runs / "resnet20-cifar10-quick"]
    for folder, changes in zip(folders, (first, second), strict=True):
        card = Run(folder).card()
        Run(folder).write_card(replace(card, data={**card.data, "evaluated_on": "test", **changes}))
    assert main(["compare", *map(str, folders)]) == 0
    assert ("judged on different pictures" not in capsys.readouterr().out) == alike


def test_one_run_is_not_compared(runs, capsys):
    assert main(["compare", str(runs / "stopped")]) == 1
    assert "name two runs or more" in capsys.readouterr().err


def test_figures_are_called_by_the_task_that_they_are_of(runs):
    """A detector's mAP is no mean average precision of labels."""
    folders = [runs / "resnet20-cifar10-paper", runs / "resnet20-cifar10-quick"]
    for folder, task in zip(folders, ("multilabel", "detection"), strict=True):
        Run(folder).write_card(replace(Run(folder).card(), task=task, metrics={"map": 0.5, "loss": 1.0}))
    metrics = Comparison([summarise(Run(folder)) for folder in folders]).metrics()
    assert [text for text, _ in metrics["mean average precision"]] == ["50.00%", ""]
    assert [text for text, _ in metrics["mAP"]] == ["", "50.0%"]
    assert [text for text, _ in metrics["loss"]] == ["1.0000", ""]


def test_more_runs_than_letters_keep_their_paths(runs, tmp_path):
    summary = summarise(Run(runs / "stopped"))
    many = [replace(summary, run=Run(tmp_path / str(number))) for number in range(28)]
    write_comparison(tmp_path / "page.html", Comparison(many))
    page = (tmp_path / "page.html").read_text()
    for number in range(28):
        assert f"<bdi>{tmp_path / str(number)}</bdi></dd>" in page
    assert [letter_of(number) for number in (0, 25, 26, 27, 701, 702)] == ["A", "Z", "AA", "AB", "ZZ", "AAA"]


def test_the_report_makes_its_folder_and_its_path_is_no_markup(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(runs / "resnet20-cifar10-paper")
    page = tmp_path / "new[" / "a[" / "b].html"
    assert main(["compare", ".", str(runs / "resnet20-cifar10-quick"), "--report", str(page)]) == 0
    assert str(page) in capsys.readouterr().out.replace("\n", "")
    assert "A: resnet20-cifar10-paper" in page.read_text()
    assert main(["compare", ".", str(runs / "stopped"), "--report", str(tmp_path)]) == 1
    assert "is a folder; name the page to write" in capsys.readouterr().err


def test_a_repository_is_called_by_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["publish", "resnet20-cifar10", "--to", "."]) == 0
    assert f"# {tmp_path.name}\n" in (tmp_path / "README.md").read_text()
