"""Ten thousand malformed requests to a server of its own process: no error of its own, no end of it, no growth.

The fast suite sends a few hundred; all of them: pytest -m slow tests/serving/test_malformed.py
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import median
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from PIL import Image

KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
BEGINNINGS = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"GIF89a", b"BM", b"RIFF", b"PK\3\4", b""]
PATHS = ["/v1/predict", "/v1/explain"]
GROWTH_MB = 24
"""Allowed from the first three tenths of the requests to the last, medians; a large picture may pass in between."""

Request = tuple[str, str, list[tuple[str, str]], bytes]
"""Method, path with query, headers and body."""


@cache
def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((60, 40)).convert("RGB").save(file, kind)
    return file.getvalue()


def png(width: int, height: int, bits: int, rows: int) -> bytes:
    """A header that promises much, and compressed rows of zeros."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    data = zlib.compress(bytes(rows * (1 + (min(width, 60_000) * bits + 7) // 8)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def archive(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        written.writestr(zipfile.ZipInfo(name), b"root::0:0::/:/bin/sh")
    return file.getvalue()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    whole = bytearray(picture(draw(st.sampled_from(KINDS))))
    for _ in range(draw(st.integers(0, 8))):
        whole[draw(st.integers(0, min(len(whole) - 1, 400)))] = draw(st.integers(0, 255))
    return bytes(whole[: draw(st.integers(0, len(whole)))])


bombs = st.builds(png, st.integers(1, 2**31 - 1), st.integers(1, 2**31 - 1), st.sampled_from([1, 8, 16]), st.just(1))
tall = st.builds(png, st.integers(20_000, 60_000), st.integers(20_000, 60_000), st.just(1), st.integers(1, 500))
slips = st.builds(archive, st.sampled_from(["../../etc/passwd", "/etc/passwd", "a/../../b", "C:\\x", "x" * 5000]))
beginnings = st.builds(bytes.__add__, st.sampled_from(BEGINNINGS), st.binary(max_size=300))
lines = st.integers(1, 60_000).map(lambda height: png(1, height, 8, height))
contents = st.one_of(damaged(), damaged(), bombs, tall, lines, slips, beginnings)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
asked = st.fixed_dictionaries(
    {
        "pictures": st.lists(
            st.fixed_dictionaries({}, optional={"name": JSON, "base64": JSON, "url": JSON, "path": JSON}), max_size=3
        )
    }
)
deep = st.builds(
    lambda begin, times: begin * times, st.sampled_from(["[", '{"pictures":[', '{"a":']), st.integers(1, 40_000)
)
documents = st.one_of(JSON.map(json.dumps), asked.map(json.dumps), deep, st.text(max_size=200)).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)
names = st.sampled_from(["a.png", "../../etc/passwd", "/etc/shadow", "x" * 10_000, "\0", "", 'q"; filename="b'])


def form(parts: list[tuple[str, str, bytes]], end: bytes) -> bytes:
    return b"".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, file, content in parts
    ) + end  # fmt: skip


forms = st.builds(
    form,
    st.lists(st.tuples(names, names, contents), max_size=4),
    st.sampled_from([b"--x--\r\n", b"", b"--x", b"--y--"]),
)
queries = st.one_of(
    st.just({}),
    st.dictionaries(st.sampled_from(["model", "top", "masks", "target", "other"]), st.text(max_size=30), max_size=3),
)
kinds = st.one_of(
    st.sampled_from(
        ["image/png", "application/json", "application/zip", "multipart/form-data; boundary=x", "text/plain"]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
)
odd_headers = st.lists(
    st.tuples(
        st.sampled_from(["X-Request-ID", "Authorization", "Accept", "Content-Encoding", "Sec-Fetch-Site", "Cookie"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80).map(str.strip),
    ),
    max_size=3,
)


def request_of(path: str, query: dict, kind: str, more: list[tuple[str, str]], body: bytes) -> Request:
    address = f"{path}?{urlencode(query, errors='surrogatepass')}" if query else path
    return "POST", address, [("Content-Type", kind.strip()), *more], body


def requests(kind: st.SearchStrategy[str], body: st.SearchStrategy[bytes]) -> st.SearchStrategy[Request]:
    return st.builds(request_of, st.sampled_from(PATHS), queries, kind, odd_headers, body)


by_hand = st.one_of(
    requests(st.just("image/x"), contents),
    requests(st.just("application/json"), documents),
    requests(st.just("multipart/form-data; boundary=x"), forms),
    requests(kinds, contents | documents | forms),
)


def written(request: Request) -> bytes:
    method, address, headers, body = request
    lines = [f"{method} {address} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@st.composite
def broken_http(draw: st.DrawFn) -> bytes:
    """What is hardly HTTP: wrong lengths and chunks, huge headers, no end."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\n"
    return draw(
        st.one_of(
            st.binary(min_size=1, max_size=400),
            st.integers(1_000, 200_000).map(lambda size: head + b"X-Large: " + b"a" * size + b"\r\n\r\n"),
            st.integers(10, 2_000).map(lambda count: head + b"X-Many: 1\r\n" * count + b"\r\n"),
            st.integers(-5, 10**30).map(lambda size: head + b"Content-Length: %d\r\n\r\nabc" % size),
            st.binary(max_size=60).map(lambda rest: head + b"Transfer-Encoding: chunked\r\n\r\n" + rest),
            st.tuples(st.just(head), damaged()).map(lambda pair: pair[0] + b"Content-Length: 100000\r\n\r\n" + pair[1]),
            st.binary(max_size=80).map(
                lambda path: b"GET /" + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            ),
        )
    )


@cache
def by_schema(raw: str) -> st.SearchStrategy[Request]:
    """Requests of every operation of the OpenAPI document, as it allows them and as it does not."""
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_dict(json.loads(raw))
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    cases = [found.ok().as_strategy(generation_mode=mode) for found in schema.get_all_operations() for mode in modes]

    def of(case) -> Request:
        body, kind = case.body, case.media_type or "application/json"
        if not isinstance(body, bytes):
            body = b"" if type(body).__name__ == "NotSet" else json.dumps(body, default=str).encode()
        query = {str(name): str(value) for name, value in (case.query or {}).items()}
        address = quote(case.path) + (f"?{urlencode(query, errors='replace')}" if query else "")
        headers = [("Content-Type", kind.replace("*", "png"))]
        return case.method.upper(), address, headers, body

    return st.one_of([case.map(of) for case in cases])


class Server:
    """A server in a process of its own, and what it has answered."""

    def __init__(self, log: Path) -> None:
        command = [sys.executable, "-m", "resnets.cli.main", "serve", "resnet20-cifar10", "--port", "0", "--rate", "0"]
        limits = ["--body-mb", "2", "--megapixels", "2", "--pictures", "8", "--seconds", "60"]
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen([*command, *limits], stdout=subprocess.DEVNULL, stderr=file)
        while not (found := re.search(r'"address": "http://127.0.0.1:(\d+)"', log.read_text())):
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.1)
        self.port = int(found[1])
        self.statuses: Counter[int] = Counter()
        self.sizes: list[float] = []

    def ask(self, raw: bytes, whole: bool = True) -> None:
        """Send it, and judge the answer; what is no whole request may be left without one."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as connection:
            answer = b""
            try:
                connection.sendall(raw)
                if not whole:  # there is no more to wait for
                    connection.shutdown(socket.SHUT_WR)
            except OSError:  # it was refused before its end
                pass
            try:
                while part := connection.recv(65536):
                    answer += part
            except ConnectionResetError:  # what was sent on after the answer was not read
                assert answer or not whole or len(raw) > 100_000
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head:
            self.statuses[0] += 1
            assert not whole or len(raw) > 100_000
            return
        status = int(head[9:12])
        self.statuses[status] += 1
        assert status < 500 or status == 503, (answer, raw[:300])
        assert b"Traceback" not in body
        assert b"site-packages" not in body
        if status >= 400 and b"application/json" in head:
            assert 5 < len(json.loads(body)["error"]) < 600
        elif status >= 400 and status != 499:
            assert not whole
            assert body == b"Invalid HTTP request received."

    def measure(self) -> None:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        self.sizes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

    def schema(self) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as connection:
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        return answer.partition(b"\r\n\r\n")[2].decode()


def send_all(server: Server, count: int, strategy: st.SearchStrategy, seed: int, whole: bool = True) -> None:
    """So many requests of a kind, the same whenever it is done."""
    bounds = settings(deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    until, rounds = server.statuses.total() + count, 0
    while (left := until - server.statuses.total()) > 0:
        rounds += 1

        @seeded(1000 * seed + rounds)
        @settings(bounds, max_examples=left)
        @given(strategy)
        def send(drawn) -> None:
            server.ask(written(drawn) if whole else drawn, whole)

        send()


def warm_up(server: Server) -> None:
    """The largest pictures that are taken, so that the memory for them is there."""
    for bits in (1, 8, 16):
        content = png(1400, 1400, bits, 1400)
        for path in (*PATHS, *PATHS):
            server.ask(written(("POST", path, [("Content-Type", "image/png")], content)))
        many = form([("a", "b", content)] * 8, b"--x--\r\n")
        server.ask(written(("POST", "/v1/predict", [("Content-Type", "multipart/form-data; boundary=x")], many)))
    assert server.statuses[200] == server.statuses.total() == 15


def storm(server: Server, count: int) -> None:
    """So many requests: six parts by hand, three by the schema, one of broken HTTP; the memory after each tenth."""
    schema = by_schema(server.schema())
    for part in range(10):
        if part == 9:
            send_all(server, count // 10, broken_http(), part, whole=False)
        else:
            send_all(server, count // 10, schema if part % 3 == 2 else by_hand, part)
        server.measure()


@pytest.fixture
def server(tmp_path):
    pytest.importorskip("schemathesis")
    running = Server(tmp_path / "log")
    yield running
    running.process.terminate()
    assert running.process.wait(90) == 0
    events = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert all(event["level"] in ("info", "warning") and "trace" not in event for event in events)


def test_hundreds_of_malformed_requests(server):
    storm(server, 200)
    assert server.process.poll() is None
    assert server.statuses.total() >= 200
    assert {200, 400, 415, 422} <= set(server.statuses)


@pytest.mark.slow
def test_ten_thousand_malformed_requests(server):
    warm_up(server)
    storm(server, 10_000)
    print(dict(server.statuses), [round(size) for size in server.sizes])
    assert server.process.poll() is None
    assert server.statuses.total() >= 10_000
    assert {200, 400, 413, 415, 422} <= set(server.statuses)
    assert median(server.sizes[-3:]) - median(server.sizes[:3]) < GROWTH_MB, server.sizes
