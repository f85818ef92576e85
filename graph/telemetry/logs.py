"""Log messages as one JSON object or one readable line each, on stderr. Those of uvicorn have the same form.

The fields of a message are in `extra={"fields": {…}}`. A message without fields, as libraries write it, has its text
and, if it belongs to an operation, the ids of that operation's request and trace.

`write` logs the line of an operation without logging's overhead if the handler below is the only one: it makes no
record and inspects no frame. Lines are collected for up to `FLUSH_AFTER_S`, then formatted and written together: each
write is a system call, and formatting many lines in a row takes less time than formatting each between other work. A
warning, any other message and the end of the process write the collected lines first; only a process that is killed
loses the lines of its last moment. If there are other handlers or filters, `write` calls logging as usual.

A line takes 3 us with `write`. structlog takes 21 us through logging, and 8 us if it writes to the stream itself; but
then other handlers receive nothing, lines may overtake those of libraries, and two formats must be kept equal.
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from graph.telemetry.current import observed

Fields = Callable[[], Mapping[str, object]]
"""Returns the fields of a message. It is called once, when the line is formatted, a moment after it was logged."""

# Formatting blocks the event loop; fifty lines take a tenth of a millisecond.
FLUSH_AFTER_S = 0.02
COLLECTED_MAX = 50


def log_config(level: str, *, json: bool) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`. uvicorn also uses it for its messages."""
    formatter = JsonFormatter if json else LineFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": {"()": f"{formatter.__module__}.{formatter.__qualname__}"}},
        "handlers": {"stderr": {"class": f"{LineHandler.__module__}.LineHandler", "formatter": "chosen"}},
        "root": {"level": level, "handlers": ["stderr"]},
    }


class JsonFormatter(logging.Formatter):
    """Formats each message as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        content: dict[str, object] = {
            "time": _instant(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            content["stack"] = self.formatStack(record.stack_info)
        return orjson.dumps(content, default=str).decode()


class LineFormatter(logging.Formatter):
    """Formats each message as one line of `key=value` without nulls. The traceback of an exception follows it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        # Some messages contain text from a client. Its line breaks must not make it look like a message of Folio.
        message = "".join(one if one.isprintable() else repr(one)[1:-1] for one in record.getMessage())
        parts = [_instant(record.created), record.levelname.lower(), record.name, message]
        parts += [f"{name}={_shown(value)}" for name, value in _fields(record).items() if value not in (None, [])]
        lines = [" ".join(parts)]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        if record.stack_info:
            lines.append(self.formatStack(record.stack_info))
        return "\n".join(lines)


class LineHandler(logging.StreamHandler[Any]):
    """Writes to stderr. It writes messages from `collect` with a short delay, several together."""

    def __init__(self) -> None:
        super().__init__()
        self._collected: list[tuple[float, int, str, str, Fields]] = []
        self._timer: asyncio.TimerHandle | None = None

    def collect(self, level: int, logger: str, message: str, fields: Fields) -> None:
        """Keep a message, and write it within FLUSH_AFTER_S and before any message of another kind."""
        collected = self._collected
        collected.append((time.time(), level, logger, message, fields))
        if len(collected) >= COLLECTED_MAX:
            self.flush()
        elif len(collected) == 1:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the collected messages, and then this message."""
        if self._collected:
            self.flush()
        super().emit(record)

    def flush(self) -> None:
        """Write the collected messages."""
        collected, self._collected = self._collected, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.acquire()
        try:
            # A log whose reader has ended, or that is closed, must not stop an operation; logging does the same.
            with contextlib.suppress(OSError, ValueError):
                if collected:
                    lines = [_json_line(*one) for one in collected]
                    self.stream.write(b"\n".join([*lines, b""]).decode())
                super().flush()
        finally:
            self.release()


def flush() -> None:
    """Write the messages that the handlers of the root logger have collected."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def write(logger: logging.Logger, level: int, message: str, fields: Fields) -> None:
    """Log a message whose level is enabled: with `collect` if possible, else through logging, for all handlers."""
    handler = _only_listener(logger) if level < logging.WARNING else None
    if handler is None:
        logger.log(level, message, extra={"fields": fields()})
        return
    handler.collect(level, logger.name, message, fields)


def _json_line(created: float, level: int, logger: str, message: str, fields: Fields) -> bytes:
    content = {
        "time": _instant(created),
        "level": _level(level),
        "logger": logger,
        "message": message,
        **fields(),
    }
    return orjson.dumps(content, default=str)


@functools.lru_cache
def _level(level: int) -> str:
    return logging.getLevelName(level).lower()


def _only_listener(logger: logging.Logger) -> LineHandler | None:
    """Return the handler of `log_config`, if it writes JSON and nothing else receives messages of `logger`."""
    root = logger.parent
    if not isinstance(root, logging.RootLogger) or len(root.handlers) != 1:
        return None
    handler = root.handlers[0]
    if type(handler) is not LineHandler or type(handler.formatter) is not JsonFormatter:
        return None
    if logger.handlers or logger.filters or handler.filters or handler.level or not logger.propagate:
        return None
    return handler


def _instant(created: float) -> str:
    second = int(created)
    return f"{_second(second)}.{int((created - second) * 1000):03d}Z"


@functools.lru_cache(maxsize=4)
def _second(since_epoch: int) -> str:
    return datetime.fromtimestamp(since_epoch, UTC).isoformat().removesuffix("+00:00")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] | None = getattr(record, "fields", None)
    if fields is not None:
        return fields
    observation = observed()
    return {} if observation is None else {"request_id": observation.request_id, "trace_id": observation.trace.trace_id}


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_shown, value))
    return str(value)
