"""Several runs, and runs that change while they answer."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

import pytest
import torch

from resnets.inference.export import write_export
from resnets.runs.run import Run, find_run
from resnets.serving.models import name_runs, version_of

RUN = "resnet20-cifar10"


@pytest.fixture
def copied(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(find_run(RUN).folder, folder)
    return Run(folder)


def wait_for(condition):
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_request_names_its_run(serve, copied, photograph):
    client = serve(RUN, str(copied.folder)).client
    assert [model["name"] for model in client.get("/v1/models").json()["models"]] == [RUN, "mine"]
    for query, name in (("", RUN), ("?model=mine", "mine")):
        assert client.post(f"/v1/predict{query}", files={"a": photograph()}).json()["model"] == name


def test_an_export_answers_as_its_run_does(serve, tmp_path, photograph):
    write_export(find_run(RUN), tmp_path / "export", "onnx", batch=4)
    client = serve(RUN, str(tmp_path / "export")).client
    whole, exported = (
        client.post(f"/v1/predict?top=10&model={name}", files={"a": photograph()}).json()["predictions"][0]
        for name in (RUN, "export")
    )
    shares = dict(zip(whole["classes"], whole["probabilities"], strict=True))
    for name, share in zip(exported["classes"], exported["probabilities"], strict=True):
        assert share == pytest.approx(shares[name], abs=1e-4)


def test_labels_are_those_that_reach_their_thresholds(serve, copied, photograph):
    """However many; so many as are asked for otherwise."""
    classes = copied.card().classes
    thresholds = [0.0 if name in ("cat", "ship") else 1.5 for name in classes]
    copied.write_card(replace(copied.card(), task="multilabel", settings={"thresholds": thresholds}))
    client = serve(RUN, str(copied.folder)).client

    def ask(query: str) -> list[str]:
        answer = client.post(f"/v1/predict?{query}", files={"a": photograph()})
        return answer.json()["predictions"][0]["classes"]

    assert sorted(ask("model=mine")) == ["cat", "ship"]
    assert len(ask("model=mine&top=7")) == 7
    assert len(ask(f"model={RUN}")) == 5


def test_runs_have_names_of_their_own(tmp_path):
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert name_runs([RUN, "x=runs/pets", str(odd)]) == {RUN: RUN, "x": "runs/pets", "a=b": str(odd)}
    assert name_runs([f"other={odd}"]) == {"other": str(odd)}
    with pytest.raises(ValueError, match="two runs are called pets; name one by NAME=FOLDER"):
        name_runs(["runs/pets", "old/pets"])


def test_a_version_is_that_of_the_files(copied, tmp_path):
    before = version_of(str(copied.folder))
    assert before == version_of(RUN)
    (copied.folder / "report.html").write_text("a report is not what answers")
    assert version_of(str(copied.folder)) == before
    copied.write_card(replace(copied.card(), settings={"temperature": 2.0}))
    assert version_of(str(copied.folder)) != before


def test_a_run_that_changes_is_loaded_anew(serve, copied, photograph):
    service = serve(str(copied.folder), look_every=0.05)

    def ask():
        return service.client.post("/v1/predict?top=10", files={"a": photograph()}).json()

    first = ask()
    network = copied.network()
    with torch.no_grad():
        network.fc.bias.copy_(torch.arange(10) * 100.0)
    copied.write_network(network)
    wait_for(lambda: ask()["version"] != first["version"])
    second = ask()
    assert second["version"] == version_of(str(copied.folder))
    assert second["predictions"][0]["classes"][0] == "truck"  # the last class, by its bias
    assert first["predictions"][0]["classes"][0] != "truck"
    text = service.metrics.text().decode()
    assert 'resnets_reloads_total{model="mine",outcome="loaded"} 1.0' in text
    assert first["version"] not in text


def test_a_run_that_breaks_goes_on_answering_as_before(serve, copied, photograph):
    service = serve(str(copied.folder), look_every=0.05)

    def failed() -> bool:
        return 'resnets_reloads_total{model="mine",outcome="failed"} 1.0' in service.metrics.text().decode()

    def ask():
        return service.client.post("/v1/predict", files={"a": photograph()}).json()

    first, whole = ask(), copied.weights_path.read_bytes()
    copied.weights_path.write_bytes(whole[:1000])
    wait_for(failed)
    time.sleep(0.3)
    assert failed()  # tried once
    assert ask() == first
    copied.weights_path.write_bytes(whole)
    wait_for(lambda: 'outcome="loaded"} 1.0' in service.metrics.text().decode())
    assert ask() == first


def test_a_run_that_cannot_be_loaded_is_an_error_at_the_start(serve, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a run"):
        serve(str(tmp_path))
