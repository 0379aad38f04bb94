"""Around every request: its id, the headers of its answer, its line in the log, and an end for whatever goes wrong."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from resnets.serving.log import event
from resnets.serving.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
"""Of every answer that does not say otherwise."""

QUIET = ("/healthz", "/readyz", "/metrics")
"""Paths that are asked every few seconds, whose answers are logged only where they fail."""

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Envelope:
    """An ASGI application around another.

    Args:
        application: the other.
        metrics: that are kept up.
        paths: that are told apart in the metrics; all others are "other".
    """

    def __init__(self, application: Application, metrics: Metrics, paths: Collection[str]) -> None:
        self._application = application
        self._metrics = metrics
        self._paths = frozenset(paths)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        identity = given if _ID.fullmatch(given) else uuid.uuid4().hex.encode()
        fields: dict[str, Any] = {}
        scope.setdefault("state", {}).update(request_id=identity.decode(), fields=fields)

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = dict(message.get("headers", ()))
                message["headers"] = [*(HEADERS | own).items(), (b"x-request-id", identity)]
            await send(message)

        error: Exception | None = None
        try:
            await self._application(scope, receive, send_on)
        except Exception as raised:  # a fault of ours: its trace is for the log, not for the client
            error = raised
            if not status:
                text = {"error": "something went wrong in the server", "request_id": identity.decode()}
                headers = [(b"content-type", b"application/json")]
                await send_on({"type": "http.response.start", "status": 500, "headers": headers})
                await send_on({"type": "http.response.body", "body": json.dumps(text).encode()})
        seconds, path = time.perf_counter() - began, scope["path"]
        label = path if path in self._paths else "other"
        self._metrics.requests.labels(label, str(status)).inc()
        self._metrics.seconds.labels(label).observe(seconds)
        if path in QUIET and status < 400:
            return
        event(
            "request",
            logging.INFO if error is None else logging.ERROR,
            error,
            request_id=identity.decode(),
            method=scope["method"],
            path=path[:200],
            status=status,
            ms=round(seconds * 1000, 1),
            client=(scope.get("client") or ("unknown",))[0],
            **fields,
        )
