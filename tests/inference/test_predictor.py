"""Predicting pictures in every form they come in."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.inference.evaluation import evaluate
from resnets.inference.predictor import load


def test_predictions_are_those_of_evaluation(run, digits):
    evaluation = evaluate(run.folder, digits)
    paths = [digits / name for name in evaluation.names]
    answers = list(load(run.folder).predict(paths, batch_size=50))
    assert [answer.name for answer in answers] == [str(path) for path in paths]
    for answer, probabilities in zip(answers, evaluation.probabilities, strict=True):
        assert answer.classes[0] == str(probabilities.argmax().item())
        np.testing.assert_allclose(answer.probabilities, probabilities.sort(descending=True).values, atol=1e-5)


def test_every_form_of_a_picture_has_the_same_answer(run, digits):
    predictor = load(run.folder)
    path = next(digits.rglob("*.png"))
    image = Image.open(path)
    expected = predictor(path)
    for form in (str(path), path.read_bytes(), image, np.asarray(image), image.convert("RGB"), image.convert("RGBA")):
        answer = predictor(form)
        assert answer.classes == expected.classes
        assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


def test_a_turned_picture_is_turned_back(run, digits, tmp_path):
    predictor = load(run.folder)
    image = Image.open(next(digits.rglob("*.png")))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert predictor(tmp_path / "turned.png").probabilities == predictor(image).probabilities


def test_a_broken_picture_has_an_error_and_the_others_go_on(run, digits, tmp_path):
    good = next(digits.rglob("*.png"))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no more")
    answers = list(load(run.folder).predict([good, broken, tmp_path / "missing.png", good], top=3))
    assert [answer.error is None for answer in answers] == [True, False, False, True]
    assert answers[0].classes == answers[3].classes
    assert len(answers[0].classes) == 3
    assert answers[1].classes == ()
    with pytest.raises(ValueError, match=r"broken\.jpg cannot be read"):
        load(run.folder)(broken)


def test_nothing_asked_nothing_answered(run):
    assert list(load(run.folder).predict([])) == []
    with pytest.raises(ValueError, match="at least 1"):
        list(load(run.folder).predict([], top=0))


def test_a_picture_of_another_size_is_brought_to_the_networks(run, digits):
    image = Image.open(next(digits.rglob("*.png")))
    enlarged = image.resize((80, 80), Image.Resampling.NEAREST)
    predictor = load(run.folder)
    assert predictor(enlarged).classes[0] == predictor(image).classes[0]
    assert torch.tensor(predictor(enlarged).probabilities).sum().item() == pytest.approx(1, abs=1e-5)


def test_jpeg_decoded_at_reduced_size_is_close_to_exact(shared_data):
    """Photographs with many times the pixels that the network sees: the views' values, and the answers."""
    files = sorted(shared_data.glob("ants_bees/val/*/*.jpg"))[::8]
    quick, exact = load("resnet20-cifar10"), load("resnet20-cifar10", exact=True)
    views = [[predictor.read(file)[0].float() for file in files] for predictor in (quick, exact)]
    differences = [(a - b).abs().mean().item() for a, b in zip(*views, strict=True)]
    assert max(differences) > 0  # some are decoded smaller
    assert sum(differences) / len(differences) < 2.2
    assert max(differences) < 6
    pairs = list(zip(quick.predict(files), exact.predict(files), strict=True))
    assert sum(one.classes[0] == other.classes[0] for one, other in pairs) >= 0.85 * len(pairs)


def test_a_picture_that_somebody_has_opened_stays_as_large_as_it_is(run, tmp_path):
    """A JPEG that is decoded smaller where it comes from a file; from bytes, such as servers have, it still is."""
    values = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(values).resize((800, 600)).save(tmp_path / "large.jpg")
    quick, exact = load(run.folder), load(run.folder, exact=True)
    reduced, whole = (each(tmp_path / "large.jpg").probabilities for each in (quick, exact))
    assert reduced != whole
    for image, first in (
        (Image.open(tmp_path / "large.jpg"), whole),
        (Image.open(io.BytesIO((tmp_path / "large.jpg").read_bytes())), reduced),
    ):
        with image:
            assert quick(image).probabilities == first
            assert image.size == (800, 600)
            assert exact(image).probabilities == whole
            assert np.asarray(image).shape == (600, 800, 3)


def test_the_fastest_engine_is_measured_once(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measured = []

    def throughput(engine, preprocessing, batch):
        measured.append(engine)
        return {"OnnxEngine": 2.0, "OpenvinoEngine": 1.0}.get(type(engine).__name__, 0.5)

    monkeypatch.setattr("resnets.inference.choice.throughput", throughput)
    picture = np.zeros((8, 8), np.uint8)
    expected = load(run.folder)(picture)
    for _ in range(2):
        predictor = load(run.folder, engine="auto")
        assert type(predictor.engine).__name__ == "OnnxEngine"
    assert len(measured) == 3
    assert predictor(picture).probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    (tmp_path / "resnets" / "engines.json").write_text("broken")
    assert type(load(run.folder, engine="auto").engine).__name__ == "OnnxEngine"


def test_precision_and_engine_are_checked_before_work(run):
    with pytest.raises(ValueError, match="precision must be auto or one of float32, bfloat16, int8"):
        load(run.folder, precision="float8")
    with pytest.raises(ValueError, match="there is no engine 'tensorrt'"):
        load(run.folder, engine="tensorrt")
    for device in ("gpu", "cuda:99"):
        with pytest.raises(ValueError, match=f"nothing can be computed on {device} here; there is cpu"):
            load(run.folder, device)
    for engine in ("auto", "eager"):
        with pytest.raises(ValueError, match="int8 has to be calibrated with training pictures"):
            _ = load(run.folder, engine=engine, precision="int8").engine
