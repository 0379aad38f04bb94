"""The server: from runs to a process that listens until it is told to stop."""

from __future__ import annotations

import signal
import socket
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from resnets.inference.predictor import Predictor
from resnets.serving.app import create_app
from resnets.serving.guards import Keys
from resnets.serving.limits import Limits
from resnets.serving.log import event, write_events
from resnets.serving.metrics import Metrics
from resnets.serving.models import Models, name_runs

try:
    import uvicorn

    from resnets.serving.connections import closing_idle
except ImportError as error:
    raise ImportError("serving needs uvicorn: pip install 'resnets[serve]'") from error


def serve_runs(
    runs: Sequence[str],
    load: Callable[[str], Predictor],
    limits: Limits,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key_file: Path | None = None,
    hosts: Sequence[str] = (),
    trusted_proxies: str = "",
    look_every: float = 2.0,
    explains: bool = True,
    ready: Callable[[str, Models], None] = lambda _address, _models: None,
) -> None:
    """Answer requests until SIGINT or SIGTERM, then finish what was taken on.

    Args:
        runs: folders, or names of runs in the package, or NAME=FOLDER.
        load: gives a predictor for one.
        limits: of requests.
        host, port: to listen on; port 0 for any that is free.
        api_key_file: of keys, one a line.
        hosts: from which pictures are fetched.
        trusted_proxies: addresses, joined by commas, whose X-Forwarded-For says who a client is; "*" for any.
        look_every: seconds between two looks whether a run has changed; 0 for never.
        explains: whether answers are explained; see `Models`.
        ready: told the address and the models when requests are answered from now on.

    Raises:
        OSError: if the address is taken or is none of this machine, or a file is not there.
        ValueError: if runs have the same name, or a key or host is not written as one.
    """
    keys = None if api_key_file is None else Keys.from_file(api_key_file)
    with bind(host, port) as listener:
        metrics = Metrics()
        models = Models(name_runs(runs), load, limits, metrics, explains)
        app = create_app(models, limits, metrics, keys=keys, hosts=hosts, look_every=look_every)
        write_events()
        quiet_pictures(limits)
        config = uvicorn.Config(
            app,
            http=closing_idle(limits.seconds),  # by h11, which bounds what a header may hold
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(trusted_proxies),  # or any client on this machine could name itself
            forwarded_allow_ips=trusted_proxies or None,
            limit_concurrency=limits.connections,
            timeout_graceful_shutdown=round(2 * limits.seconds),
        )
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"

        def announce() -> None:
            ready(address, models)
            event("listening", address=address, models={model.name: model.version for model in models})

        for stop in (signal.SIGINT, signal.SIGTERM):  # which uvicorn passes on when it has ended as it should
            signal.signal(stop, lambda *_: None)
        AnnouncingServer(config, announce).run(sockets=[listener])
        event("stopped")


class AnnouncingServer(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._announce()


def bind(host: str, port: int) -> socket.socket:
    """A socket of an address, which refuses connections until it is listened to.

    Raises:
        OSError: naming the address.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        return listener
    except (OSError, OverflowError) as error:
        listener.close()
        raise OSError(f"{host}:{port} cannot be listened on: {error}; choose another by --host and --port") from None


def quiet_pictures(limits: Limits) -> None:
    """Have Pillow refuse, in this process, pictures beyond the limit, and keep its remarks about broken ones to itself.

    Python remembers every remark that it has shown, so that strangers' pictures would fill the memory.
    """
    Image.MAX_IMAGE_PIXELS = int(limits.megapixels * 1e6)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
