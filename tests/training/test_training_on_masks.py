"""What a training on masks asks of recipe, network and classes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from resnets.data.opening import Data, open_dataset
from resnets.networks.catalogue import architecture
from resnets.training.balance import rare_pixels_weights
from resnets.training.plan import initial_weights, plan
from resnets.training.recipe import Recipe
from resnets.training.suitability import check_augmentation
from resnets.training.train import resume, train
from resnets.weights.files import read_tensors
from resnets.weights.sources import Weights


@pytest.fixture
def stripes(tmp_path: Path) -> Data:
    """Eight pictures of 20 x 30 pixels, of which a tenth is class 1, and a tenth ignored."""
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[:, :3], mask[:, 3:6] = 1, 255
    for number in range(8):
        pixels = (np.random.default_rng(number).integers(0, 99, (20, 30, 3)) + 100 * (mask == 1)[..., None]).astype(
            "u1"
        )
        for kind, content in (("images", pixels), ("masks", mask)):
            path = tmp_path / "stripes" / kind / ("train" if number < 6 else "val") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(path)
    return open_dataset(tmp_path / "stripes")


def test_pixels_of_rare_classes_weigh_more(stripes: Data) -> None:
    weights = rare_pixels_weights(stripes.splits["train"])
    rare, common = 1 / 9, 8 / 9
    raw = [1 / math.log(1.02 + share) for share in (common, rare)]
    mean = common * raw[0] + rare * raw[1]
    assert weights.tolist() == pytest.approx([value / mean for value in raw])


def test_the_recipe_suits_the_number_of_pictures(stripes: Data) -> None:
    card = plan(stripes)
    assert (card.task, card.model, card.classes) == ("segmentation", "unet_resnet18", ("0", "1"))
    assert (card.recipe["batch_size"], card.recipe["epochs"]) == (3, 200)
    assert card.preprocessing.size == (20, 30)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet18", "resnet18 alone gives no class to each pixel; say how, such as unet_resnet18"),
        ("yolo_resnet18", "yolo_resnet18 finds objects, and the task is segmentation"),
    ],
)
def test_a_network_of_another_task_is_refused(stripes: Data, model: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(stripes, model=model)


def test_fields_of_the_decoder_and_of_its_backbone_are_flags(stripes: Data) -> None:
    changes = {"decoder_width": 64, "output_stride": 8, "norm": "group"}
    architecture = plan(stripes, model="deeplabv3plus_resnet18", changes=changes).architecture
    assert architecture["decoder_width"] == 64
    assert (architecture["backbone"]["output_stride"], architecture["backbone"]["norm"]) == (8, "group")
    with pytest.raises(ValueError, match="decoder is decided by the data and the name"):
        plan(stripes, model="unet_resnet18", changes={"decoder": "fpn"})


@pytest.mark.parametrize("name", ["pad", "mixup", "cutmix", "erasing", "mosaic", "scale", "flip_alternately"])
def test_what_would_part_pictures_from_masks_is_refused(name: str) -> None:
    value = {"pad": 4, "scale": (0.5, 1.0), "flip_alternately": True}.get(name, 0.5)
    with pytest.raises(ValueError, match=f"segmentation has no use for {name}"):
        check_augmentation(Recipe(flip=True, **{name: value}), "segmentation")
    with pytest.raises(ValueError, match="are of detection and segmentation"):
        check_augmentation(Recipe(window=0.5), "classification")


def test_what_a_detector_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="a detector in training needs their objects; leave it out"):
        check_augmentation(Recipe(recompute_bn=True), "detection")
    check_augmentation(Recipe(recompute_bn=True), "segmentation")


def test_torchvisions_weights_are_those_of_the_backbone_where_it_has_no_such_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("resnets.training.plan.find_weights", lambda _, name: asked.append(name))
    for model in ("unet_resnet34", "fcn_resnet50", "auto", "yolo_resnet50", "fasterrcnn_resnet50_fpn"):
        initial_weights("torchvision", model)
    assert asked == ["resnet34", "fcn_resnet50", "resnet18", "resnet50", "fasterrcnn_resnet50_fpn"]


def test_a_decoder_stands_on_the_very_network_of_the_weights(stripes: Data) -> None:
    declaration = architecture("resnet18")
    own = replace(declaration, depths=(1, 1, 1, 1), num_classes=5)
    weights = Weights("run", "run", {}, None, None, "resnet18", own.to_dict())
    found = plan(stripes, model="deeplabv3plus_resnet18", weights=weights).architecture["backbone"]
    assert (found["depths"], found["num_classes"], found["output_stride"]) == ([1, 1, 1, 1], 0, 16)
    assert plan(stripes, weights=weights).model == "unet_resnet18"


def test_a_stopped_training_resumes_to_the_same_bits(stripes: Data, tmp_path: Path) -> None:
    options = {
        "model": "fcn_resnet8",
        "batch_size": 3,
        "window": 0.75,
        "balance": "sampling",
        "auxiliary": True,
        "precision": "32-true",
        "console": Console(quiet=True),
    }
    whole = train(stripes.source, run=tmp_path / "whole", epochs=2, **options)

    def stop(job: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stripes.source, run=tmp_path / "parted", epochs=2, watch=stop, **options)
    parted = resume(tmp_path / "parted", console=Console(quiet=True))
    expected, found = read_tensors(whole.weights_path), read_tensors(parted.weights_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert "aux_classifier.4.weight" in expected
