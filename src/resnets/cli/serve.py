"""`resnets serve`: runs behind HTTP."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console

from resnets.inference.machine import keep_freed_memory
from resnets.inference.predictor import load
from resnets.serving.limits import Limits

if TYPE_CHECKING:
    from resnets.serving.models import Models

LOCAL = ("127.0.0.1", "::1", "localhost")


def serve(
    *runs: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    device: str | None = None,
    engine: str | None = None,
    precision: str | None = None,
    exact: bool = False,
    api_key_file: Path | None = None,
    allow_host: str = "",
    trusted_proxies: str = "",
    look_every: float = 2.0,
    explain: bool = True,
    **limits: Annotated[Any, Limits],
) -> None:
    """Answer pictures over HTTP, and on a page for people at /. What can be asked is at /docs.

    Pictures of all requests are gathered into batches. A run whose files change is loaded anew. SIGINT and SIGTERM end
    the server once what it has taken on is answered.

    Args:
        runs: run folders, exported or not, or names of runs in the package; NAME=FOLDER gives one a name. The first
            answers where a request names none.
        host: the address to listen on; 0.0.0.0 for every network that this machine is on.
        port: to listen on; 0 for any that is free.
        device: cpu, cuda...; by default a GPU if there is one.
        engine: eager, compiled, onnxruntime, openvino, or auto for the fastest here, by a short measurement that is
            remembered; by default eager, or what an export is for.
        precision: float32, bfloat16, int8 (of exports), or auto for bfloat16 where the hardware computes in it; by
            default float32, or what an export is in.
        exact: decode JPEG at full size even where half the size has twice the pixels that are needed.
        api_key_file: a file of keys, one a line, of which a client must show one (Authorization: Bearer KEY).
        allow_host: hosts from which pictures may be fetched, such as example.org,http://localhost:9000; by default
            none.
        trusted_proxies: addresses of proxies in front, joined by commas, whose X-Forwarded-For names the client, by
            which rates are counted; by default none.
        look_every: seconds between two looks whether a run's files have changed; 0 for never.
        explain: tell why, too, by heat maps and what each block adds, for which a second copy of each network is kept.
    """
    from resnets.serving.server import serve_runs

    if not runs:
        raise ValueError("name at least one run to serve")
    if look_every < 0:
        raise ValueError(f"--look-every must be at least 0, not {look_every}")
    console = Console()

    def ready(address: str, models: Models) -> None:
        names = ", ".join(f"{model.name} ({model.version})" for model in models)
        console.print(f"Serving {names} at {address}; Ctrl-C ends it", highlight=False)
        if host not in LOCAL and api_key_file is None:
            console.print(
                "Whoever reaches this address may ask; --api-key-file asks for keys", style="yellow", highlight=False
            )

    keep_freed_memory()
    serve_runs(
        runs,
        partial(load, device=device, engine=engine, precision=precision, exact=exact),
        Limits(**limits),
        host=host,
        port=port,
        api_key_file=api_key_file,
        hosts=[name for name in map(str.strip, allow_host.split(",")) if name],
        trusted_proxies=trusted_proxies,
        look_every=look_every,
        explains=explain,
        ready=ready,
    )
