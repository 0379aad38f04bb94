"""Whatever strangers send: an answer in one sentence, never an error of the server's own."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnets.serving.intake import first_of

KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
BEGINNINGS = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"GIF89a", b"BM", b""]
quick = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def answered(response) -> dict:
    """What any answer must be: of a known status, with predictions or a sentence, and nothing of our insides."""
    assert response.status_code in (200, 400, 413, 415, 422), response.text
    content = response.json()
    assert ("predictions" in content) == (response.status_code == 200)
    if response.status_code != 200:
        assert 5 < len(content["error"]) < 500
    for inside in ("Traceback", "0x7", "BytesIO", "site-packages"):
        assert inside not in response.text
    return content


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(data=st.data())
def test_damaged_pictures(client, photograph, kind, data):
    whole = bytearray(photograph(kind))
    end = data.draw(st.integers(0, len(whole)))
    for _ in range(data.draw(st.integers(0, 8))):
        whole[data.draw(st.integers(0, min(len(whole) - 1, 400)))] = data.draw(st.integers(0, 255))
    answered(client.post("/v1/predict", content=bytes(whole[:end]), headers={"content-type": "image/x"}))


@quick
@given(
    st.binary(max_size=300), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"GIF89a", b"BM", b""])
)
def test_bytes_that_begin_as_pictures(client, rest, beginning):
    answered(client.post("/v1/predict", content=beginning + rest, headers={"content-type": "image/x"}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@quick
@given(JSON | st.fixed_dictionaries({"pictures": st.lists(st.fixed_dictionaries({}, optional={
    "name": JSON, "base64": JSON, "url": JSON}), max_size=3)}))  # fmt: skip
def test_json_of_any_shape(client, content):
    body = json.dumps(content).encode()
    answered(client.post("/v1/predict", content=body, headers={"content-type": "application/json"}))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"pictures": [{"name": "\\ud800", "base64": ""}]}',
        b'{"pictures": [{"base64": "' + b"A" * 1_000_001 + b'"}]}',
        b'{"pictures": NaN}',
        b"\xff\xfe",
        b'{"pictures": [' + b'{"base64": ""},' * 10_000 + b'{"base64": ""}]}',
        b'{"pictures": [' + b"1," * 10**6 + b"1]}",
        b'{"pictures": [{' + b",".join(b'"%d":1' % number for number in range(10**6)) + b"}]}",
    ],
)
def test_json_that_is_hard_to_read(client, body, monkeypatch):
    """Of a million wrong parts not a million errors are made, which took a kilobyte of memory each."""
    wrong = []
    monkeypatch.setattr("resnets.serving.intake.first_of", lambda error: wrong.append(error) or first_of(error))
    answered(client.post("/v1/predict", content=body, headers={"content-type": "application/json"}))
    assert all(error.error_count() < 10 for error in wrong)


@quick
@given(
    st.lists(st.tuples(st.binary(max_size=60), st.binary(max_size=60)), max_size=3),
    st.sampled_from([b"", b"--x", b"--x--", b"--x--\r\n", b"\r\n--x--\r\n"]),
)
def test_forms_of_any_shape(client, parts, end):
    body = b"".join(b"--x\r\n" + header + b"\r\n\r\n" + content + b"\r\n" for header, content in parts) + end
    answered(client.post("/v1/predict", content=body, headers={"content-type": "multipart/form-data; boundary=x"}))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a" * 10_000, 'x"\r\ny', "\udcff", "é\0"])
def test_names_of_files_are_only_told_back(client, photograph, name):
    header = b'Content-Disposition: form-data; name="a"; filename="%s"\r\n\r\n' % name.encode(
        "utf-8", "surrogateescape"
    )
    body = b"--x\r\n" + header + photograph() + b"\r\n--x--\r\n"
    response = client.post("/v1/predict", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    content = answered(response)
    if response.status_code == 200:
        assert len(content["predictions"][0]["name"]) <= 200


def png(width: int, height: int, data: bytes = b"", bits: int = 8) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "bomb",
    [
        png(30_000, 30_000, zlib.compress(bytes(30_000 * 3751), 9), bits=1),  # 109 kB
        png(2**31 - 1, 2**31 - 1),
        b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\0\0\0,\0\0\0\0"
        + struct.pack("<HH", 65535, 65535)
        + b"\0\2\0",
        b"BM" + struct.pack("<IHHIIiiHHII", 100, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0) + bytes(60),
    ],
)
def test_bombs_are_refused_by_their_header(client, bomb):
    response = client.post("/v1/predict", content=bomb, headers={"content-type": "image/png"})
    assert "pixels" in answered(response)["error"]


def test_lines_are_refused_before_they_are_resized(client):
    """1 x 60,000 pixels that cover 32 x 32 would be 32 x 1,920,000."""
    line = png(1, 60_000, zlib.compress(bytes(60_000 * 2)))
    assert len(line) < 1000
    response = client.post("/v1/predict", content=line, headers={"content-type": "image/png"})
    assert "one side may be 50 times the other" in answered(response)["error"]
    wide = png(50, 1, zlib.compress(bytes(51)))
    assert client.post("/v1/predict", content=wide, headers={"content-type": "image/png"}).status_code == 200


@quick
@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(["model", "top", "other"]))
def test_queries_of_any_kind(client, value, kind, name):
    headers = {"content-type": kind.encode("utf-8")}
    response = client.post("/v1/predict", params={name: value}, content=b"x", headers=headers)
    assert response.status_code in (400, 404, 413, 415, 422)
    assert response.json()["error"]
