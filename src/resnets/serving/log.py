"""One line of JSON an event, on standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

LOGGER = logging.getLogger("resnets.serving")

STRANGERS = ("PIL", "python_multipart")
"""Libraries whose remarks are about what strangers send, which refusals say already."""


class JsonLines(logging.Formatter):
    """Time, level, event, what was given as `extra={"fields": {...}}`, and the trace of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def event(name: str, level: int = logging.INFO, error: BaseException | None = None, **fields: object) -> None:
    """Write one event."""
    LOGGER.log(level, name, extra={"fields": fields}, exc_info=error)


def write_events() -> None:
    """Have this process write its events, and warnings of libraries, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for logger, level in ((LOGGER, logging.INFO), (logging.getLogger(), logging.WARNING)):
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    for name in STRANGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
