"""What Prometheus is told."""

from __future__ import annotations

try:
    from prometheus_client import (
        CONTENT_TYPE_LATEST,
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        disable_created_metrics,
        generate_latest,
    )
    from prometheus_client.process_collector import ProcessCollector
except ImportError as error:
    raise ImportError("serving needs prometheus-client: pip install 'resnets[serve]'") from error

disable_created_metrics()  # which double the series and tell nothing that a restart does not

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The figures of one server, and of its process.

    Attributes:
        requests: answered, by path and status.
        seconds: from a request's header to the end of its answer, by path.
        pictures: by model and outcome, "answered" or "unreadable".
        batches: pictures of each batch, by model.
        computing: seconds of each batch, by model.
        queue: pictures that are taken on, by model.
        versions: 1 for the version of each model that answers.
        reloads: of runs that changed, by model and outcome, "loaded" or "failed".
        held: bytes of the bodies that are worked on.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("resnets_requests", "Requests answered", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "resnets_request_seconds", "Time of a request", ["path"], buckets=SECONDS, registry=registry
        )
        self.pictures = Counter("resnets_pictures", "Pictures", ["model", "outcome"], registry=registry)
        self.batches = Histogram(
            "resnets_batch_pictures", "Pictures of a batch", ["model"], buckets=SIZES, registry=registry
        )
        self.computing = Histogram(
            "resnets_batch_seconds", "Time of a batch", ["model"], buckets=SECONDS, registry=registry
        )
        self.queue = Gauge("resnets_queue_pictures", "Pictures that are taken on", ["model"], registry=registry)
        self.versions = Gauge(
            "resnets_model_version", "The version that answers", ["model", "version"], registry=registry
        )
        self.reloads = Counter("resnets_reloads", "Runs that changed", ["model", "outcome"], registry=registry)
        self.held = Gauge("resnets_held_bytes", "Bodies that are worked on", registry=registry)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)
