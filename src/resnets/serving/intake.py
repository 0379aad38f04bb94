"""From a request to the pictures in it, never more than the limits allow."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from resnets.serving.fetching import Fetcher
from resnets.serving.limits import MOST_PICTURES, Limits, RefusedError
from resnets.serving.metrics import Metrics
from resnets.serving.schemas import Asked

FIELDS = 16
"""Of a form, besides its files; they say nothing."""

LONGEST_NAME = 200
"""Characters of a picture's name that are told back."""

FETCHING = 8
"""Addresses that are fetched at a time."""

MOST_COMMAS = 20 * MOST_PICTURES
"""Of JSON, which has about as many values and names: each could be wrong, and an error takes hundreds of bytes."""

Pictures = list[tuple[str, bytes]]
"""Files of pictures with their names."""


class Intake:
    """Takes the pictures of requests.

    Args:
        limits: of bodies, pictures, memory and time.
        fetcher: for pictures that are addresses.
        metrics: that are kept up.
    """

    def __init__(self, limits: Limits, fetcher: Fetcher, metrics: Metrics) -> None:
        self._limits, self._fetcher, self._metrics = limits, fetcher, metrics
        self._threads = ThreadPoolExecutor(FETCHING, "fetching")
        self._held = 0

    @asynccontextmanager
    async def pictures(self, request: Request) -> AsyncIterator[Pictures]:
        """The pictures of a request, whose bytes count as held until the context is left.

        Raises:
            RefusedError: if the request is not of a kind that is taken, or beyond a limit.
        """
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            held += size
            self._held += size
            self._metrics.held.set(self._held)
            if held > self._limits.body_mb * 1e6:
                raise RefusedError(413, f"the request has more than {self._limits.body_mb:g} MB")
            if self._held > self._limits.memory_mb * 1e6:
                raise RefusedError(503, "the server is busy with other requests", 1.0)

        async def body() -> AsyncGenerator[bytes, None]:
            length = request.headers.get("content-length", "")
            if length.isdecimal() and int(length[:20]) > self._limits.body_mb * 1e6:
                raise RefusedError(413, f"the request has more than {self._limits.body_mb:g} MB")
            async for chunk in request.stream():
                hold(len(chunk))
                yield chunk

        try:
            try:
                async with asyncio.timeout(self._limits.seconds):
                    pictures = await self._read(request, body(), hold)
            except TimeoutError:
                raise RefusedError(408, f"the request took more than {self._limits.seconds:g} s to arrive") from None
            if not pictures:
                raise RefusedError(400, "the request has no picture; send files as multipart/form-data")
            if len(pictures) > self._limits.pictures:
                raise RefusedError(413, f"a request may have up to {self._limits.pictures} pictures")
            yield pictures
        finally:
            self._held -= held
            self._metrics.held.set(self._held)

    async def _read(self, request: Request, body: AsyncGenerator[bytes, None], hold: Callable[[int], None]) -> Pictures:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return await self._form(request, body)
        if kind == "application/json":
            return await self._json(b"".join([chunk async for chunk in body]), hold)
        if kind.startswith("image/") or kind == "application/octet-stream":
            content = b"".join([chunk async for chunk in body])
            return [("0", content)] if content else []
        raise RefusedError(
            415, "send multipart/form-data with files, application/json, or the bytes of one picture as image/*"
        )

    async def _form(self, request: Request, body: AsyncGenerator[bytes, None]) -> Pictures:
        parser = MultiPartParser(request.headers, body, max_files=self._limits.pictures, max_fields=FIELDS)
        parser.spool_max_size = int(self._limits.memory_mb * 1e6)  # nothing that is sent is written to a disk
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise RefusedError(400, f"the form cannot be read: {error.message}") from None
        except (FormParserError, ValueError):
            raise RefusedError(400, "the form cannot be read: it is not what its boundary says") from None
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        try:
            return [(_name(file.filename, number), await file.read()) for number, file in enumerate(files)]
        finally:
            await form.close()

    async def _json(self, body: bytes, hold: Callable[[int], None]) -> Pictures:
        asked = await asyncio.to_thread(_asked, body)
        if len(asked.pictures) > self._limits.pictures:
            raise RefusedError(413, f"a request may have up to {self._limits.pictures} pictures")
        pictures, most = [], int(self._limits.body_mb * 1e6)
        for number, given in enumerate(asked.pictures):
            name = _name(given.name, number)
            try:
                if given.url is None:
                    content = await asyncio.to_thread(base64.b64decode, given.base64 or "", validate=True)
                else:
                    loop = asyncio.get_running_loop()
                    content = await loop.run_in_executor(self._threads, self._fetcher.fetch, given.url, most)
                    hold(len(content))
            except binascii.Error:
                raise RefusedError(400, f"{name}: this is not base64") from None
            except ValueError as error:
                raise RefusedError(400, f"{name}: {error}") from None
            pictures.append((name, content))
        return pictures


def _asked(body: bytes) -> Asked:
    """What a request says in JSON.

    Raises:
        RefusedError: if it is not as it should be, or has so many parts that to say so would take long.
    """
    if body.count(b",") > MOST_COMMAS:
        raise RefusedError(413, f"the JSON has more than {MOST_COMMAS:,} commas; ask for fewer pictures at a time")
    try:
        return Asked.model_validate_json(body)
    except ValidationError as error:
        raise RefusedError(400, f"the JSON is not what is expected: {first_of(error)}") from None


def _name(given: str | None, number: int) -> str:
    return (given or str(number))[:LONGEST_NAME]


def first_of(error: ValidationError) -> str:
    """The first thing that is wrong, without the input, which may be large."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
