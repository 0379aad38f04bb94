"""Connections that ask nothing, to uvicorn with an application of a few lines."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import uvicorn

from resnets.serving.connections import closing_idle

WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SECONDS = 0.3


async def slow(scope, receive, send) -> None:
    """Takes longer than an idle connection lasts."""
    await asyncio.sleep(3 * SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def long(scope, receive, send) -> None:
    """Answers at length."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"20000000")]})
    await send({"type": "http.response.body", "body": bytes(20_000_000)})


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    answer = getattr(request, "param", slow)
    config = uvicorn.Config(answer, http=closing_idle(SECONDS), lifespan="off", log_config=None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("sent", [b"", WHOLE[:20]])
def test_a_connection_without_a_whole_header_is_closed(port, sent):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        assert connection.recv(100) == b""


@pytest.mark.parametrize("port", [long], indirect=True)
def test_an_answer_that_is_not_read_is_not_kept_for_ever(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(WHOLE)
        time.sleep(4 * SECONDS)
        read = 0
        with suppress(ConnectionResetError):  # the system may say it by an end, too
            while part := connection.recv(1 << 20):
                read += len(part)
        assert read < 20_000_000


def test_a_request_is_waited_for_and_the_next_is_not_for_ever(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(2):
            connection.sendall(WHOLE)
            answer = b""
            while not answer.endswith(b"ok"):
                part = connection.recv(1000)
                assert part
                answer += part
            assert answer.startswith(b"HTTP/1.1 200 OK")
        connection.sendall(WHOLE[:20])  # the beginning of one more
        assert connection.recv(100) == b""
