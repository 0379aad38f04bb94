"""Evaluating a run on data of several kinds."""

from __future__ import annotations

import shutil

import pytest
import torch
from PIL import Image
from torch import nn

from resnets.data.loading import Loader
from resnets.data.opening import open_dataset
from resnets.inference.evaluation import evaluate, evaluate_network
from resnets.tasks import create_task
from resnets.types import Preprocessing


def test_a_folder_without_splits_is_judged_whole(run, digits):
    whole, own = evaluate(run.folder, digits), evaluate(run.folder, "digits")
    assert whole.split == "all"
    assert own.split == "test"
    assert whole.metrics == pytest.approx(own.metrics, abs=1e-6)  # the same pictures, once as files
    with pytest.raises(ValueError, match="judged whole; leave out the split 'train'"):
        evaluate(run.folder, digits, split="train")


def test_other_classes_are_an_error_that_shows_the_difference(run, digits, tmp_path):
    shutil.copytree(digits, tmp_path / "data")
    (tmp_path / "data" / "3").rename(tmp_path / "data" / "three")
    with pytest.raises(ValueError, match="missing 3; unknown three"):
        evaluate(run.folder, tmp_path / "data")


def test_an_unreadable_picture_is_left_out_with_a_warning(run, digits, tmp_path):
    shutil.copytree(digits, tmp_path / "data")
    (tmp_path / "data" / "3" / "broken.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match=r"left out: .*broken\.png"):
        assert evaluate(run.folder, tmp_path / "data").metrics["count"] == 359
    with pytest.raises(ValueError, match=r"broken\.png"):
        evaluate(run.folder, tmp_path / "data", max_unreadable=0.0)


def test_a_split_that_is_not_there(run):
    with pytest.raises(ValueError, match="has no split 'val'; it has train, test"):
        evaluate(run.folder, split="val")


@pytest.mark.parametrize("batch_size", [1, 100, 1000])
def test_answers_do_not_depend_on_the_batches(run, batch_size):
    expected = evaluate(run.folder, "digits")
    found = evaluate(run.folder, "digits", batch_size=batch_size)
    torch.testing.assert_close(found.probabilities, expected.probabilities, atol=1e-5, rtol=0)


def test_answers_stand_in_the_order_of_the_pictures(run):
    """A network that answers with the picture's own first pixels tells which picture each row is of."""
    dataset = open_dataset("digits").splits["test"]
    card = run.card()
    pixels = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))
    nn.init.eye_(pixels[1].weight)
    loader = Loader(dataset, card.preprocessing, 50, shuffle=False)
    task = create_task("classification", card.classes)
    found = evaluate_network(pixels, task, loader, card.preprocessing, torch.device("cpu"))
    pictures = torch.stack([dataset.picture(i, 1) for i in range(len(dataset))]).flatten(1)[:, :10] / 255
    expected = ((pictures - card.preprocessing.mean[0]) / card.preprocessing.std[0]).softmax(1)
    torch.testing.assert_close(found.probabilities, expected, atol=1e-5, rtol=0)


def test_photographs_are_read_by_threads_while_a_network_is_judged(tmp_path):
    shades = torch.linspace(0, 255, 24).to(torch.uint8)
    for number, shade in enumerate(shades.tolist()):
        folder = tmp_path / ("dark" if shade < 128 else "light")
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (200, 150), (shade, shade, shade)).save(folder / f"{number}.jpg")
    dataset = open_dataset(tmp_path).whole()
    preprocessing = Preprocessing((96, 96), 3, (0.5,) * 3, (0.25,) * 3, 0.875)
    loader = Loader(dataset, preprocessing, 10, shuffle=False, workers=2)
    brightness = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    with torch.no_grad():
        brightness[2].weight.copy_(torch.tensor([[-1.0] * 3, [1.0] * 3]))
        brightness[2].bias.zero_()
    task = create_task("classification", ("dark", "light"))
    for _ in range(2):
        found = evaluate_network(brightness, task, loader, preprocessing, torch.device("cpu"))
        assert found.metrics["accuracy"] == 1.0
