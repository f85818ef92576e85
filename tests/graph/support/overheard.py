"""The log of the served application, overheard as production writes it."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from graph.telemetry.logs import JsonFormatter

# What differs from run to run, and is looked at for itself.
VARYING = ("time", "request_id", "trace_id", "span_id", "database_us", "total_us")


class Log:
    """What was logged, as text and line by line."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line, parsed."""
        return [orjson.loads(line) for line in self.text.splitlines()]

    @property
    def operations(self) -> list[dict[str, Any]]:
        """The lines of operations and refused requests."""
        return [line for line in self.lines if line["logger"] == "folio.operation"]

    @property
    def steady(self) -> list[dict[str, Any]]:
        """The same without what varies."""
        return [{key: value for key, value in line.items() if key not in VARYING} for line in self.operations]


@contextmanager
def overheard(formatter: logging.Formatter | None = None, level: int = logging.INFO) -> Iterator[Log]:
    """Give the log of everybody but the tests' own HTTP client while the block runs."""
    log, root = Log(), logging.getLogger()
    handler = logging.StreamHandler(log.stream)
    handler.setFormatter(formatter or JsonFormatter())
    handler.addFilter(lambda record: not record.name.startswith("http"))
    before = root.level
    root.setLevel(level)
    root.addHandler(handler)
    try:
        yield log
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
