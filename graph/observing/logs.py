"""Log messages as one JSON object or one readable line each, on stderr; uvicorn's own go the same way.

The fields of a message stand in `extra={"fields": {…}}`. A message without them, as any library writes it, has its
text, and where it belongs to an operation, that operation's request and trace.
"""

import logging
from datetime import UTC, datetime
from typing import Any

import orjson

from graph.observing.current import observation


def log_config(level: str, *, json: bool) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`, which uvicorn applies to itself too."""
    formatter = JsonFormatter if json else LineFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": {"()": f"{formatter.__module__}.{formatter.__qualname__}"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "chosen"}},
        "root": {"level": level, "handlers": ["stderr"]},
    }


class JsonFormatter(logging.Formatter):
    """Each message as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        content: dict[str, object] = {
            "time": _instant(record),
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
    """Each message as one line of `key=value`, what is null left out; an exception's trace follows it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        # A client has a say in some messages: a line break of its own must not look like a message of ours.
        message = "".join(one if one.isprintable() else repr(one)[1:-1] for one in record.getMessage())
        parts = [_instant(record), record.levelname.lower(), record.name, message]
        parts += [f"{name}={_shown(value)}" for name, value in _fields(record).items() if value not in (None, [])]
        lines = [" ".join(parts)]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        if record.stack_info:
            lines.append(self.formatStack(record.stack_info))
        return "\n".join(lines)


def _instant(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] | None = getattr(record, "fields", None)
    if fields is not None:
        return fields
    seen = observation.get()
    return {} if seen is None else {"request_id": seen.request_id, "trace_id": seen.trace.trace_id}


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(_shown, value))
    return str(value)
