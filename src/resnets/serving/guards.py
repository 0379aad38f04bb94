"""Who may ask, and how often."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SHORTEST = 16
"""Characters of a key, so that none can be guessed."""

CLIENTS = 10_000
"""Clients that are remembered at a time; whoever has been silent for longest is forgotten."""

BURST = 2.0
"""Seconds of a client's rate that it may use at once."""


class Keys:
    """Secrets of which a client must show one.

    Args:
        keys: one a client, at least `SHORTEST` characters each.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(map(_digest, keys))

    @classmethod
    def from_file(cls, path: Path) -> Keys:
        """The keys of a file, one a line; empty lines and those that begin with # say nothing.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if there is no key in it, or one that is too short or that no header can show.
        """
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise ValueError(f"{path} has no keys; write one a line, such as `openssl rand -hex 24` gives")
        for number, key in enumerate(keys, 1):
            if len(key) < SHORTEST:
                raise ValueError(f"key {number} of {path} has {len(key)} characters; at least {SHORTEST} are needed")
            if not key.isascii():  # headers are read as Latin-1, so that none would be found
                raise ValueError(f"key {number} of {path} has letters that headers have not; use those of ASCII")
        return cls(keys)

    def find(self, shown: str) -> int | None:
        """The number of a key, or None; it takes as long whether and where it is found."""
        digest, found = _digest(shown), None
        for number, known in enumerate(self._digests):
            if hmac.compare_digest(known, digest):
                found = number
        return found


def _digest(key: str) -> bytes:
    """Of one length, whatever the key's, so that comparing tells nothing of it."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


@dataclass
class _Bucket:
    tokens: float
    filled: float


class Rate:
    """A token bucket for each client.

    Args:
        rate: requests a second on average; 0 for any number.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.burst = max(rate * BURST, 1.0)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Take one request of a client's: 0 if it may be made, or the seconds after which it may."""
        if not self.rate:
            return 0.0
        bucket = self._buckets.setdefault(client, _Bucket(self.burst, now))
        self._buckets.move_to_end(client)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        bucket.tokens = min(bucket.tokens + (now - bucket.filled) * self.rate, self.burst)
        bucket.filled = now
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self.rate
        bucket.tokens -= 1
        return 0.0
