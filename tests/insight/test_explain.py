"""`resnets explain` as a user meets it, for every task, and its pages."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from PIL import Image
from rich.console import Console

from resnets.cli.explain import is_data
from resnets.cli.main import main
from resnets.data.opening import open_dataset
from resnets.inference.predictor import Predictor
from resnets.insight.attributions import METHODS
from resnets.insight.data_page import doubts, groups_of
from resnets.insight.explanation import Map, explain_pictures
from resnets.insight.neighbours import Sample
from resnets.insight.picture_page import to_draw
from resnets.insight.survey import survey, vote
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.tasks import create_task
from resnets.training.folds import cross_validate
from resnets.training.train import train
from resnets.types import Preprocessing
from resnets.weights.models import create_model

OPTIONS = {"model": "resnet8", "size": 8, "precision": "32-true"}
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train("digits", run=tmp_path_factory.mktemp("explain") / "run", console=QUIET, epochs=4, **OPTIONS)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The first 60 test digits as PNG files, and a table of them for each kind of target."""
    folder = tmp_path_factory.mktemp("pictures")
    test = open_dataset("digits").splits["test"].subset(range(0, 360, 6)[:59])
    tables = {"numbers": ["path,size,twice"], "many": ["path,labels"]}
    for index, digit in enumerate(test.targets.tolist()):
        Image.fromarray(test.picture(index, 1)[0].numpy()).resize((32, 32)).save(folder / f"{index}.png")
        tables["numbers"].append(f"{index}.png,{digit},{2 * digit + 1}")
        tables["many"].append(f"{index}.png,{'even' if digit % 2 == 0 else 'odd'}{'|large' if digit > 4 else ''}")
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


def self_contained(page: str) -> bool:
    addresses = re.findall(r"(?:src|href)=\"([^\"#]*)", page)
    return all(address.startswith("data:") or not address for address in addresses) and "default-src 'none'" in page


def test_pictures(run, pictures, tmp_path, capsys):
    page = tmp_path / "page.html"
    chosen = [str(pictures / "0.png"), str(pictures / "1.png")]
    assert main(["explain", str(run.folder), *chosen, "--page", str(page), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["name"] for one in told] == chosen
    for one in told:
        assert set(one["maps"]) == {*METHODS, "chance"}
        assert one["explained"] == next(iter(one["answer"]))
        assert one["probability"] == pytest.approx(max(one["answer"].values()))
        assert [block["change"] is None for block in one["blocks"]] == [False, True, True]
        gap = one["maps"]["integrated-gradients"]["gap"]
        assert gap < 0.2 * abs(one["value"] - one["empty"])
    text = page.read_text()
    assert self_contained(text)
    assert text.count("<figure>") == 4
    assert (
        main(["explain", str(run.folder), *chosen, "--page", str(page), "--target", "7", "--methods", "gradcam"]) == 0
    )
    assert "explained: 7" in capsys.readouterr().out


def test_one_that_cannot_be_read_gets_an_error(run, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page = tmp_path / "page.html"
    assert main(["explain", str(run.folder), str(tmp_path / "broken.png"), "--page", str(page)]) == 1
    assert "1 of 1 pictures could not be read" in capsys.readouterr().err
    assert not page.exists()


def test_a_data_set(run, tmp_path, capsys):
    page = tmp_path / "page.html"
    command = ["explain", str(run.folder), "--page", str(page), "--json", "--limit", "200", "--layout", "pca"]
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pictures"] == {"train": 200, "test": 200}
    assert told["neighbour_vote_accuracy"] > 0.8
    assert len(told["neighbours"]) == 200
    assert [of["name"] for of in told["classes"]] == list("0123456789")
    assert told["labels"]["count"] == 200
    assert len(told["map"]["places"]) == 400
    text = page.read_text()
    assert self_contained(text)
    assert text.count("data-points=") == 1


def test_errors_planted_in_a_data_set_are_found(run, tmp_path, capsys):
    test = open_dataset("digits").splits["test"]
    planted = set()
    for index, digit in enumerate(test.targets.tolist()):
        label = (digit + 1 + index % 9) % 10 if index % 20 == 0 else digit
        (tmp_path / "set" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(test.picture(index, 1)[0].numpy()).save(tmp_path / "set" / str(label) / f"{index:03}.png")
        if label != digit:
            planted.add(f"{label}/{index:03}.png")
    found = survey(Predictor(run.folder, "cpu"), tmp_path / "set", layout="pca")
    assert found.trained_on == "no"
    assert found.labels.count == 359
    suspects = {suspect.sample.name for suspect in found.labels.suspects}
    assert len(planted) == 18
    assert len(planted & suspects) / len(suspects) > 0.8  # precision
    assert len(planted & suspects) / len(planted) > 0.6  # recall


def test_folds_judge_training_pictures(run, tmp_path):
    cross_validate("digits", 2, run=tmp_path / "folds", console=QUIET, epochs=1, **OPTIONS)
    found = survey(Predictor(run.folder, "cpu"), folds=tmp_path / "folds", layout="pca", limit=50)
    assert found.trained_on == "yes"
    assert found.labels.count == 1438 + 50
    assert "trained without its fold" in found.labels.how
    with pytest.raises(FileNotFoundError, match="holds no cross-validation"):
        survey(Predictor(run.folder, "cpu"), folds=tmp_path, layout="pca", limit=50)


@pytest.mark.parametrize(("table", "first"), [("numbers", "size"), ("many", None)])
def test_other_tasks(table, first, pictures, tmp_path, capsys):
    source = str(pictures / f"{table}.csv")
    own = train(
        source, run=tmp_path / "run", console=QUIET, epochs=1, model="preresnet11", size=16, precision="32-true"
    )
    page = tmp_path / "page.html"
    assert main(["explain", str(own.folder), str(pictures / "0.png"), "--page", str(page), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert first is None or (told["explained"], told["probability"]) == (first, None)
    assert self_contained(page.read_text())
    assert main(["explain", str(own.folder), "--page", str(page), "--json", "--layout", "pca"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["labels"] is None) == (table == "numbers")
    assert len(told["classes"]) == (1 if table == "numbers" else 3)
    assert self_contained(page.read_text())


@pytest.mark.parametrize(
    ("model", "changes", "blocks"), [("vgg11", {"hidden": 8, "widths": (4,) * 5}, 0), ("plain8", {}, 3)]
)
def test_a_network_without_blocks_or_shortcuts(model, changes, blocks, pictures, tmp_path, capsys):
    own, page = Run(tmp_path / "run"), tmp_path / "page.html"
    network = create_model(model, 2, **changes)
    seen = Preprocessing((32, 32), 3, (0.5,) * 3, (0.25,) * 3)
    own.write_card(Card(model, "classification", network.architecture.to_dict(), ("odd", "even"), seen))
    own.write_network(network)
    command = ["explain", str(own.folder), str(pictures / "0.png"), "--page", str(page), "--json"]
    assert main([*command, "--methods", "gradcam"]) == 0
    assert len(json.loads(capsys.readouterr().out)["blocks"]) == blocks
    assert ("has no residual blocks" in page.read_text()) == (blocks == 0)


def test_what_is_a_data_set(pictures, tmp_path):
    (tmp_path / "set" / "ants").mkdir(parents=True)
    assert is_data("digits")
    assert is_data("hf:someone/photos")
    assert is_data(str(pictures / "numbers.csv"))
    assert is_data(str(tmp_path / "set"))
    assert not is_data(str(pictures))
    assert not is_data("no/such/photo.jpg")
    assert not is_data("photos/*.jpg")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["digits", "--target", "7"], "--target is for pictures, not for a data set; leave it out"),
        (["x.png", "--split", "test"], "--split is for a data set; leave it out"),
        (["x.png"], "there is no picture at x.png"),
        (["digits", "--split", "val"], "has no split 'val' beside train; it has test"),
        (["digits", "--limit", "2"], "at least 3 pictures of a split"),
        (["examples/digits", "--methods", "magic"], "there is no method 'magic'"),
        (["examples/digits", "--target", "ant"], "the run knows no 'ant'; it knows 0, 1"),
        (["examples/digits", "--stage", "layer9"], "there is no stage layer9"),
        (["x.png", "--methods", " ,"], "--methods names none; there are gradcam"),
        (
            ["examples/digits", "--stage", "layer1", "--methods", "occlusion, integrated-gradients,"],
            "a stage is for maps that weigh one, not for occlusion and integrated-gradients; leave out --stage",
        ),
        (["examples/digits", "--methods", "gradcam, magic"], "there is no method 'magic'"),
    ],
)
def test_what_is_refused(run, options, sentence, capsys, request, tmp_path, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    assert main(["explain", str(run.folder), *options, "--page", str(tmp_path / "page.html")]) == 1
    assert sentence in capsys.readouterr().err


def test_a_page_that_is_a_folder_is_refused_first(tmp_path, capsys):
    assert main(["explain", str(tmp_path / "nosuch"), "x.png", "--page", str(tmp_path)]) == 1
    assert f"{tmp_path} is a folder; name the page to write" in capsys.readouterr().err


def test_a_run_is_called_by_its_folder_and_paths_are_no_markup(run, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(run.folder)
    command = ["explain", ".", str(pictures / "0.png"), "--methods", "gradcam"]
    assert main(command) == 0
    assert f"runs/explain-{run.folder.name}/pictures.html" in capsys.readouterr().out
    shutil.rmtree("runs")
    page = tmp_path / "o[x]" / "a[" / "b].html"
    assert main([*command, "--page", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    assert f"<h1>{run.folder.name} explained" in page.read_text()


def test_blocks_that_project_their_input_stay(pictures, tmp_path):
    """With projections everywhere no block passes its input on."""
    own, page = Run(tmp_path / "run"), tmp_path / "page.html"
    network = create_model("resnet8", 2, shortcut="C")
    seen = Preprocessing((32, 32), 3, (0.5,) * 3, (0.25,) * 3)
    own.write_card(Card("resnet8", "classification", network.architecture.to_dict(), ("odd", "even"), seen))
    own.write_network(network)
    command = ["explain", str(own.folder), str(pictures / "0.png"), "--page", str(page), "--methods", "gradcam"]
    assert main(command) == 0
    assert page.read_text().count("has no identity to pass its input on by, stays") == 3


def test_a_task_that_says_nothing_of_explanations(run):
    predictor = Predictor(run.folder, "cpu")
    predictor.task = create_task("detection", ("x",))
    with pytest.raises(ValueError, match="cannot be explained: there are no explanations of detection yet"):
        next(explain_pictures(predictor, ["x.png"]))


def test_what_scatters_is_drawn_as_means():
    values = torch.randn(64, 96, generator=torch.Generator().manual_seed(0))
    drawn = to_draw(Map("integrated-gradients", values))
    assert drawn.shape == (64, 96)
    torch.testing.assert_close(drawn[10, 20], values[9:12, 19:22].mean())
    assert torch.equal(to_draw(Map("occlusion", values)), values)


def test_neighbours_vote_and_the_nearest_decides_a_tie():
    classes = torch.tensor([[2, 1, 1], [0, 1, 2], [3, 3, 0]])
    assert vote(classes, torch.tensor([1, 0, 0])) == pytest.approx(2 / 3)


def test_the_most_doubtful_answers():
    answers = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.45, 0.55]])
    order = doubts(answers, torch.tensor([1, 0, 1, 1]), "classification").argsort(descending=True)
    assert order.tolist() == [0, 1, 3, 2]


def test_colours_of_the_map(pictures):
    many, numbers = (open_dataset(pictures / f"{name}.csv") for name in ("many", "numbers"))
    samples = [Sample(many.splits["train"], index) for index in range(20)]
    groups, names = groups_of(samples, many.classes, "multilabel")
    assert names == ["even", "large", "odd", "none", "several"]
    assert {names[group] for group in groups} == {"even", "odd", "several"}
    samples = [Sample(numbers.splits["train"], index) for index in range(40)]
    groups, names = groups_of(samples, numbers.classes, "regression")
    assert len(names) == 5
    assert set(groups) == {0, 1, 2, 3, 4}
