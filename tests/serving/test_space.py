"""A Space of the Hugging Face Hub: its page runs by what is in its folder, and answers as the run does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from PIL import Image

import resnets
from resnets.cli.main import main
from resnets.inference.predictor import load

RUN = "resnet20-cifar10"
FAKE = """
class Error(Exception):
    pass

class Part:
    def __init__(self, *arguments, **named):
        vars(self).update(named)

class Image(Part): pass
class Label(Part): pass
class JSON(Part): pass

class Interface(Part):
    def launch(self):
        raise AssertionError("nobody asked for it")
"""
ASK = """
import json, sys
sys.path[:0] = sys.argv[1:2]
import app, resnets
from PIL import Image
told, seen = app.look(Image.open(sys.argv[2]))
outputs = [type(part).__name__ for part in app.outputs]
print(json.dumps({"told": told, "shape": seen.shape, "outputs": outputs, "from": resnets.__file__, "title": app.TITLE}))
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    folder = tmp_path_factory.mktemp("space") / "cifar"
    assert main(["publish", RUN, "--space", "--to", str(folder), "--license", "apache-2.0"]) == 0
    return folder


def test_the_page_answers_as_the_run(space, tmp_path, photograph):
    """In a process of its own, by the Space's copy of this package, and by Gradio itself where it is there."""
    (tmp_path / "picture.png").write_bytes(photograph("PNG", (48, 40)))
    fake = tmp_path / "fake"
    fake.mkdir()
    try:
        import gradio  # noqa: F401
    except ImportError:
        (fake / "gradio.py").write_text(FAKE)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    asked = subprocess.run(
        [sys.executable, "-c", ASK, str(fake), str(tmp_path / "picture.png")],
        cwd=space,
        env=environment | {"PYTHONPATH": str(space)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout.splitlines()[-1])
    expected = load(RUN)(Image.open(tmp_path / "picture.png"))
    assert answer["told"] == pytest.approx(dict(zip(expected.classes, expected.probabilities, strict=True)), abs=1e-5)
    assert answer["shape"] == [32, 32, 3]
    assert answer["title"] == "cifar"
    assert [name.lower() for name in answer["outputs"]] == ["label", "image"]
    assert Path(answer["from"]).is_relative_to(space)


def test_what_the_hub_reads(space):
    _, front, _ = (space / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert (told["sdk"], told["app_file"], told["license"]) == ("gradio", "app.py", "apache-2.0")
    assert (space / told["app_file"]).is_file()
    wheels, *lines = (space / "requirements.txt").read_text().splitlines()
    assert wheels == "--extra-index-url https://download.pytorch.org/whl/cpu"
    needed = {Requirement(line).name for line in lines}
    assert {"torch", "torchvision", "pillow", "safetensors"} <= needed
    assert "resnets" not in needed
    assert "fastapi" not in needed


def test_the_library_is_there_without_its_networks(space):
    here = Path(resnets.__file__).parent
    ours = {path.relative_to(here) for path in here.rglob("*.py")}
    assert {path.relative_to(space / "resnets") for path in (space / "resnets").rglob("*.py")} == ours
    assert sum(path.stat().st_size for path in (space / "resnets").rglob("*")) < 3_000_000
    assert not list((space / "resnets").rglob("*.safetensors"))


def test_what_does_not_fit_is_said(space, capsys):
    assert main(["publish", RUN, "--space", "--to", str(space)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert main(["publish", RUN, "--space", "--half", "--to", str(space / "new")]) == 1
    assert "leave out --half" in capsys.readouterr().err
