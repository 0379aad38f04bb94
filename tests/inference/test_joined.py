"""Several runs as one graph, against the mean of their answers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from resnets.cli.benchmark import candidates
from resnets.cli.main import main
from resnets.inference.ensemble import Ensemble
from resnets.inference.evaluation import evaluate
from resnets.inference.export import write_export
from resnets.inference.joined import Joined, joined_card
from resnets.inference.predictor import load
from resnets.runs.run import Run
from resnets.tasks import create_task


@pytest.fixture(scope="module")
def other(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same network with other weights and another temperature."""
    copy = Run(tmp_path_factory.mktemp("other") / "other")
    shutil.copytree(run.folder, copy.folder)
    network, generator = run.network(), torch.Generator().manual_seed(0)
    for tensor in network.parameters():
        tensor.data += 0.2 * tensor.std() * torch.randn(tensor.shape, generator=generator) if tensor.ndim > 1 else 0
    copy.write_network(network)
    copy.write_card(replace(run.card(), settings={**run.card().settings, "temperature": 2.5}))
    return copy


def test_a_graph_of_two_runs_gives_the_mean_of_their_probabilities(run, other, digits, tmp_path, capsys):
    folder = tmp_path / "both"
    command = ["export", str(other.folder), str(run.folder), "--format", "onnx", "--to", str(folder)]
    assert main(command) == 0
    assert "the outputs differ by" in capsys.readouterr().out
    files = sorted(digits.rglob("*.png"))[::60]
    both, found = Ensemble([load(run.folder), load(other.folder)]), load(folder)
    for expected, answer in zip(both.predict(files), found.predict(files, batch_size=4), strict=True):
        shares = dict(zip(expected.classes, expected.probabilities, strict=True))
        for name, share in zip(answer.classes, answer.probabilities, strict=True):
            assert share == pytest.approx(shares[name], abs=1e-4)
    pixels = torch.stack([torch.from_numpy(np.array(Image.open(file)))[..., None] for file in files])
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"pixels": pixels.numpy()})
    means = torch.stack([load(each.folder).answers(pixels.permute(0, 3, 1, 2)) for each in (run, other)]).mean(0)
    torch.testing.assert_close((torch.from_numpy(logits) / 2.5).softmax(1), means, atol=1e-4, rtol=0)


def test_what_a_graph_of_two_runs_is_worth_is_what_their_mean_is(run, other, tmp_path):
    exported = write_export([run, other], tmp_path / "both", "openvino")
    card = exported.run.card()
    assert card.export["source"] == f"{run.folder}+{other.folder}"
    assert "conformal" not in card.settings
    expected = evaluate([run.folder, other.folder]).metrics
    assert evaluate(exported.run.folder).metrics == pytest.approx(expected, abs=1e-4)
    assert expected["loss"] != pytest.approx(evaluate(run.folder).metrics["loss"], rel=0.01)
    cpu = torch.device("cpu")
    (one,), (both,) = (
        list(candidates(str(folder), engine, precision, None, cpu))
        for folder, engine, precision in ((run.folder, "eager", "float32"), (exported.run.folder, "", ""))
    )
    assert both.multiply_adds == 2 * one.multiply_adds


def test_numbers_have_a_mean_in_their_own_units():
    """Two regressors whose targets had other scales: the mean is of what they say, not of what they give."""
    first = create_task("regression", ("a",), {"mean": [10.0], "std": [2.0]})
    second = create_task("regression", ("a",), {"mean": [-4.0], "std": [5.0]})
    joined = Joined([torch.nn.Identity(), torch.nn.Linear(1, 1)], [first, second])
    outputs = torch.tensor([[0.5], [-1.0]])
    expected = ((outputs * 2 + 10) + (joined.networks[1](outputs) * 5 - 4)) / 2
    torch.testing.assert_close(first.answers(joined(outputs)), expected)


def test_runs_that_do_not_go_together_are_refused(run, other, tmp_path):
    card = other.card()
    for changes, what in (
        ({"classes": (*card.classes[:-1], "ten")}, "classes"),
        ({"preprocessing": replace(card.preprocessing, size=(16, 16))}, "preprocessing"),
        ({"task": "multilabel"}, "task"),
    ):
        changed = Run(tmp_path / what)
        shutil.copytree(other.folder, changed.folder)
        changed.write_card(replace(card, **changes))
        with pytest.raises(ValueError, match=f"differ in {what}, so that they cannot be one graph"):
            write_export([run, changed], tmp_path / "both", "onnx")
    with pytest.raises(ValueError, match="export several runs to onnx or openvino"):
        write_export([run, other], tmp_path / "both", "torch")
    embedding = Run(Path(tmp_path / "embedding"))
    shutil.copytree(other.folder, embedding.folder)
    embedding.write_card(replace(card, task="recognition", settings={"trained_on": [0]}))
    with pytest.raises(ValueError, match="answers of recognition have no mean over several networks"):
        joined_card([embedding, embedding])
    with pytest.raises(ValueError, match="answers of recognition have no mean over several networks"):
        Ensemble([load(embedding.folder), load(embedding.folder)])
    assert Ensemble([load(embedding.folder)])  # several views of one network have a mean
    assert not (tmp_path / "both").exists()
