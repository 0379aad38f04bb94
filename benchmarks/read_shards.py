"""Pictures a second that are read for training: from a folder, from shards on disk, and from shards behind HTTP.

Pictures of 500 x 375 pixels are made, as large as those of ImageNet are on average; each contender reads an epoch of
random parts of 224 x 224 pixels by worker processes, files being in the system's memory. The HTTP server is one of
Python's on this machine, and every epoch fetches all shards anew: the last line has the cost of fetching, checking and
keeping them, not that of a network.

    python benchmarks/read_shards.py --count 2000 --json shards.json
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from common import parser, report, take_turns
from PIL import Image

from resnets.data.loading import Loader
from resnets.data.opening import open_dataset
from resnets.data.packing import write_shards
from resnets.data.sources.folder import open as open_folder
from resnets.data.transforms import Augmentation
from resnets.types import Preprocessing

SEEN = Preprocessing((224, 224), 3, (0.5,) * 3, (0.25,) * 3)
BATCH, CLASSES = 64, 10


class Quiet(SimpleHTTPRequestHandler):
    """A server that says nothing of each request."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def make(folder: Path, count: int) -> None:
    """Write pictures of clouds into class folders."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        noise = torch.randint(0, 256, (38, 50, 3), dtype=torch.uint8, generator=generator)
        clouds = Image.fromarray(noise.numpy()).resize((500, 375), Image.Resampling.BICUBIC)
        path = folder / "train" / str(number % CLASSES) / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        clouds.save(path, quality=95)


def epochs(source: str, cache: Path | None = None) -> Callable[[], float]:
    """Reads one epoch after another, with nothing in a cache, and says how fast."""
    train = open_dataset(source).splits["train"]
    cut = Augmentation(scale=(0.08, 1.0), flip=True)
    loader = Loader(train, SEEN, BATCH, shuffle=True, augmentation=cut, memory_limit=0)
    number = 0

    def measure() -> float:
        nonlocal number
        number += 1
        if cache is not None:
            shutil.rmtree(cache, ignore_errors=True)
        started = time.perf_counter()
        pictures = sum(len(batch) for batch in loader.epoch(number))
        return pictures / (time.perf_counter() - started)

    return measure


def main() -> None:
    """Make the pictures, measure, report."""
    flags = parser(__doc__)
    flags.add_argument("--count", type=int, default=4000, help="pictures")
    asked = flags.parse_args()
    count = min(asked.count, 400) if asked.quick else asked.count
    with TemporaryDirectory() as temporary:
        cache = Path(temporary, "cache")
        os.environ["RESNETS_CACHE"] = str(cache)
        folder, shards = Path(temporary, "folder"), Path(temporary, "shards")
        make(folder, count)
        write_shards(open_folder(str(folder)), shards, 16_000_000)
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(shards))) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_address[1]}"
            contenders = {"folder": epochs(str(folder)), "shards": epochs(str(shards)), "HTTP": epochs(address, cache)}
            speeds = take_turns(contenders, 2 if asked.quick else 5)
            server.shutdown()
    report(f"Reading {count:,} pictures for training", "pictures/s", speeds, "folder", asked.json)


if __name__ == "__main__":
    main()
