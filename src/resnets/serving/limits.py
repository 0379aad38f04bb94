"""What the server takes on; whatever is beyond it is refused with a sentence that says so."""

from __future__ import annotations

from dataclasses import dataclass

MOST_PICTURES = 1000
"""The most that `Limits.pictures` may be; of JSON no more are read."""


@dataclass(frozen=True)
class Limits:
    """Bounds of requests and of the work that is waiting.

    Attributes:
        body_mb: of a request's body, in millions of bytes.
        megapixels: of a picture, in millions, by what its header says.
        pictures: of a request, up to `MOST_PICTURES`.
        queue: pictures of a run that are taken on at a time; what does not fit is answered 503.
        memory_mb: of the bodies of all requests that are worked on, in millions of bytes; 503 beyond it.
        seconds: for a request to begin on a connection, for it to arrive, and again for its answer.
        rate: requests a second that a client may make on average, and twice as many at once; 0 for any number.
        connections: that are open at a time.
    """

    body_mb: float = 20.0
    megapixels: float = 50.0
    pictures: int = 32
    queue: int = 256
    memory_mb: float = 500.0
    seconds: float = 30.0
    rate: float = 100.0
    connections: int = 1000

    def __post_init__(self) -> None:
        for name in ("body_mb", "megapixels", "pictures", "queue", "memory_mb", "seconds", "connections"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.rate < 0:
            raise ValueError(f"rate must be at least 0, not {self.rate}")
        if self.pictures > MOST_PICTURES:
            raise ValueError(f"a request may have up to {MOST_PICTURES} pictures, not {self.pictures}")
        if self.pictures > self.queue:
            raise ValueError(
                f"a request may have {self.pictures} pictures, but the queue takes {self.queue}; make it longer"
            )
        if self.body_mb > self.memory_mb:
            raise ValueError(f"a body may have {self.body_mb} MB, but all together {self.memory_mb}; raise memory_mb")


class RefusedError(Exception):
    """A request that is not answered as it was meant.

    Args:
        status: of HTTP.
        reason: one sentence for the client.
        retry_after: seconds after which it may be worth asking again.
    """

    def __init__(self, status: int, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
