"""A server in this process, answering by the network of the package."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from resnets.inference.predictor import load
from resnets.runs.card import Card
from resnets.runs.run import Run
from resnets.serving.app import create_app
from resnets.serving.limits import Limits
from resnets.serving.metrics import Metrics
from resnets.serving.models import Models, name_runs
from resnets.types import Preprocessing
from resnets.weights.models import create_model

RUN = "resnet20-cifar10"


@dataclass
class Service:
    """A client of a server, and what the server is made of."""

    client: TestClient
    models: Models
    metrics: Metrics


Serve = Callable[..., Service]


@pytest.fixture(scope="session")
def serve_session() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(*runs: str, limits: Limits | None = None, explains: bool = False, **options: Any) -> Service:
            limits, metrics = limits or Limits(rate=0), Metrics()
            models = Models(name_runs(runs or (RUN,)), load, limits, metrics, explains)
            app = create_app(models, limits, metrics, **options)
            client = TestClient(app, raise_server_exceptions=False)
            return Service(stack.enter_context(client), models, metrics)

        yield start


@pytest.fixture
def serve(serve_session: Serve) -> Serve:
    return serve_session


@pytest.fixture(scope="session")
def client(serve_session: Serve) -> TestClient:
    return serve_session().client


@pytest.fixture(scope="session")
def photograph() -> Callable[..., bytes]:
    """A picture file of some kind with colours that differ from place to place."""

    def make(kind: str = "JPEG", size: tuple[int, int] = (96, 64), seed: int = 0, **options: Any) -> bytes:
        drawn = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(drawn).resize(size, Image.Resampling.BICUBIC).save(file, kind, **options)
        return file.getvalue()

    return make


@pytest.fixture
def untrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Makes runs of untrained networks that see all of a picture, one picture at a time."""
    monkeypatch.setattr("resnets.inference.predictor.BATCH_PIXELS", 64 * 64)

    def make(model: str, task: str, classes: tuple[str, ...], **settings: float) -> Run:
        torch.manual_seed(0)
        network, run = create_model(model, num_classes=len(classes)).eval(), Run(tmp_path / task)
        run.write_network(network)
        seen = Preprocessing((64, 64), 3, mean=(0.5,) * 3, std=(0.25,) * 3, fit="contain")
        run.write_card(Card(model, task, network.architecture.to_dict(), classes, seen, settings=settings))
        return run

    return make
