"""The HTTP/1.1 protocol, with a bound on what httptools reads without telling anybody.

httptools collects a request's target, each header and each trailer until it is complete, however long that takes: one
connection could fill the memory. Bytes are therefore counted that lead to nothing.

Every connection is at any moment under a clock, or any number could stay open:

- while a head arrives, or the first one is waited for: HEAD_S;
- while a request is answered, its body included: the deadline of the operation (`graph.http.admission.control`);
- while the rest of a body arrives whose request has been answered already: REST_S;
- between two requests: uvicorn's `timeout_keep_alive`;
- while an answer is written, also beside one of the others: ANSWER_S, again and again, as long as the client reads.

A request that arrives at once, and whose answer fits into the socket's buffer, starts none of them but the fourth,
which is not set anew for each request.

A client that sends no more may still read (TCP's half-close), and one that has left looks the same: both have sent FIN.
So what has come whole is answered, and a query has HALF_CLOSED_S more. A client that resets its connection, or to whom
nothing can be written any more, has left at once.
"""

import asyncio
from functools import partial
from typing import Any, cast

import orjson

from graph.http.admission import time_limits
from graph.http.parsing.requests import HEADER_BYTES_MAX, QUERY_STRING_BYTES_MAX
from graph.http.wire.extensions import extensions
from graph.http.wire.hosts import wrong_host
from graph.http.wire.open_connections import OpenConnections
from graph.http.wire.parser import RequestParser
from graph.http.wire.unread import unread_bytes
from graph.http.wire.uvicorn_adapter import STATUS_LINE, RequestResponseCycle, UvicornProtocol, innermost

# What the door itself allows, which it refuses with a better word, and as much again for what stands between.
HEAD_BYTES_MAX = 2 * (HEADER_BYTES_MAX + QUERY_STRING_BYTES_MAX)
HEAD_S = 10.0
# How long the rest of a body may take to arrive that nobody reads, because its request has been answered without it.
REST_S = 10.0
# How much of an answer that waits to be written a client takes at the least in a while: a kilobyte a second.
ANSWER_S = 10.0
ANSWER_BYTES_MIN = 10_240
TOO_MANY = "there are as many connections as there may be; try again shortly"
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


class HostError(Exception):
    """The header Host of a request is wrong. The message says what is."""


class BoundedHttpProtocol(UvicornProtocol):
    """Reads heads of a bounded size, and lets no connection stay for longer than its clocks allow."""

    parser: RequestParser
    cycle: Any  # None before the first request

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = RequestParser(self)
        self._pending_bytes = 0
        self._is_reading_head = True
        self._is_refused = False
        # When the first byte of the request came, by the loop's clock: its deadline counts from then on.
        self._began = 0.0
        self._begins_again = False
        # It runs from the beginning: who connects is to ask for something.
        self._clock: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._too_slow)
        self._write_clock: asyncio.TimerHandle | None = None
        self._quiet_since = 0.0
        # What is said when all requests before are answered, where nothing more is read; empty where nothing is said.
        self._farewell: bytes | None = None
        self.left = asyncio.Event()
        self._leaving_clock: asyncio.TimerHandle | None = None
        self._wrong_host: str | None = None
        # What is being answered, or has been; requests behind it may have been read already.
        self._started: RequestResponseCycle | None = None
        self._others: OpenConnections | None = getattr(innermost(self.app), "connections", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take one of the places for connections, or refuse this one where there is none."""
        # uvloop's are transports by what they do, and by no class.
        super().connection_made(cast("asyncio.Transport", transport))
        file = transport.get_extra_info("socket").fileno()
        if self._others is not None and not self._others.enter(self, file):
            self._is_refused = True
            self.transport.write(_refusal(503, "OVERLOADED", TOO_MANY))
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks, and tell all who wait for it that the client has left."""
        self.left.set()
        if self._started is not None:
            # uvicorn tells the last of several requests only, and an earlier one writes to what is closed.
            self._started.disconnected = True
        if self._others is not None:
            self._others.leave(self)
        if self._leaving_clock is not None:
            self._leaving_clock.cancel()
        self._stop_clock()
        self._stop_write_clock()
        self.stop_keep_alive()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and look at whether it led to anything."""
        if self._is_refused:
            return
        self._pending_bytes += len(data)  # each thing that is complete takes it back to 0
        super().data_received(data)
        self._is_parsed()
        if self._farewell is not None:
            return
        if self._pending_bytes > HEAD_BYTES_MAX:
            message = f"the headers have more than {HEAD_BYTES_MAX} bytes"
            self._refuse(431, "HEADERS_TOO_LARGE", message)
        elif not self.transport.is_closing():
            self._set_clock()

    def _is_parsed(self) -> None:
        """Do what is to be done when all that came is parsed."""

    @property
    def is_answering(self) -> bool:
        """Whether a request has come, at least in part, that is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way: no request is being answered, and no answer written."""
        return not self.is_answering and not self.transport.get_write_buffer_size()

    def make_room(self) -> None:
        """Close the connection, which is idle, because another one needs its place."""
        if self._pending_bytes and not (
            self._is_refused or self.transport.is_closing()
        ):  # who has begun to ask waits for an answer
            self.transport.write(_refusal(503, "OVERLOADED", TOO_MANY))
        self._is_refused = True
        self._close()

    def eof_received(self) -> Any:
        """Say whether the connection stays open: where requests have come whole, until they are answered.

        asyncio asks for a bool, where uvicorn's own declares that there is none.
        """
        if not self.is_answering or self.transport.is_closing():
            return False
        if not self._is_reading_head:  # of the last request a part is missing, for ever
            if not self.pipeline:
                return False
            cycle, _ = self.pipeline.popleft()
            cycle.response_complete = True  # as far as it ever will be
        self._read_no_more(self._farewell or b"")
        self._leaving_clock = self.loop.call_later(time_limits.HALF_CLOSED_S, self.left.set)
        return True

    def _read_no_more(self, farewell: bytes) -> None:
        """End the connection when what has come whole is answered."""
        self._is_refused = True
        self._farewell = farewell
        self._stop_clock()
        self.stop_keep_alive()

    def _set_clock(self) -> None:
        """Start the clock that what came calls for, unless it runs already."""
        cycle = self.cycle
        is_answered = cycle is not None and cycle.response_complete
        if self._is_reading_head and self._pending_bytes:
            if self._clock is None:
                self._clock = self.loop.call_later(HEAD_S, self._too_slow)
        elif self._is_reading_head:
            if is_answered:
                self._expect_request()
        elif is_answered and self._clock is None:
            self._clock = self.loop.call_later(REST_S, self._close)

    def _expect_request(self) -> None:
        """Start the clock that runs between two requests."""
        self._quiet_since = self.loop.time()
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """Go on after an answer, as uvicorn does."""
        self._quiet_since = self.loop.time()
        was_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
        elif self._farewell is not None and was_last:
            if self._farewell:
                self.transport.write(self._farewell)
            self._close()

    def timeout_keep_alive_handler(self, *, spares: bool = True) -> None:
        """Close a connection that has been quiet for long; the timer is not set anew for each request.

        Args:
            spares: whether the time counts anew, once, where the loop stood still, as in `_look_at_write`.
        """
        timer, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        if not self.cycle.response_complete:
            return  # the answer sets it
        now = self.loop.time()
        is_spared = spares and timer is not None and stood_still(timer, now)
        if is_spared:
            self._quiet_since = now
        left_s = self._quiet_since + self.timeout_keep_alive - now
        if left_s > 0:
            again = partial(self.timeout_keep_alive_handler, spares=not is_spared)
            self.timeout_keep_alive_task = self.loop.call_later(left_s, again)
        else:
            self._close()

    def pause_writing(self) -> None:
        """Look from now on whether the client reads what is written."""
        super().pause_writing()
        self._watch_write()

    def resume_writing(self) -> None:
        """Look no longer."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_write_clock()

    def _watch_write(self) -> None:
        if self._write_clock is None:
            left = unread_bytes(self.transport)
            self._write_clock = self.loop.call_later(ANSWER_S, partial(self._look_at_write, left))
            if self._others is not None:
                self._others.unread.count(self, left)

    def _look_at_write(self, before: int, *, spares: bool = True) -> None:
        """End a connection whose client has hardly read anything for a while.

        Args:
            before: how many bytes were to be written then. While writing is paused nothing is added but the rest of an
                answer's own message.
            spares: whether a client has the time once more that was lost while the loop stood still. Not again and
                again: on a server that is always late, who reads nothing would stay for ever.
        """
        timer, self._write_clock = self._write_clock, None
        left = unread_bytes(self.transport)
        if left <= before - ANSWER_BYTES_MIN:
            self._watch_write()
        elif spares and timer is not None and stood_still(timer, self.loop.time()):
            self._write_clock = self.loop.call_later(ANSWER_S, partial(self._look_at_write, before, spares=False))
        else:
            self.cut_off(left)

    def cut_off(self, left: int) -> None:
        """End a connection at once of whose answer so many bytes are left."""
        self.logger.info("a client does not read its answer, of which %d bytes are left; it is cut off", left)
        self.transport.abort()

    def _stop_write_clock(self) -> None:
        if self._write_clock is not None:
            self._write_clock.cancel()
            self._write_clock = None
        if self._others is not None:
            self._others.unread.forget(self)

    def _close(self) -> None:
        """Close the connection as soon as all is written, for which a client has no more time than for any answer."""
        self._stop_clock()
        self.stop_keep_alive()
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._watch_write()

    def begin_again(self) -> None:
        """Expect the head of the current request once more, whose time goes on."""
        self._begins_again = True

    def on_started(self, cycle: RequestResponseCycle) -> None:
        """Remember what is being answered."""
        self._started = cycle

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._set_began()
        super().on_message_begin()
        self.scope["extensions"] = extensions(self._began, self.left)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. What stands behind the body says nothing of the request (RFC 9110, section 6.5.1)."""
        if self._is_reading_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to read the body.

        Raises:
            HostError: the request is refused for its header Host.
        """
        if not self.parser.is_offer:
            self._check_host()
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

    def _check_host(self) -> None:
        self._wrong_host = wrong_host(self.headers, self.parser.get_http_version())
        if self._wrong_host is not None:
            raise HostError(self._wrong_host)

    def _head_is_read(self) -> None:
        self._pending_bytes = 0
        self._is_reading_head = False
        self._stop_clock()

    def _message_is_read(self) -> None:
        self._pending_bytes = 0
        self._is_reading_head = True
        self._stop_clock()

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
        if self.is_answering and self._is_reading_head:
            self._read_no_more(_refusal(status, code, message))
            return
        self._is_refused = True
        self._stop_clock()
        self.stop_keep_alive()
        if not self.is_answering:
            self.transport.write(_refusal(status, code, message))
        self._clock = self.loop.call_later(LINGER_S, self._close)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, as every refusal is told, but behind the answers to what came before it."""
        refusal = _refusal(400, "BAD_REQUEST", self._wrong_host or "what came is no request of HTTP/1.1")
        if self.is_answering and self._is_reading_head:
            self._read_no_more(refusal)
            return
        self.transport.write(refusal)
        self._close()


def _refusal(status: int, code: str, message: str) -> bytes:
    body = orjson.dumps({"errors": [{"message": message, "extensions": {"code": code}}]})
    head = b"content-type: application/json; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    return STATUS_LINE[status] + head % len(body) + body
