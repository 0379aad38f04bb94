"""Connections that ask nothing: each counts towards the limit, so that it is closed after a while."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def closing_idle(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, closing connections of which no request has come within so many seconds.

    uvicorn itself does so only after an answer, and no more once a byte of the next request is there, so that nothing
    at all or half a header would keep a connection for ever. A request whose header is there is another's business,
    but what is not read of its answer within so many seconds ends the connection, too.
    """

    class ClosingIdle(H11Protocol):
        _giving_up: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._stop_waiting()
            self._was_read()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._was_read()

        def _was_read(self) -> None:
            if self._unread is not None:
                self._unread.cancel()
                self._unread = None

        def _wait(self) -> None:
            self._stop_waiting()
            if not self.transport.is_closing():
                self._giving_up = self.loop.call_later(seconds, self._give_up)

        def _stop_waiting(self) -> None:
            if self._giving_up is not None:
                self._giving_up.cancel()
                self._giving_up = None

        def _give_up(self) -> None:
            if self.cycle is None or self.cycle.response_complete:
                if self.transport.get_write_buffer_size():  # which close would wait for
                    self.transport.abort()
                self.transport.close()

    return ClosingIdle
