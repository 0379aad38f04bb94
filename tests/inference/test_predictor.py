"""Predicting pictures in every form they come in."""

from __future__ import annotations

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
