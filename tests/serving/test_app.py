"""What clients may ask, and what they get."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from resnets.inference.predictor import load
from resnets.serving.guards import Keys
from resnets.serving.limits import Limits, RefusedError
from resnets.serving.log import LOGGER, JsonLines

RUN = "resnet20-cifar10"


def test_every_form_of_a_request_has_the_predictors_answer(client, photograph):
    pictures = [photograph(seed=seed) for seed in range(3)]
    expected = [load(RUN)(picture) for picture in pictures]
    form = client.post("/v1/predict?top=3", files=[("any", (f"{n}.jpg", p)) for n, p in enumerate(pictures)])
    asked = [{"name": f"{n}.jpg", "base64": base64.b64encode(p).decode()} for n, p in enumerate(pictures)]
    as_json = client.post("/v1/predict?top=3", json={"pictures": asked})
    assert form.status_code == as_json.status_code == 200
    for answers in (form.json()["predictions"], as_json.json()["predictions"]):
        for number, (answer, prediction) in enumerate(zip(answers, expected, strict=True)):
            assert answer["name"] == f"{number}.jpg"
            assert answer["classes"] == list(prediction.classes[:3])
            assert answer["probabilities"] == pytest.approx(prediction.probabilities[:3], abs=1e-5)
    alone = client.post("/v1/predict?top=3", content=pictures[0], headers={"content-type": "image/jpeg"})
    assert alone.json()["predictions"][0]["classes"] == list(expected[0].classes[:3])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_what_a_picture_is_called_says_nothing(client, photograph, kind):
    answer = client.post("/v1/predict", files={"a": ("letter.txt", photograph(kind), "text/plain")})
    assert len(answer.json()["predictions"][0]["classes"]) == 5


def test_a_broken_picture_has_an_error_and_the_others_are_answered(client, photograph):
    files = [("a", ("good.jpg", photograph())), ("a", ("bad.jpg", photograph()[:300])), ("a", ("../etc", b"hello"))]
    answer = client.post("/v1/predict", files=files)
    assert answer.status_code == 200
    good, bad, letter = answer.json()["predictions"]
    assert good["classes"]
    assert bad == {"name": "bad.jpg", "error": "the picture is broken or cut off"}
    assert "no picture of a kind that is read here: JPEG, PNG" in letter["error"]
    alone = client.post("/v1/predict", files=files[1:])
    assert alone.status_code == 422
    assert alone.json()["error"] == "bad.jpg: the picture is broken or cut off"


def test_each_refusal_has_its_status_and_one_sentence(serve, photograph):
    limits = Limits(body_mb=0.1, megapixels=0.01, pictures=2, rate=0)
    client = serve(limits=limits).client
    small = photograph("PNG", (40, 30))

    def files(count: int) -> dict:
        return {"files": [("a", ("a.png", small))] * count}

    def given(**picture: object) -> dict:
        return {"json": {"pictures": [picture]}}

    image = {"content-type": "image/png"}
    cases = [
        (413, "more than 0.1 MB", {"content": b"0" * 100_001, "headers": image}),
        (413, "more than 0.1 MB", {"content": iter([b"0" * 60_000] * 2), "headers": image}),  # says no length
        (400, "Too many files", files(3)),
        (413, "up to 2 pictures", {"json": {"pictures": [{"base64": ""}] * 3}}),
        (422, "has 200 x 100 pixels; up to 0.01 million", {"content": photograph("PNG", (200, 100)), "headers": image}),
        (415, "send multipart/form-data", {"data": {"a": "b"}}),
        (400, "no picture", {"content": b"", "headers": image}),
        (400, "no picture", {"data": {"a": "b"}, "files": {"b": ("", b"")}}),
        (400, "boundary", {"content": b"--x", "headers": {"content-type": "multipart/form-data"}}),
        (400, "either base64 or url", given(name="x")),
        (400, "either base64 or url", given(base64="", url="")),
        (400, "path: Extra inputs are not permitted", given(base64="", path="/etc/passwd")),
        (400, "not base64", given(base64="///")),
        (400, "Invalid JSON", {"content": b"{" * 100, "headers": {"content-type": "application/json"}}),
        (400, "has not allowed the host", given(url="file:///etc/passwd")),
        (400, "has not allowed the host", given(url="http://127.0.0.1:8000/")),
        (404, "there is no such model; there is resnet20-cifar10", {"params": {"model": "../x"}, **files(1)}),
        (400, "tops: Extra inputs are not permitted", {"params": {"tops": "3"}, **files(1)}),
        (400, "top: Input should be greater than or equal to 1", {"params": {"top": "0"}, **files(1)}),
    ]
    for status, sentence, request in cases:
        answer = client.post("/v1/predict", **request)
        assert (answer.status_code, sentence in answer.json()["error"]) == (status, True), (sentence, answer.text)
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert client.get("/v1/predict").status_code == 405
    assert client.get("/etc/passwd").json()["error"] == "there is nothing at this path; see /docs"
    assert client.get("/page/../app.py").status_code == 404
    assert client.get("/page/%2e%2e%2fapp.py").status_code == 404


def test_an_address_is_fetched_from_an_allowed_host_only_and_followed_nowhere(serve, photograph):
    class Pictures(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/elsewhere":
                self.send_response(302)
                self.send_header("location", "/picture")
                self.end_headers()
                return
            self.send_response(200 if self.path in ("/picture", "/large") else 404)
            self.end_headers()
            self.wfile.write(photograph() if self.path == "/picture" else b"0" * 2_000_000)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        client = serve(hosts=[host], limits=Limits(body_mb=1, seconds=20, rate=0)).client

        def ask(address: str):
            return client.post("/v1/predict", json={"pictures": [{"url": address}]})

        assert ask(f"{host}/picture").json()["predictions"][0]["classes"]
        for address, status, sentence in [
            (f"{host}/elsewhere", 400, "the address answers 302"),
            (f"{host}/none", 400, "the address answers 404"),
            (f"{host}/large", 400, "gives more than a request may have"),
            (f"http://localhost:{server.server_port}/picture", 400, "has not allowed"),
            (host.replace("//", "//127.0.0.1@") + "/picture", 400, "has not allowed"),
            ("http://[::1/picture", 400, "has not allowed"),
        ]:
            answer = ask(address)
            assert (answer.status_code, sentence in answer.text) == (status, True), answer.text
        server.shutdown()


def test_a_key_is_asked_for_where_there_are_keys(serve, photograph, tmp_path):
    path = tmp_path / "keys"
    path.write_text("# of the team\nfirst-key-0123456789\n\nsecond-key-0123456789\n")
    client = serve(keys=Keys.from_file(path)).client
    for shown in ({}, {"authorization": "Bearer wrong"}, {"authorization": "first-key-0123456789"}):
        for path_ in ("/v1/models", "/metrics"):
            answer = client.get(path_, headers=shown)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.post("/v1/predict", files={"a": photograph()}, headers=shown).status_code == 401
    for key in ("first", "second"):
        shown = {"authorization": f"Bearer {key}-key-0123456789"}
        assert client.post("/v1/predict", files={"a": photograph()}, headers=shown).status_code == 200
    assert client.get("/healthz").status_code == client.get("/").status_code == 200


def test_a_client_that_asks_too_often_waits(serve):
    client = serve(limits=Limits(rate=2)).client
    statuses = [client.get("/v1/models") for _ in range(6)]
    assert [answer.status_code for answer in statuses[:4]] == [200] * 4
    assert statuses[5].status_code == 429
    assert statuses[5].headers["retry-after"] == "1"


def test_pages_of_other_sites_may_not_ask(client, photograph):
    answer = client.post("/v1/predict", files={"a": photograph()}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    preflight = client.options("/v1/predict", headers={"origin": "http://x.org"})
    assert "access-control-allow-origin" not in preflight.headers


def test_a_full_queue_answers_503_and_finishes_what_it_took(serve, photograph, monkeypatch):
    service = serve(limits=Limits(queue=4, pictures=4, rate=0, seconds=20))
    model = service.models.find(None)
    go_on = threading.Event()
    compute = model.batcher._compute
    monkeypatch.setattr(model.batcher, "_compute", lambda batch: go_on.wait(20) and compute(batch))
    answers = []
    four = [("a", (f"{n}", photograph())) for n in range(4)]
    asking = threading.Thread(target=lambda: answers.append(service.client.post("/v1/predict", files=four)))
    asking.start()
    while model.batcher.taken < 4:
        pass
    full = service.client.post("/v1/predict", files=four[:1])
    assert (full.status_code, full.json()["error"]) == (503, "the queue is full")
    assert int(full.headers["retry-after"]) >= 1
    assert service.client.get("/readyz").status_code == 503
    assert service.client.get("/healthz").status_code == 200
    go_on.set()
    asking.join()
    assert answers[0].status_code == 200
    assert service.client.get("/readyz").status_code == 200
    assert model.batcher.taken == 0


def test_an_answer_that_takes_too_long_is_not_waited_for(serve, photograph, monkeypatch):
    service = serve(limits=Limits(seconds=0.3, rate=0))
    model = service.models.find(None)
    go_on = threading.Event()
    compute = model.batcher._compute
    monkeypatch.setattr(model.batcher, "_compute", lambda batch: go_on.wait(20) and compute(batch))
    answer = service.client.post("/v1/predict", files={"a": photograph()})
    assert (answer.status_code, answer.json()["error"]) == (503, "there was no answer within 0.3 s")
    assert model.batcher.taken == 0
    go_on.set()


def test_more_bodies_than_the_memory_holds_are_refused(serve, photograph):
    client = serve(limits=Limits(body_mb=0.001, memory_mb=0.001, rate=0)).client
    assert client.post("/v1/predict", files={"a": photograph()}).status_code == 413
    service = serve(limits=Limits(body_mb=1, memory_mb=1, rate=0))
    for _ in range(20):  # what was held is let go
        assert service.client.post("/v1/predict", files={"a": photograph(size=(900, 600))}).status_code == 200
    assert "resnets_held_bytes 0.0" in service.metrics.text().decode()


def test_what_goes_wrong_in_the_server_is_told_to_the_log_alone(serve, photograph, monkeypatch, caplog):
    service = serve()

    def broken(_batch: object) -> None:
        raise RuntimeError("a secret of /root")

    monkeypatch.setattr(service.models.find(None).batcher, "_compute", broken)
    with caplog.at_level(logging.INFO, LOGGER.name):
        answer = service.client.post("/v1/predict", files={"a": photograph()}, headers={"x-request-id": "mine-1"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "something went wrong in the server", "request_id": "mine-1"}
    line = json.loads(JsonLines().format(caplog.records[-1]))
    assert (line["level"], line["request_id"], line["status"]) == ("error", "mine-1", 500)
    assert "a secret of /root" in line["trace"]


def test_every_request_has_a_line_in_the_log(client, photograph, caplog):
    with caplog.at_level(logging.INFO, LOGGER.name):
        answer = client.post("/v1/predict", files={"a": photograph()}, headers={"x-request-id": "two\nlines"})
        client.get("/healthz")
    (record,) = caplog.records
    line = json.loads(JsonLines().format(record))
    assert line["request_id"] == answer.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", line["request_id"])
    assert (line["event"], line["path"], line["status"], line["model"], line["pictures"]) == (
        "request",
        "/v1/predict",
        200,
        RUN,
        1,
    )


def test_nothing_of_the_machine_is_told(client):
    told = client.get("/v1/models")
    (model,) = told.json()["models"]
    assert (model["name"], model["network"], model["size"], len(model["classes"])) == (RUN, "resnet20", [32, 32], 10)
    assert "/" not in told.text
    assert told.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "server" not in told.headers


def test_metrics_count_what_was_done(serve, photograph):
    service = serve()
    service.client.post("/v1/predict", files=[("a", ("a", photograph())), ("a", ("b", b"no"))])
    service.client.get("/no/such/path")
    text = service.client.get("/metrics").text
    version = service.models.find(None).version
    for line in [
        'resnets_requests_total{path="/v1/predict",status="200"} 1.0',
        'resnets_requests_total{path="other",status="404"} 1.0',
        f'resnets_pictures_total{{model="{RUN}",outcome="answered"}} 1.0',
        f'resnets_pictures_total{{model="{RUN}",outcome="unreadable"}} 1.0',
        f'resnets_model_version{{model="{RUN}",version="{version}"}} 1.0',
        f'resnets_queue_pictures{{model="{RUN}"}} 0.0',
    ]:
        assert line in text


def test_the_documentation_tells_of_every_path(client):
    schema = client.get("/openapi.json").json()
    page = client.get("/docs")
    assert "script" not in page.text
    for path in schema["paths"]:
        assert path in page.text
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schema)))
    assert references <= set(schema["components"]["schemas"])


def test_limits_that_contradict_each_other_are_an_error():
    with pytest.raises(ValueError, match="a request may have 32 pictures, but the queue takes 8"):
        Limits(queue=8)
    with pytest.raises(ValueError, match="seconds must be above 0, not 0"):
        Limits(seconds=0)
    with pytest.raises(ValueError, match="a request may have up to 1000 pictures, not 2000"):
        Limits(pictures=2000, queue=2000)
    assert str(RefusedError(400, "a sentence")) == "a sentence"


def test_a_slow_body_is_not_waited_for(serve):
    """Straight to the application, as the client of the tests sends bodies whole."""
    app = serve(limits=Limits(seconds=0.2, rate=0)).client.app
    sent = []

    async def ask() -> None:
        async def receive() -> dict:
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b"0", "more_body": True}

        async def send(message: dict) -> None:
            sent.append(message)

        headers = [(b"content-type", b"image/png")]
        scope = {"type": "http", "method": "POST", "path": "/v1/predict", "query_string": b"", "headers": headers}
        await app({**scope, "http_version": "1.1", "scheme": "http", "client": ("x", 1)}, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 408
