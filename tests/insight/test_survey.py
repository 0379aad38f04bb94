"""Which pictures of a data set a survey takes for those that the network was trained on, and what it refuses."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from PIL import Image
from rich.console import Console

from resnets.data.opening import open_dataset
from resnets.inference.predictor import Predictor
from resnets.insight.data_page import write_data_page
from resnets.insight.survey import survey
from resnets.training.folds import cross_validate
from resnets.training.train import train

OPTIONS = {"model": "resnet8", "size": 8, "precision": "32-true"}
QUIET = Console(quiet=True)


@pytest.fixture
def folders(tmp_path):
    """359 digits as PNG files in a folder for each class."""
    train = open_dataset("digits").splits["train"].subset(range(0, 1440, 4)[:359])
    for index, digit in enumerate(train.targets.tolist()):
        (tmp_path / "set" / str(digit)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(train.picture(index, 1)[0].numpy()).save(tmp_path / "set" / str(digit) / f"{index:03}.png")
    return tmp_path / "set"


def test_data_that_has_changed_is_still_what_was_trained_on(folders, tmp_path, monkeypatch):
    """One picture is relabelled, as the page invites to; elsewhere the same pictures are data of somebody else."""
    monkeypatch.chdir(tmp_path)
    own = train("set", run=tmp_path / "run", console=QUIET, epochs=1, **OPTIONS)
    before = set(open_dataset("set").splits["train"].names)
    first = min(folders.glob("3/*.png"))
    first.rename(folders / "5" / first.name)
    predictor = Predictor(own.folder, "cpu")
    found = survey(predictor, folders, layout="pca")
    judged = found.embedded["test"].pictures.names
    assert found.trained_on == "changed"
    assert found.labels.count == len(judged) < 100
    assert len(before & set(judged)) <= 2
    assert "The data has changed since" in found.labels.how
    write_data_page(tmp_path / "page.html", found, predictor, title="changed", facts={})
    assert "the data has changed since it was trained" in (tmp_path / "page.html").read_text()
    shutil.copytree(folders, tmp_path / "copy")
    found = survey(predictor, tmp_path / "copy", layout="pca")
    assert found.trained_on == "no"
    assert found.labels.count == 359
    write_data_page(tmp_path / "page.html", found, predictor, title="copied", facts={})
    assert "not what it was trained on, as far as its fingerprint tells" in (tmp_path / "page.html").read_text()


def test_folds_of_data_with_a_picture_that_cannot_be_read(folders, tmp_path):
    """Training has left it out of its fold."""
    splits = open_dataset(folders).splits
    (folders / splits["train"].names[0]).write_bytes(b"no picture")
    cross_validate(folders, 2, run=tmp_path / "folds", console=QUIET, epochs=1, **OPTIONS)
    own = Predictor(tmp_path / "folds" / "fold1", "cpu")
    found = survey(own, folders, folds=tmp_path / "folds", layout="pca")
    assert found.labels.count == len(splits["train"]) - 1
    (folders / "4" / "copy.png").write_bytes(min(folders.glob("5/*.png")).read_bytes())
    with pytest.raises(ValueError, match=r"is no cross-validation of .* as it is now; make one with `resnets train"):
        survey(own, folders, folds=tmp_path / "folds", layout="pca")


@pytest.mark.parametrize("task", ["detection", "recognition", "generation", "segmentation"])
def test_what_a_survey_is_not_of(task):
    predictor = Predictor("resnet20-cifar10", "cpu")
    predictor.card = replace(predictor.card, task=task)
    with pytest.raises(ValueError, match=f"a survey is of classes, labels or numbers, not of {task}"):
        survey(predictor)


def test_numbers_have_no_labels_for_folds_to_judge(tmp_path):
    predictor = Predictor("resnet20-cifar10", "cpu")
    predictor.card = replace(predictor.card, task="regression")
    with pytest.raises(ValueError, match="--folds is for labels, and numbers are none; leave it out"):
        survey(predictor, folds=tmp_path / "nosuch")
