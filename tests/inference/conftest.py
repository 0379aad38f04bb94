"""A network that knows five of the digits from five others, trained once."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from resnets.data.opening import open_dataset
from resnets.runs.run import Run
from resnets.training.train import train


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("inference") / "run"
    options = {"model": "resnet8", "epochs": 4, "size": 8, "precision": "32-true"}
    return train("digits", run=folder, console=Console(quiet=True), **options)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test pictures as class folders of PNG files."""
    folder = tmp_path_factory.mktemp("digits")
    test = open_dataset("digits").splits["test"]
    for index, target in enumerate(test.targets.tolist()):
        (folder / test.classes[target]).mkdir(exist_ok=True)
        path = folder / test.classes[target] / f"{index:04}.png"
        Image.fromarray(test.picture(index, 1)[0].numpy()).save(path)
    return folder
