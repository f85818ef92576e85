"""The log of the served application, recorded in the format of production."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from graph.telemetry.logs import JsonFormatter

# Fields that differ from run to run; separate tests check them.
VARYING = ("time", "request_id", "trace_id", "span_id", "database_us", "total_us")


class Log:
    """The log output, as text and line by line."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All lines, parsed."""
        return [orjson.loads(line) for line in self.text.splitlines()]

    @property
    def operations(self) -> list[dict[str, Any]]:
        """The lines of operations and refused requests."""
        return [line for line in self.lines if line["logger"] == "folio.operation"]

    @property
    def steady(self) -> list[dict[str, Any]]:
        """The same lines without the varying fields."""
        return [{key: value for key, value in line.items() if key not in VARYING} for line in self.operations]


@contextmanager
def recorded_log(formatter: logging.Formatter | None = None, level: int = logging.INFO) -> Iterator[Log]:
    """Record the log of all loggers except the tests' own HTTP client until the block ends."""
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
