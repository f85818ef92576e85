"""The log's batches: lines of operations are collected for a moment, and none is lost, late or out of order."""

import asyncio
import io
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from graph.telemetry.logs import FLUSH_AFTER_S, JsonFormatter, LineHandler, write
from tests.graph.cli.test_serving import free_port
from tests.graph.support.callers import http_client
from tests.graph.support.forked import forked

logger = logging.getLogger("folio.operation")


@contextmanager
def only_handler() -> Iterator[LineHandler]:
    """Yield the handler of `log_config` as the only root handler (pytest installs others), writing to a string."""
    root, line_handler = logging.getLogger(), LineHandler()
    line_handler.setFormatter(JsonFormatter())
    line_handler.setStream(io.StringIO())
    handlers, level = root.handlers, root.level
    root.handlers = [line_handler]
    root.setLevel(logging.INFO)
    try:
        yield line_handler
    finally:
        root.handlers = handlers
        root.setLevel(level)


def lines(handler: LineHandler) -> list[dict[str, Any]]:
    return [{**orjson.loads(line), "time": ""} for line in handler.stream.getvalue().splitlines()]


class _Listener(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


async def test_line_is_written_a_moment_later() -> None:
    with only_handler() as handler:
        write(logger, logging.INFO, "operation", lambda: {"cost": 1, "errors": []})
        assert lines(handler) == []
        await asyncio.sleep(FLUSH_AFTER_S * 3)
        expected = {"time": "", "level": "info", "logger": "folio.operation", "message": "operation", "cost": 1}
        assert lines(handler) == [{**expected, "errors": []}]


async def test_warning_is_written_at_once_and_after_earlier_lines() -> None:
    with only_handler() as handler:
        write(logger, logging.INFO, "operation", dict)
        write(logger, logging.WARNING, "operation", lambda: {"status": 500})
        write(logger, logging.INFO, "operation", dict)
        logging.getLogger("another").info("text")
        levels = [(line["level"], line["message"]) for line in lines(handler)]
        assert levels == [("info", "operation"), ("warning", "operation"), ("info", "operation"), ("info", "text")]


async def test_another_handler_receives_each_line_at_once() -> None:
    with only_handler() as handler:
        records: list[logging.LogRecord] = []
        other = _Listener(records)
        logging.getLogger().addHandler(other)
        write(logger, logging.INFO, "operation", lambda: {"cost": 1})
        assert [(record.name, vars(record)["fields"]) for record in records] == [("folio.operation", {"cost": 1})]
        assert len(lines(handler)) == 1


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_each_worker_answers_and_loses_no_line_when_it_is_stopped(
    database_url: str, tmp_path: Path, workers: str
) -> None:
    port, log = free_port(), tmp_path / "log"
    variables = {"FOLIO_DATABASE_URL": database_url, "FOLIO_LOG_FORMAT": "json"}
    seen = set()
    async with forked("serve", "--workers", workers, cwd=tmp_path, port=port, log=log, **variables) as process:
        for _ in range(40):
            async with http_client(f"http://127.0.0.1:{port}") as http:  # on a new connection, which any may accept
                answer = await http.post("/graphql", json={"query": "{ __typename }"})
            assert answer.json() == {"data": {"__typename": "Query"}}
            seen.add(answer.headers["x-request-id"])
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    written = [orjson.loads(line) for line in log.read_bytes().splitlines() if line.startswith(b"{")]
    operations = [line["request_id"] for line in written if line["logger"] == "folio.operation"]
    assert (len(operations), set(operations)) == (40, seen)
