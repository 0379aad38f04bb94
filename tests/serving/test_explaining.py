"""Why a picture is answered as it is, and what is told of places in it, as clients get it."""

from __future__ import annotations

import base64
import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.inference.export import write_export
from resnets.inference.predictor import load
from resnets.insight.attributions import attribute, one_output
from resnets.insight.blocks import block_parts
from resnets.runs.run import find_run
from resnets.serving.limits import Limits

RUN = "resnet20-cifar10"


@pytest.fixture(scope="module")
def explaining(serve_session):
    return serve_session(explains=True).client


def picture_of(address: str) -> np.ndarray:
    assert address.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


@pytest.mark.parametrize("target", [None, "truck"])
def test_the_heat_map_and_the_blocks_are_those_of_the_network(explaining, photograph, target):
    picture = photograph("PNG", (32, 32))
    query = {} if target is None else {"target": target}
    told = explaining.post("/v1/explain", files={"a": picture}, params=query).json()
    predictor = load(RUN)
    network, classes = predictor.network, predictor.card.classes
    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(picture)))).permute(2, 0, 1)
    image = predictor.inputs(pixels[None])
    with torch.no_grad():
        logits = network(image)
    position = int(logits.argmax()) if target is None else classes.index(target)
    assert told["explained"] == classes[position]
    assert told["value"] == pytest.approx(logits[0, position].item(), abs=1e-4)
    expected = attribute(network, image, one_output(position))[0]
    heat = picture_of(told["heat"])
    assert heat.shape == (32, 32, 4)
    strength = (expected / torch.quantile(expected, 0.99)).clamp(max=1)
    np.testing.assert_allclose(heat[..., 3], 255 * strength.numpy(), atol=1)
    parts = block_parts(network, image)
    assert [block["block"] for block in told["blocks"]] == [part.block for part in parts]
    for block, part in zip(told["blocks"], parts, strict=True):
        assert block["ratio"] == pytest.approx(part.ratio.item(), rel=1e-4)
        if part.outputs is None:
            assert block["change"] is None
        else:
            assert block["change"] == pytest.approx((part.outputs - logits)[0, position].item(), abs=1e-4)


def test_what_cannot_be_explained_is_said(explaining, photograph):
    def ask(status: int, sentence: str, **request: object) -> None:
        answer = explaining.post("/v1/explain", **request)
        assert (answer.status_code, sentence in answer.json()["error"]) == (status, True), answer.text

    ask(422, "no picture of a kind", files={"a": b"hello"})
    ask(422, "broken or cut off", files={"a": photograph()[:300]})
    ask(413, "one picture is explained at a time", files=[("a", ("a", b"1")), ("a", ("b", b"1"))])
    ask(400, "target: resnet20-cifar10 knows nothing of this name", files={"a": photograph()}, params={"target": "x"})
    ask(404, "there is no such model", files={"a": photograph()}, params={"model": "x"})
    ask(400, "class", files={"a": photograph()}, params={"class": "cat"})


def test_a_run_without_explanations_says_why(serve, photograph, tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    write_export(find_run(RUN), tmp_path / "exported", "onnx")
    client = serve(RUN, str(tmp_path / "exported"), explains=True).client
    assert [model["explains"] for model in client.get("/v1/models").json()["models"]] == [True, False]
    answer = client.post("/v1/explain?model=exported", files={"a": photograph()})
    assert answer.status_code == 404
    assert "it is an export without weights" in answer.json()["error"]
    assert "/" not in answer.json()["error"]
    without = serve(explains=False).client
    assert without.post("/v1/explain", files={"a": photograph()}).json()["error"] == (
        f"there are no explanations by {RUN}: this server gives no explanations"
    )


def test_explanations_have_a_bounded_queue(serve, photograph, monkeypatch):
    service = serve(explains=True, limits=Limits(rate=0, seconds=20))
    explainer = service.models.find(None).explainer
    monkeypatch.setattr(explainer, "queue", 1)
    go_on, compute = threading.Event(), explainer._compute
    monkeypatch.setattr(explainer, "_compute", lambda batch: go_on.wait(20) and compute(batch))
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(service.client.post("/v1/explain", files={"a": photograph()}))
    )
    asking.start()
    while not explainer.taken:
        pass
    full = service.client.post("/v1/explain", files={"a": photograph()})
    assert (full.status_code, full.json()["error"], full.headers["retry-after"]) == (503, "the queue is full", "1")
    assert service.client.post("/v1/predict", files={"a": photograph()}).status_code == 200
    go_on.set()
    asking.join()
    assert answers[0].status_code == 200


def test_objects_have_boxes_and_masks(serve, photograph, untrained):
    run = untrained("maskrcnn_resnet18_fpn", "detection", ("cat", "dog"), threshold=1e-6)
    client = serve(str(run.folder), explains=True).client
    (facts,) = client.get("/v1/models").json()["models"]
    assert (facts["explains"], facts["colours"]) == (False, ["#e69f00", "#56b4e9"])
    content = photograph("PNG", (80, 60))
    expected = load(run.folder)(content)
    assert expected.boxes
    plain, told = (
        client.post(f"/v1/predict{query}", files={"a": content}).json()["predictions"][0]
        for query in ("", "?masks=true")
    )
    assert "masks" not in plain
    np.testing.assert_allclose(told["boxes"], expected.boxes, atol=0.01)
    assert told["size"] == [60, 80]
    assert len(told["masks"]) == len(told["boxes"])
    for address, cells in zip(told["masks"], expected.masks, strict=True):
        np.testing.assert_allclose(picture_of(address), 255 * cells.numpy(), atol=1)
    refused = client.post("/v1/explain", files={"a": content})
    assert "there are no explanations of detection yet" in refused.json()["error"]


def test_every_pixel_has_a_class(serve, photograph, untrained):
    run = untrained("fcn_resnet18", "segmentation", ("road", "sky", "tree"))
    client = serve(str(run.folder)).client
    content = photograph("PNG", (80, 60))
    expected = load(run.folder)(content)
    told = client.post("/v1/predict?masks=true", files={"a": content}).json()["predictions"][0]
    np.testing.assert_array_equal(picture_of(told["mask"]), expected.mask.numpy())
    assert told["values"] == pytest.approx(dict(expected.values))
    assert "mask" not in client.post("/v1/predict", files={"a": content}).json()["predictions"][0]
    (facts,) = client.get("/v1/models").json()["models"]
    assert len(set(facts["colours"])) == 3
