"""The command line as a user meets it."""

from __future__ import annotations

import json
import re
import runpy
import sys
from dataclasses import fields
from importlib import import_module

import pytest

from resnets.cli.main import arguments_of, main
from resnets.cli.train import train
from resnets.networks.catalogue import FAMILIES
from resnets.training.plan import BY_DATA
from resnets.training.recipe import Recipe

COMMANDS = (
    "benchmark",
    "check",
    "compare",
    "evaluate",
    "explain",
    "export",
    "generate",
    "identify",
    "index",
    "models",
    "predict",
    "profile",
    "prune",
    "publish",
    "runs",
    "serve",
    "study",
    "train",
)


def status_and_output(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = main(list(arguments))
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_has_a_help(capsys, command):
    status, out, _ = status_and_output(capsys, command, "--help")
    assert status == 0
    function = getattr(import_module(f"resnets.cli.{command}"), command)
    arguments = list(arguments_of(function))
    assert arguments
    for argument in arguments:
        assert len(argument.help) > 10, argument
        assert argument.positional or f"--{argument.name.rstrip('_').replace('_', '-')}" in out


def test_every_field_of_a_recipe_is_a_flag(capsys):
    _, out, _ = status_and_output(capsys, "train", "--help")
    for field in fields(Recipe):
        assert f"--{field.name.replace('_', '-')}" in out


def test_every_field_of_a_network_that_the_data_does_not_decide_is_a_flag(capsys):
    _, out, _ = status_and_output(capsys, "train", "--help")
    for field in (field for family in FAMILIES for field in fields(family)):
        assert (f"--{field.name.replace('_', '-')}" in re.split(r"[\s,\]]+", out.replace("[", ""))) == (
            field.name not in BY_DATA
        )
    status, out, _ = status_and_output(capsys, "train", "digits", "--print-config", "--norm", "none", "--init", "fixup")
    card = json.loads(out)
    assert (card["architecture"]["norm"], card["architecture"]["init"]) == ("none", "fixup")
    status, _, error = status_and_output(capsys, "train", "digits", "--init", "fixup")
    assert status == 1
    assert "needs norm='none'" in error


def test_a_field_of_several_families_is_one_flag_that_says_what_it_does_in_each(capsys):
    (dropout,) = (argument for argument in arguments_of(train) if argument.name == "dropout")
    assert dropout.kind == float | None
    assert re.findall(r"(\w+): the rate", dropout.help)[:4] == ["resnet", "vgg", "densenet", "efficientnet"]
    flags = ("--model", "efficientnet_b0", "--stem", "cifar", "--width", "0.5", "--dropout", "0.1")
    _, out, _ = status_and_output(capsys, "train", "digits", "--print-config", *flags)
    declared = json.loads(out)["architecture"]
    assert (declared["family"], declared["stem"], declared["width"], declared["dropout"]) == (
        "efficientnet", "cifar", 0.5, 0.1
    )  # fmt: skip
    status, _, error = status_and_output(capsys, "train", "digits", "--model", "densenet40_12", "--width", "0.5")
    assert status == 1
    assert "densenet40_12 has no width to change; there are depths, growth, stem" in error


def test_print_config_shows_what_would_run(capsys):
    flags = ("--print-config", "--epochs", "7", "--no-flip", "--scale", "[0.5,1]", "--mixup", "0.25")
    status, out, _ = status_and_output(capsys, "train", "digits", *flags)
    card = json.loads(out)
    assert status == 0
    assert card["model"] == "resnet20"
    assert card["recipe"]["epochs"] == 7
    assert (card["recipe"]["flip"], card["recipe"]["scale"], card["recipe"]["mixup"]) == (False, [0.5, 1.0], 0.25)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("trian",), 2, "invalid choice: 'trian'"),
        (("train", "digits", "--speed", "9"), 2, "unrecognized arguments: --speed"),
        (("train", "digits", "--epochs", "many"), 2, "epochs"),
        (("train", "digits", "--model", "resnt20"), 1, "did you mean resnet20"),
        (("train", "digits", "--recipe", "slow"), 1, "there is no recipe 'slow'"),
        (("train",), 1, "give the data to train on"),
        (("train", "nowhere"), 1, "no data set at 'nowhere'"),
        (("train", "digits", "--precision", "8"), 1, "precision must be one of"),
        (("train", "digits", "--logger", "paper"), 1, "there is no logger 'paper'"),
        (("train", "digits", "--resume", "run"), 1, "leave out DATA"),
        (("train", "--resume", "nowhere"), 1, "is not a run"),
        (("train", "--resume", "run", "--size", "8", "--folds", "3", "--overwrite"), 1, "--size, --overwrite, --folds"),
        (("train", "digits", "--print-config", "--folds", "3"), 1, "--folds asks for several; leave one out"),
        (("evaluate", "nowhere"), 1, "is not a run"),
        (("predict", "nowhere"), 1, "name at least one picture"),
        (("identify", "nowhere"), 1, "name at least one picture"),
        (("index", "nowhere", "pictures"), 1, "is not a run"),
        (("predict", "nowhere", "nothing*.png"), 1, "there is no picture at nothing"),
        (("profile", "resnet21"), 1, "the nearest are 20 and 26"),
        (("models", "alexnet*"), 1, "no network's name matches"),
    ],
)
def test_an_error_is_a_sentence(capsys, arguments, status, message):
    found, _, err = status_and_output(capsys, *arguments)
    assert found == status
    assert message in err
    assert "Traceback" not in err


def test_train_evaluate_predict(capsys, tmp_path, monkeypatch):
    """The main job from end to end."""
    monkeypatch.setenv("COLUMNS", "200")
    from PIL import Image

    run = str(tmp_path / "run")
    recipe = ("--model", "resnet8", "--epochs", "3", "--size", "8", "--precision", "32-true")
    status, out, _ = status_and_output(capsys, "train", "digits", "--run", run, *recipe)
    assert status == 0
    assert "epoch   3/3" in out
    assert "report.html" in out
    status, out, _ = status_and_output(capsys, "evaluate", run, "--json")
    metrics = json.loads(out)["metrics"]
    assert {"accuracy", "top5", "loss", "ece", "count"} <= metrics.keys()
    assert metrics["count"] == 359
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    (tmp_path / "broken.png").write_bytes(b"")
    status, out, err = status_and_output(capsys, "predict", run, str(tmp_path), "--json", "--top", "2")
    answers = [json.loads(line) for line in out.splitlines()]
    assert status == 1
    assert "1 of 2 pictures could not be read" in err
    assert len(answers[0]["classes"]) == 2
    assert "error" in answers[1]


def test_check_finds_what_spoils_a_data_set(capsys, tmp_path):
    from PIL import Image

    for split, shades in (("train", range(12)), ("test", range(11, 23))):
        for label in ("dark", "light"):
            (tmp_path / split / label).mkdir(parents=True)
            for shade in shades:
                Image.new("L", (9, 9), shade + 100 * (label == "light")).save(tmp_path / split / label / f"{shade}.png")
    (tmp_path / "train" / "dark" / "broken.png").write_bytes(b"no picture")
    status, out, err = status_and_output(capsys, "check", str(tmp_path))
    assert status == 1
    assert "broken.png" in out
    assert "train/dark/11.png (train) = test/dark/11.png (test)" in out
    assert "findings" in err
    status, out, _ = status_and_output(capsys, "check", str(tmp_path), "--json")
    assert len(json.loads(out)["shared"]) == 2


def test_the_package_is_run_as_the_command(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["resnets", "models", "fastresnet8"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("resnets", run_name="__main__")
    assert ended.value.code == 0
    assert "fastresnet8" in capsys.readouterr().out
