"""The messages of graphql-transport-ws, read from and written as JSON.

The protocol: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. A message that it does not
allow closes the socket (4400). The reason names the mistake in the 123 bytes of a close frame.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import orjson

from graph.http.live.limits import OPERATION_ID_LENGTH_MAX
from graph.http.parsing import strict_json

SUBPROTOCOL = "graphql-transport-ws"
TYPES = frozenset({"connection_init", "ping", "pong", "subscribe", "complete"})

ACK = b'{"type":"connection_ack"}'
PONG = b'{"type":"pong"}'


class CloseCode(IntEnum):
    """The codes with which the server closes a socket, besides those of WebSocket itself.

    The client of the npm package graphql-ws connects again after NORMAL (if it has operations), RESTART, TRY_LATER,
    FORBIDDEN and INIT_TIMEOUT; it reports the others to the application.
    """

    NORMAL = 1000
    INTERNAL_ERROR = 1011
    RESTART = 1012
    TRY_LATER = 1013
    BAD_MESSAGE = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    WRONG_SUBPROTOCOL = 4406
    INIT_TIMEOUT = 4408
    OPERATION_EXISTS = 4409
    TOO_MANY = 4429


class ClosingError(Exception):
    """The socket must be closed with this code and reason."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ClientMessage(NamedTuple):
    """A message from the client.

    Attributes:
        type: one of TYPES.
        id: of its operation, or an empty string.
        payload: as the client sent it, or None.
    """

    type: str
    id: str
    payload: dict[str, Any] | None


def parse(text: str) -> ClientMessage:
    """Read a message.

    Raises:
        ClosingError: the protocol does not allow it.
    """
    try:
        content = strict_json.loads(text.encode())
    except ValueError as error:
        raise _bad(f"a message should be JSON: {error}") from None
    if not isinstance(content, dict):
        raise _bad("a message should be an object")
    kind = content.get("type")
    if kind not in TYPES:
        raise _bad(f"type should be one of {', '.join(sorted(TYPES))}")
    payload, number = content.get("payload"), content.get("id", "")
    if payload is not None and not isinstance(payload, dict):
        raise _bad(f"the payload of {kind} should be an object")
    if kind in {"subscribe", "complete"} and not (
        isinstance(number, str) and 0 < len(number) <= OPERATION_ID_LENGTH_MAX
    ):
        raise _bad(f"the id of {kind} should be a String of 1 to {OPERATION_ID_LENGTH_MAX} characters")
    if kind == "subscribe":
        _check_request(payload)
    return ClientMessage(kind, number if isinstance(number, str) else "", payload)


def _check_request(payload: dict[str, Any] | None) -> None:
    """Check the shape of a request. The pipeline checks the rest, and refuses with better messages."""
    if payload is None:
        raise _bad("the payload of subscribe should be an object with a query")
    query, is_stored = payload.get("query"), "documentId" in payload or payload.get("extensions") is not None
    if not isinstance(query, str) and not (query is None and is_stored):
        raise _bad("the query of subscribe should be a String")
    if not isinstance(payload.get("operationName"), str | None):
        raise _bad("the operationName of subscribe should be a String or null")
    for name in ("variables", "extensions"):
        if not isinstance(payload.get(name), dict | None):
            raise _bad(f"the {name} of subscribe should be an object or null")


def pong(payload: dict[str, Any] | None) -> bytes:
    """Return the response to a ping, with the same payload."""
    return PONG if payload is None else orjson.dumps({"type": "pong", "payload": payload})


def next_of(number: bytes, result: bytes) -> bytes:
    """Return the message with a result; both arguments are JSON."""
    return b'{"type":"next","id":%b,"payload":%b}' % (number, result)


def error_of(number: bytes, errors: bytes) -> bytes:
    """Return the message with the errors of an operation that did not run or was ended; both arguments are JSON."""
    return b'{"type":"error","id":%b,"payload":%b}' % (number, errors)


def complete_of(number: bytes) -> bytes:
    """Return the message that an operation has ended; its id is JSON."""
    return b'{"type":"complete","id":%b}' % number


def _bad(message: str) -> ClosingError:
    return ClosingError(CloseCode.BAD_MESSAGE, message)
