"""Several views and several networks, their answers averaged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from resnets.data.opening import open_dataset
from resnets.inference.ensemble import Ensemble
from resnets.inference.evaluation import evaluate
from resnets.inference.predictor import load
from resnets.inference.views import OF_SEEN, multi_scale, shifted, ten_crop
from resnets.types import Preprocessing

PREPROCESSING = Preprocessing((28, 28), 3, (0.5,) * 3, (0.2,) * 3, crop=0.875)


def noise(height: int, width: int) -> torch.Tensor:
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_ten_crops_are_torchvisions() -> None:
    picture = noise(60, 91)
    expected = v2.Compose([v2.Resize(32, antialias=True), v2.CenterCrop((32, 48)), v2.TenCrop(28)])(picture)
    (found,) = ten_crop(picture, PREPROCESSING)
    assert torch.equal(found, torch.stack(expected))


def test_shifts_are_torchvisions_crops_of_a_mirrored_border() -> None:
    pictures = torch.stack([noise(32, 32), noise(32, 32).flip(1)])
    found = torch.stack(shifted(pictures), 1)
    for picture, views in zip(pictures, found, strict=True):
        padded = v2.Pad(1, padding_mode="reflect")(picture)
        expected = torch.stack([picture, padded[:, :32, :32], padded[:, 2:, 2:]])
        assert torch.equal(views, torch.cat([expected, v2.RandomHorizontalFlip(p=1)(expected)]))


def test_scales_keep_the_whole_picture() -> None:
    views = multi_scale(noise(50, 100), PREPROCESSING)
    assert [tuple(view.shape) for view in views] == [
        (2, 3, side, 2 * side) for side in (28, 32, 48, 60, 80)
    ]  # 224, 256, 384, 480, 640 of 224
    assert all(torch.equal(view[1], view[0].flip(2)) for view in views)


@pytest.mark.parametrize("views", ["ten-crop", "multi-scale"])
def test_answers_to_views_are_averaged(run, views: str) -> None:
    predictor = load(run.folder, views=views)
    pictures = [noise(8, 8)[0].numpy(), noise(11, 9)[0].numpy()]
    rows = [row for _, row in predictor.rows(pictures)]
    for picture, row in zip(pictures, rows, strict=True):
        groups = predictor.read(picture)
        each = [load(run.folder).answers(group) for group in groups]
        torch.testing.assert_close(row, torch.cat(each).mean(0))
        assert row.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("views", "count"), [("mirrored", 2), ("shifted", 6)])
def test_answers_to_views_of_what_is_seen_are_averaged(run, views: str, count: int) -> None:
    single, several = load(run.folder), load(run.folder, views=views)
    pictures = [noise(8, 8)[0].numpy(), noise(11, 9)[0].numpy()]
    seen = torch.cat([picture for (picture,) in map(single.read, pictures)])
    each = torch.stack([single.answers(view) for view in OF_SEEN[views](seen)])
    assert len(each) == count
    torch.testing.assert_close(torch.stack([row for _, row in several.rows(pictures)]), each.mean(0))


@pytest.mark.parametrize("views", ["mirrored", "shifted"])
def test_a_split_is_judged_in_batches_as_its_pictures_are_one_by_one(run, views: str) -> None:
    predictor = load(run.folder, views=views, exact=True)
    pictures = open_dataset("digits").splits["test"]
    rows = [row for _, row in predictor.rows(pictures.open(index) for index in range(len(pictures)))]
    right = torch.stack(rows).argmax(1) == pictures.targets
    assert evaluate(run.folder, views=views).metrics["accuracy"] == pytest.approx(right.float().mean().item())


@pytest.mark.parametrize("views", ["ten-crop", "multi-scale"])
def test_views_of_several_pictures_are_computed_together(run, views: str) -> None:
    predictor, calls = load(run.folder, views=views), list[int]()
    pictures = [noise(height, width)[0].numpy() for height, width in ((8, 8), (9, 14), (8, 8), (14, 9))]
    alone = [predictor(picture).probabilities for picture in pictures]
    compute = predictor.outputs
    predictor.outputs = lambda pixels: calls.append(len(pixels)) or compute(pixels)
    together = [answer.probabilities for answer in predictor.predict(pictures, batch_size=4)]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert max(calls) == 4  # as many at a time as were asked for
    assert sum(calls) == 40


def test_an_ensemble_answers_by_the_mean(run) -> None:
    one, other = load(run.folder), load(run.folder, views="multi-scale")
    pictures = [noise(8, 8)[0].numpy(), b"no picture", noise(9, 9)[1].numpy()]
    found = list(Ensemble([one, other]).predict(pictures, batch_size=2))
    assert [answer.error is None for answer in found] == [True, False, True]
    rows = [[row for _, row in each.rows(pictures)] for each in (one, other)]
    for index in (0, 2):
        expected = (rows[0][index] + rows[1][index]) / 2
        assert found[index].probabilities == pytest.approx(expected.sort(descending=True).values.tolist(), abs=1e-6)
    with pytest.raises(ValueError, match="answers cannot be averaged"):
        Ensemble([one, load("resnet20-cifar10")])


def test_an_ensemble_of_one_network_is_worth_what_the_network_is(run) -> None:
    alone, together = evaluate(run.folder), evaluate([run.folder, run.folder])
    assert together.metrics == pytest.approx(alone.metrics, abs=1e-4)


def test_views_that_cannot_be_are_said(run) -> None:
    with pytest.raises(ValueError, match="views must be one of single, mirrored, shifted, ten-crop, multi-scale"):
        load(run.folder, views="twelve")
    with pytest.raises(ValueError, match="the engine eager alone takes"):
        load(run.folder, views="multi-scale", engine="openvino")
    with pytest.raises(ValueError, match="takes whole pictures here, which threads decode; leave workers out"):
        evaluate(run.folder, workers=1, views="ten-crop")
    with pytest.raises(ValueError, match="sets of classes are calibrated on single views"):
        next(load(run.folder, views="mirrored").predict([noise(8, 8)[0].numpy()], coverage=0.9))
