"""Masks of pictures of any size: blended tiles, and looking several times."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

import resnets
from resnets.cli.main import main
from resnets.data.views import painted
from resnets.data.windows import tiles, whole
from resnets.inference.drawing import Album
from resnets.inference.ensemble import Ensemble
from resnets.inference.evaluation import evaluate
from resnets.inference.export import TOLERANCES, write_export
from resnets.inference.predictor import load
from resnets.inference.segmenting import OVERLAP, Often, from_tiles, mask_on_picture, on_picture, segment
from resnets.runs.run import Run
from resnets.types import Preprocessing

INPUT = Preprocessing((32, 48), 3, (0.5,) * 3, (1.0,) * 3, fit="contain", interpolation="nearest")


def by_colour(inputs: Tensor) -> Tensor:
    """Probabilities (N, 3, H, W) of inputs (N, 3, H, W): each channel is a class."""
    return inputs.float() / inputs.float().sum(1, keepdim=True).clamp(min=1)


def picture(height: int, width: int) -> Tensor:
    values = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    return (200 * values + 20 * torch.arange(3)[:, None, None]).to(torch.uint8)


@pytest.mark.parametrize("size", [(33, 49), (32, 200), (100, 48), (97, 131), (20, 300)])
def test_tiles_of_a_network_that_sees_single_pixels_make_its_mask(size: tuple[int, int]) -> None:
    large = picture(*size)
    assert torch.equal(from_tiles(large, INPUT, by_colour, 3), by_colour(large[None])[0].argmax(0).to(torch.uint8))


def test_borders_of_tiles_are_blended() -> None:
    """Where two tiles disagree, the one wins whose middle is nearer, and in between they are mixed."""
    large = torch.full((3, 32, 84), 100, dtype=torch.uint8)  # two tiles, of which 12 columns are shared
    first, second = tiles((32, 84), INPUT, OVERLAP)
    assert (first.part.left, second.part.left) == (0, 36)
    asked = iter((0, 1))

    def answers(inputs: Tensor) -> Tensor:
        return torch.stack([torch.eye(3)[next(asked)][:, None, None].expand(-1, 32, 48) for _ in inputs])

    mask = from_tiles(large, INPUT, answers, 1)
    assert (mask[:, :42] == 0).all()
    assert (mask[:, 42:] == 1).all()


def test_a_picture_that_fits_is_seen_at_once_and_comes_back_in_its_own_size() -> None:
    pictures = [picture(16, 24), picture(60, 30), picture(32, 48)]
    seen: list[int] = []

    def answers(inputs: Tensor) -> Tensor:
        seen.append(len(inputs))
        return by_colour(inputs)

    masks = segment(pictures, INPUT, answers, 2)
    assert [tuple(mask.shape) for mask in masks] == [(16, 24), (60, 30), (32, 48)]
    assert seen == [2, 1]
    assert torch.equal(masks[2], by_colour(pictures[2][None])[0].argmax(0).to(torch.uint8))
    shown = painted([(pictures[0], whole((16, 24), INPUT))], INPUT)
    assert torch.equal(masks[0], by_colour(shown[None])[0].argmax(0)[::2, ::2].to(torch.uint8))


def test_masks_are_those_that_evaluation_judges() -> None:
    """By the largest logits in the picture's own pixels, not by the largest of enlarged probabilities."""
    logits = 4 * torch.randn(1, 5, 32, 48, generator=torch.Generator().manual_seed(0))
    (mask,) = segment([picture(64, 96)], INPUT, lambda _: logits, 1)
    assert torch.equal(mask, on_picture(logits[0], (64, 96), INPUT).argmax(0).to(torch.uint8))


@pytest.mark.parametrize("size", [(16, 24), (32, 48), (211, 307)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_mask_is_where_the_classes_are_largest_and_takes_one_class_at_a_time(
    size: tuple[int, int], layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all classes at once; coarse values are equal in many places, where the first class counts."""
    logits = torch.randint(4, (2, 150, 32, 48), generator=torch.Generator().manual_seed(0)).float()
    (own, _) = logits.contiguous(memory_format=layout)
    expected = on_picture(own, size, INPUT).argmax(0).to(torch.uint8)
    seen: list[int] = []
    monkeypatch.setattr(
        "resnets.inference.segmenting.on_picture",
        lambda logits, *others: seen.append(len(logits)) or on_picture(logits, *others),
    )
    assert torch.equal(mask_on_picture(own, size, INPUT), expected)
    assert set(seen) == {1}


def test_looking_often_is_the_mean_of_probabilities() -> None:
    network = nn.Conv2d(3, 4, (1, 3), padding=(0, 1))
    images = torch.randn(2, 3, 8, 12)
    with torch.inference_mode():
        expected = (network(images).softmax(1) + network(images.flip(3)).flip(3).softmax(1)) / 2
        torch.testing.assert_close(Often(network, True, (1.0,))(images).exp(), expected)
        several = Often(network, False, (0.5, 1.0, 1.7))(images)
    assert several.shape == (2, 4, 8, 12)
    torch.testing.assert_close(several.exp().sum(1), torch.ones(2, 8, 12))
    with pytest.raises(ValueError, match="scales must be"):
        Often(network, True, ())


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on pictures of a bright rectangle on dark ground, of one odd size."""
    folder = tmp_path_factory.mktemp("segmenter")
    generator = np.random.default_rng(0)
    for number in range(12):
        mask = np.zeros((41, 55), dtype=np.uint8)
        top, left = generator.integers(0, 20, 2)
        mask[top : top + 20, left : left + 25] = 1
        pixels = (generator.integers(0, 60, (41, 55, 3)) + 150 * mask[..., None]).astype(np.uint8)
        split = "train" if number < 8 else "val"
        for kind, content in (("images", pixels), ("masks", mask)):
            (folder / "data" / kind / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(folder / "data" / kind / split / f"{number}.png")
    (folder / "data" / "classes.txt").write_text("ground\nbox\n")
    return resnets.train(
        folder / "data",
        run=folder / "run",
        model="unet_resnet8",
        decoder_width=8,
        epochs=20,
        batch_size=4,
        lr=0.01,
        ema=0.0,
        window=0.75,
        balance="sampling",
        loss="cross_entropy+lovasz",
        evaluate_every=20,
        precision="32-true",
        console=Console(quiet=True),
    )


def test_a_run_learns_and_is_judged_the_same_again(segmenter: Run) -> None:
    metrics = segmenter.card().metrics
    assert metrics["miou"] > 0.9
    again = evaluate(segmenter.folder)
    assert again.metrics == pytest.approx(metrics)
    assert evaluate(segmenter.folder, flips=True, scales=(1.0, 1.2)).metrics["miou"] > 0.9
    assert "mean IoU" in segmenter.report_path.read_text()


def test_predict_gives_masks_of_large_pictures_in_tiles(segmenter: Run) -> None:
    data = segmenter.folder.parent / "data"
    with Image.open(data / "images/val/9.png") as small, Image.open(data / "masks/val/9.png") as mask:
        large, true = np.tile(np.asarray(small), (3, 2, 1)), np.tile(np.asarray(mask), (3, 2))
    predictor = load(segmenter.folder)
    (answer,) = predictor.predict([large], tiled=True)
    assert answer.mask is not None
    assert (answer.mask.numpy() == true).mean() > 0.95
    assert answer.values is not None
    assert answer.values["box"] == pytest.approx((answer.mask == 1).float().mean().item())


def test_the_command_line_writes_index_pictures_and_overlays(
    segmenter: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = segmenter.folder.parent / "data/images/val"
    written = ["--masks", str(tmp_path / "masks"), "--draw", str(tmp_path / "drawn")]
    assert main(["predict", str(segmenter.folder), str(pictures), *written]) == 0
    assert "Share of the pixels" in capsys.readouterr().out
    with Image.open(tmp_path / "masks/8.png") as mask, Image.open(tmp_path / "drawn/8.png") as drawn:
        assert mask.mode == "P"
        assert set(np.unique(np.asarray(mask))) == {0, 1}
        assert drawn.size == mask.size == (55, 41)
    assert main(["predict", str(segmenter.folder), str(pictures), "--draw", str(pictures)]) == 1
    assert "choose another folder" in capsys.readouterr().err
    assert main(["predict", str(segmenter.folder), str(pictures), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(line) for line in lines] == [{"name", "values", "size"}] * 4
    assert lines[0]["size"] == [41, 55]


def test_pictures_of_one_name_are_written_under_two(tmp_path: Path) -> None:
    album = Album(tmp_path / "album")
    for grey in (10, 20):
        album.add(Image.new("L", (2, 2), grey), f"{grey}/a.jpg")
    found = {path.name: Image.open(path).getpixel((0, 0)) for path in (tmp_path / "album").iterdir()}
    assert found == {"a.png": 10, "a-2.png": 20}


def test_frames_of_a_video_keep_the_fractions_of_their_seconds(tmp_path: Path) -> None:
    album = Album(tmp_path)
    for name in ("clips/clip.mp4#0.033", "clips/clip.mp4#0.067", "b.JPG"):
        album.add(Image.new("L", (2, 2)), name)
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4#0.033.png", "clip.mp4#0.067.png", "b.png"}


@pytest.mark.parametrize("form", ["{}", "{}/a.png", "{}/*.png"])
def test_a_picture_that_is_looked_at_is_not_written_over(tmp_path: Path, form: str) -> None:
    Image.new("L", (2, 2), 7).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ValueError, match="choose another folder"):
        Album(tmp_path, [form.format(tmp_path)]).add(Image.new("L", (2, 2)), "elsewhere/a.jpg")
    assert (tmp_path / "a.png").read_bytes() == before


def test_what_does_nothing_for_masks_is_refused(segmenter: Run, tmp_path: Path) -> None:
    folder = segmenter.folder
    with pytest.raises(ValueError, match="flips and scales are for masks"):
        load("resnet20-cifar10", flips=True)
    with pytest.raises(ValueError, match="flips and scales are for masks"):
        load("resnet20-cifar10", scales=(0.5, 1.0))
    with pytest.raises(ValueError, match="leave out ten-crop"):
        load(folder, views="ten-crop")
    with pytest.raises(ValueError, match="flips and scales are computed by the engine eager alone"):
        load(folder, engine="onnxruntime", flips=True)
    with pytest.raises(ValueError, match="answers of segmentation have no mean"):
        Ensemble([load(folder), load(folder)])
    with pytest.raises(ValueError, match="answers in the pixels of the whole picture"):
        write_export(segmenter, tmp_path / "export", "onnx", preprocess=True)
    with pytest.raises(ValueError, match="answers of segmentation have no mean over several networks"):
        write_export([segmenter, segmenter], tmp_path / "export", "onnx")


def test_engines_give_the_same_masks(segmenter: Run) -> None:
    pictures = [segmenter.folder.parent / f"data/images/val/{number}.png" for number in (8, 9)]
    plain, onnx, openvino, often, rough = (
        list(load(segmenter.folder, **options).predict(pictures))
        for options in (
            {},
            {"engine": "onnxruntime"},
            {"engine": "openvino", "precision": "bfloat16"},
            {"flips": True, "scales": (0.75, 1.0), "engine": "auto"},
            {"flips": True, "scales": (0.75, 1.0), "precision": "bfloat16"},
        )
    )
    for one, same, close, other, coarse in zip(plain, onnx, openvino, often, rough, strict=True):
        assert one.mask is not None
        assert (one.mask == same.mask).float().mean() > 0.999
        assert (one.mask == close.mask).float().mean() > 0.98
        assert (one.mask == other.mask).float().mean() > 0.95
        assert (other.mask == coarse.mask).float().mean() > 0.98


def test_an_export_is_judged_and_looks_at_tiles_as_the_run_does(segmenter: Run, tmp_path: Path) -> None:
    exported = write_export(segmenter, tmp_path / "export", "onnx", batch=2).run.folder
    assert evaluate(exported).metrics == pytest.approx(segmenter.card().metrics, abs=1e-3)
    with Image.open(segmenter.folder.parent / "data/images/val/9.png") as small:
        large = np.tile(np.asarray(small), (3, 2, 1))
    (one,), (other,) = (load(run).predict([large], tiled=True) for run in (segmenter.folder, exported))
    assert one.mask is not None
    assert (one.mask == other.mask).float().mean() > 0.999
    with pytest.raises(ValueError, match="of a run that is no export"):
        load(exported, scales=(0.75, 1.0))


def test_int8_masks_that_lose_more_than_allowed_are_refused(
    segmenter: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a quantisation that leaves nothing of the weights: every pixel gets the same class."""

    def emptied(model: onnx.ModelProto, inputs: list[Any]) -> onnx.ModelProto:
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                tensor.CopyFrom(onnx.numpy_helper.from_array(0 * values, tensor.name))
        return model

    command = ["export", str(segmenter.folder), "--format", "onnx", "--precision", "int8"]
    command += ["--max-loss", "0.1", "--to", str(tmp_path / "int8")]
    assert main(command) == 0
    assert "Mean IoU" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "int8")
    monkeypatch.setattr("resnets.inference.quantisation.quantised", emptied)
    monkeypatch.setitem(TOLERANCES, "int8", (float("inf"), float("inf")))
    assert main(command) == 1
    assert "miou went from" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_speeds_are_frames_of_masks(segmenter: Run, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--engine", "eager,onnxruntime", "--precision", "float32", "--seconds", "0.05", "--batch-size", "2"]
    assert main(["benchmark", str(segmenter.folder), "--json", *flags]) == 0
    speeds = json.loads(capsys.readouterr().out)["speeds"]
    assert [speed["engine"] for speed in speeds] == ["eager", "onnxruntime"]
    assert all(speed["throughput"] > 0 and speed["share"] > 0 for speed in speeds)


def test_an_engine_asked_for_judges_masks_as_well(segmenter: Run) -> None:
    metrics = evaluate(segmenter.folder, engine="eager").metrics
    assert metrics == pytest.approx(segmenter.card().metrics)
