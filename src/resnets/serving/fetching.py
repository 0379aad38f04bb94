"""Pictures from addresses, of hosts that the operator named and no others."""

from __future__ import annotations

import time
from collections.abc import Iterable
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

_CHUNK = 64 * 1024


class _NoRedirects(HTTPRedirectHandler):
    """A host that is allowed cannot send us to one that is not."""

    def redirect_request(self, *_arguments: object, **_named: object) -> None:
        return None


class Fetcher:
    """Fetches what addresses name.

    Args:
        hosts: `example.org` for https://example.org, or with scheme and port, `http://localhost:9000`.
        seconds: the longest that one may take.

    Raises:
        ValueError: for a host that is written otherwise.
    """

    def __init__(self, hosts: Iterable[str], seconds: float) -> None:
        self.origins = frozenset(map(_allowed, hosts))
        self.seconds = seconds
        self._opener: OpenerDirector = build_opener(ProxyHandler({}), _NoRedirects)

    def fetch(self, address: str, size: int) -> bytes:
        """What an address gives, up to `size` bytes.

        Raises:
            ValueError: if its host is not allowed, it cannot be reached, or it gives too much.
        """
        try:
            origin = _origin(address)
        except ValueError:
            origin = None
        if origin is None or origin not in self.origins:
            raise ValueError("the server fetches nothing from this address: its operator has not allowed the host")
        until = time.monotonic() + self.seconds
        content = bytearray()
        try:
            request = Request(address, headers={"User-Agent": "resnets", "Accept": "image/*"})
            with self._opener.open(request, timeout=self.seconds) as answer:
                while chunk := answer.read1(_CHUNK):
                    content += chunk
                    if len(content) > size:
                        raise ValueError("the address gives more than a request may have")
                    if time.monotonic() > until:
                        raise TimeoutError
        except HTTPError as error:
            raise ValueError(f"the address answers {error.code}") from None
        except (OSError, HTTPException):
            raise ValueError("the address cannot be reached") from None
        return bytes(content)


def _origin(address: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address.

    Raises:
        ValueError: if it is not an address of http or https, or has more before its host.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError(f"{address!r} is no address of http or https")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _allowed(host: str) -> tuple[str, str, int]:
    if "*" in host or any(map(str.isspace, host)):
        raise ValueError(f"{host!r} names more than a host; each is named by itself, without * or spaces")
    address = host if "://" in host else f"https://{host}"
    origin = _origin(address)
    if urlsplit(address).path.strip("/"):
        raise ValueError(f"{host!r} names more than a host; give example.org or http://example.org:8080")
    return origin
