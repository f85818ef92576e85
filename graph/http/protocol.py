"""The HTTP/1.1 protocol, with a bound on what httptools reads without telling anybody.

httptools collects a request's target, each header and each trailer until it is complete, however long that takes, and
uvicorn waits without a clock for the first byte of a request and for the last of its headers: one connection could fill
the memory, and any number could stay open. Bytes are therefore counted that lead to nothing, and the clock runs while a
head is not complete. A request that arrives at once costs neither: its head is complete when it is looked at.
"""

import asyncio
from typing import Any

import orjson
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from graph.http.parser import RequestParser
from graph.http.requests import HEADER_BYTES_MAX, QUERY_STRING_BYTES_MAX

# What the door itself allows, which it refuses with a better word, and as much again for what stands between.
HEAD_BYTES_MAX = 2 * (HEADER_BYTES_MAX + QUERY_STRING_BYTES_MAX)
HEAD_S = 10.0
# The extension of the ASGI scope that says when the first byte of the request came, in `s`.
BEGAN = "folio.began"
# A timer that is later than that was not late for the client's sake: the process, or the machine, stood still.
STOOD_STILL_S = 0.1
# A client that is refused reads the answer when it has sent what it wanted to; closing at once would lose it.
LINGER_S = 1.0


def stood_still(timer: asyncio.TimerHandle, now: float) -> bool:
    """Say whether the loop was held up, so that `timer` went off long after its time.

    Then it goes off before what has arrived meanwhile is read, and before a client that was held up as well has had a
    turn: time in which nobody ran is no time in which the client kept others waiting.
    """
    return now - timer.when() > STOOD_STILL_S


def began(scope: Scope) -> float | None:
    """Return when the first byte of a request came, by the event loop's clock; None where the server does not say."""
    known: float | None = (scope.get("extensions") or {}).get(BEGAN, {}).get("s")
    return known


class BoundedHttpProtocol(HttpToolsProtocol):
    """Reads heads of a bounded size, within a bounded time."""

    parser: RequestParser

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = RequestParser(self)
        self._pending_bytes = 0
        self._is_reading_head = True
        self._is_refused = False
        self._has_asked = False
        # When the first byte of the request came, by the loop's clock: its deadline counts from then on.
        self._began = 0.0
        self._begins_again = False
        # It runs from the beginning: who connects is to ask for something.
        self._clock: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and look at whether it led to anything."""
        if self._is_refused:
            return
        self._pending_bytes += len(data)  # each thing that is complete takes it back to 0
        super().data_received(data)
        if self._pending_bytes > HEAD_BYTES_MAX:
            message = f"the headers have more than {HEAD_BYTES_MAX} bytes"
            self._refuse(431, "HEADERS_TOO_LARGE", message)
        elif not self._is_reading_head or not self._pending_bytes:
            self._stop_clock()
        elif self._clock is None:
            self._clock = self.loop.call_later(HEAD_S, self._too_slow)

    def begin_again(self) -> None:
        """Expect the head of the current request once more, whose time goes on."""
        self._begins_again = True

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._set_began()
        super().on_message_begin()
        self.scope["extensions"] = {BEGAN: {"s": self._began}}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. What stands behind the body says nothing of the request (RFC 9110, section 6.5.1)."""
        if self._is_reading_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to read the body."""
        if not self.parser.is_offer:
            self._head_is_read()
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count nothing of a body: whoever reads it does."""
        self._pending_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the next head."""
        if not self.parser.is_offer:
            self._message_is_read()
            super().on_message_complete()

    def _set_began(self) -> None:
        if not self._begins_again:
            self._began = self.loop.time()
        self._begins_again = False

    def _head_is_read(self) -> None:
        self._pending_bytes = 0
        self._is_reading_head = False
        self._has_asked = True

    def _message_is_read(self) -> None:
        self._pending_bytes = 0
        self._is_reading_head = True

    def _too_slow(self) -> None:
        clock, self._clock = self._clock, None
        if clock is not None and stood_still(clock, self.loop.time()):
            # Once: on a server that is always late, who sends no head would stay for ever.
            self._clock = self.loop.call_later(HEAD_S, self._refuse_slow)
        else:
            self._refuse_slow()

    def _refuse_slow(self) -> None:
        self._refuse(408, "REQUEST_TIMEOUT", f"the headers took longer than {HEAD_S:g} s to arrive")

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._is_refused = True
        self._stop_clock()
        self._unset_keepalive_if_required()
        if not self._has_asked or self.cycle.response_complete:
            self._write_refusal(status, code, message)
        self._clock = self.loop.call_later(LINGER_S, self.transport.close)

    def _write_refusal(self, status: int, code: str, message: str) -> None:
        body = orjson.dumps({"errors": [{"message": message, "extensions": {"code": code}}]})
        head = b"content-type: application/json; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % len(body) + body)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, as every refusal is told."""
        self._write_refusal(400, "BAD_REQUEST", "what came is no request of HTTP/1.1")
        self.transport.close()
