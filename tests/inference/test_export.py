"""Exports: the same answers from the same files, and a folder that is a run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from resnets.inference.evaluation import evaluate
from resnets.inference.export import TOLERANCES, worsening, write_export
from resnets.inference.predictor import load
from resnets.inference.samples import made_files
from resnets.runs.run import Run, find_run

EXPORTS = [("onnx", "float32"), ("openvino", "float32"), ("openvino", "bfloat16"), ("torch", "bfloat16")]


@pytest.mark.parametrize("preprocess", [False, True])
@pytest.mark.parametrize(("format", "precision"), EXPORTS)
def test_an_export_answers_picture_files_as_the_run_does(format, precision, preprocess, tmp_path):
    """A colour network; the card's data is not here, so that made pictures of many sizes are compared."""
    source = find_run("resnet20-cifar10")
    exported = write_export(source, tmp_path / "export", format, precision, preprocess=preprocess)
    assert exported.error < TOLERANCES[precision][preprocess]
    assert exported.pictures == 32
    files = list(made_files(6))
    expected, found = (load(run, exact=True) for run in (source.folder, exported.run.folder))
    for one, other in zip(expected.predict(files), found.predict(files, batch_size=4), strict=True):
        ours = dict(zip(other.classes, other.probabilities, strict=True))
        for name, probability in zip(one.classes, one.probabilities, strict=True):
            assert ours[name] == pytest.approx(
                probability, abs=(0.02 if preprocess else 1e-3) if precision == "float32" else 0.15
            )


def test_an_export_is_judged_as_the_run_and_its_card_says_what_it_is(run, tmp_path):
    exported = write_export(run, tmp_path / "export", "openvino")
    expected, found = evaluate(run.folder), evaluate(exported.run.folder)
    assert found.metrics == pytest.approx(expected.metrics, abs=1e-5)
    facts = exported.run.card().export
    assert (facts["format"], facts["precision"], facts["source"]) == ("openvino", "float32", str(run.folder))
    assert facts["error"] == exported.error
    with pytest.raises(FileNotFoundError, match="without the weights that this needs; name the run it was made from"):
        exported.run.network()
    with pytest.raises(ValueError, match="is an export for openvino in float32, not for onnxruntime"):
        load(exported.run.folder, engine="onnxruntime").answers(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize("format", ["openvino", "onnx"])
def test_int8_is_calibrated_with_the_runs_own_pictures(run, format, tmp_path):
    exported = write_export(run, tmp_path / "export", format, "int8")
    facts = exported.run.card().export
    assert facts["calibration"] == {"split": "train", "pictures": 300}
    expected, found = evaluate(run.folder).metrics["accuracy"], evaluate(exported.run.folder).metrics["accuracy"]
    assert abs(expected - found) < 0.03
    if format == "onnx":
        kinds = {node.op_type for node in onnx.load(tmp_path / "export" / "model.onnx").graph.node}
        assert "QuantizeLinear" in kinds


def test_sets_of_classes_are_those_of_the_network_in_float32(run, tmp_path):
    source = Run(shutil.copytree(run.folder, tmp_path / "source"))
    source.write_card(replace(run.card(), settings={"conformal": [0.2] * 50}))
    picture = list(made_files(1))
    whole, lower = (write_export(source, tmp_path / p, "torch", p).run for p in ("float32", "bfloat16"))
    (expected,), (found,) = (load(each.folder).predict(picture, coverage=0.9) for each in (source, whole))
    assert found.classes == expected.classes
    assert "conformal" not in lower.card().settings
    with pytest.raises(ValueError, match="sets of classes are calibrated for one network in float32"):
        next(load(lower.folder).predict(picture, coverage=0.9))
    with pytest.raises(ValueError, match="sets of classes are calibrated for one network in float32"):
        next(load(source.folder, precision="bfloat16").predict(picture, coverage=0.9))


def test_int8_needs_the_runs_own_pictures(tmp_path, digits):
    source = find_run("resnet20-cifar10")
    with pytest.raises(ValueError, match="say by --data where they are"):
        write_export(source, tmp_path / "export", "openvino", "int8")
    with pytest.raises(ValueError, match="is not what the run was trained on"):
        write_export(source, tmp_path / "export", "openvino", "int8", data=digits)
    assert list(tmp_path.iterdir()) == []


def test_a_whole_graph_takes_any_picture_without_our_code(tmp_path):
    """What someone does who has the file and ONNX Runtime alone."""
    source = find_run("resnet20-cifar10")
    write_export(source, tmp_path / "export", "onnx", preprocess=True)
    session = onnxruntime.InferenceSession(tmp_path / "export" / "model.onnx", providers=["CPUExecutionProvider"])
    coarse = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(0)) * 255
    pictures = F.interpolate(coarse, (90, 61), mode="bilinear").byte()
    (found,) = session.run(None, {"pixels": pictures.permute(0, 2, 3, 1).contiguous().numpy()})
    card = source.card()
    seen = F.interpolate(pictures.float(), (47, 32), mode="bilinear", antialias=True).round()[:, :, 8:40]
    mean, std = (torch.tensor(values)[:, None, None] for values in (card.preprocessing.mean, card.preprocessing.std))
    with torch.inference_mode():
        expected = source.network()((seen / 255 - mean) / std)
    assert F.cosine_similarity(torch.from_numpy(found), expected).min() > 0.99


def test_a_graph_of_a_fixed_batch_answers_any_number(run, digits, tmp_path):
    exported = write_export(run, tmp_path / "export", "onnx", batch=4)
    files = sorted(digits.rglob("*.png"))[:6]
    found = [answer.classes[0] for answer in load(exported.run.folder).predict(files)]
    assert found == [answer.classes[0] for answer in load(run.folder).predict(files)]


def test_an_export_that_gives_other_answers_is_refused(run, tmp_path, monkeypatch):
    """Weights that change under its hands between writing and comparing."""
    broken = Run(tmp_path / "broken")
    shutil.copytree(run.folder, broken.folder)
    networks = [run.network(), run.network()]
    networks[1].fc.weight.data.mul_(-1)
    monkeypatch.setattr(Run, "network", lambda _: networks.pop())
    with pytest.raises(ValueError, match=r"gives other outputs than .*; nothing was written"):
        write_export(broken, tmp_path / "export", "openvino")
    assert not (tmp_path / "export").exists()


def test_what_cannot_be_exported_is_said(run, tmp_path):
    with pytest.raises(ValueError, match="no format 'tflite'; there is onnx, openvino, torch"):
        write_export(run, tmp_path / "export", "tflite")
    with pytest.raises(ValueError, match="onnx is written in float32 or int8, not 'bfloat16'"):
        write_export(run, tmp_path / "export", "onnx", "bfloat16")
    with pytest.raises(FileExistsError, match="is there already"):
        write_export(run, tmp_path, "onnx")


def test_no_file_of_an_export_is_chosen_by_its_card(run, tmp_path):
    exported = write_export(run, tmp_path / "export", "openvino")
    card = exported.run.card()
    exported.run.write_card(replace(card, export={**card.export, "format": "../../secret"}))
    with pytest.raises(ValueError, match="there is no format"):
        load(exported.run.folder).answers(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


def test_what_got_worse_is_a_share_of_accuracy_or_of_the_error():
    assert worsening(("accuracy", 1), {"accuracy": 0.9}, {"accuracy": 0.88}) == pytest.approx(0.02)
    assert worsening(("rmse", -1), {"rmse": 2.0}, {"rmse": 2.1}) == pytest.approx(0.05)
    assert worsening(("rmse", -1), {"rmse": 2.0}, {"rmse": 1.9}) < 0


def test_the_card_of_an_export_travels_as_json(run, tmp_path: Path):
    exported = write_export(run, tmp_path / "export", "torch")
    written = json.loads((exported.run.folder / "model.json").read_text())
    assert written["export"]["format"] == "torch"
    assert written["classes"] == list(run.card().classes)
    program = torch.export.load(exported.run.folder / "model.pt2").module()
    pixels = torch.randint(256, (3, 8, 8, 1), dtype=torch.uint8)
    expected = load(run.folder).answers(pixels.permute(0, 3, 1, 2))
    torch.testing.assert_close(program(pixels)[0].softmax(1), expected, atol=1e-4, rtol=0)
