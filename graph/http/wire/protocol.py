"""The HTTP/1.1 protocol, with bounds on the memory and the time that a connection can take.

httptools buffers the request target, each header and each trailer until it is complete, at any size: one connection
could fill the memory. So bytes are counted that have not completed any of these.

Every connection is under a timer at all times; otherwise any number of connections could stay open:

- while a head arrives, or the first one is awaited: HEAD_S;
- while a request is handled, including the arrival of its body: the deadline of the operation
  (`graph.http.admission.control`);
- while the rest of a body arrives after the response: REST_S;
- between two requests: uvicorn's `timeout_keep_alive`;
- while a response is written, in addition to the others: ANSWER_S, repeatedly, as long as the client reads.

A request that arrives in one piece, and whose response fits into the socket's buffer, starts only the fourth timer,
which is not restarted for each request.

A client that has sent its last byte may still read (TCP's half-close). A disconnected client looks the same: both have
sent FIN. So complete requests get their responses, and a query may take HALF_CLOSED_S longer. A client that resets its
connection, or to which nothing can be written, counts as disconnected at once.
"""

import asyncio
from functools import partial
from typing import Any, cast

from graph.http.admission import time_limits
from graph.http.parsing.requests import HEADER_BYTES_MAX, QUERY_STRING_BYTES_MAX
from graph.http.wire.extensions import extensions
from graph.http.wire.hosts import wrong_host
from graph.http.wire.open_connections import OpenConnections
from graph.http.wire.parser import RequestParser
from graph.http.wire.refusals import refusal
from graph.http.wire.unread import limit_unconfirmed
from graph.http.wire.uvicorn_adapter import RequestResponseCycle, UvicornProtocol, innermost
from graph.http.wire.websocket import WebSocket, is_handshake
from graph.http.wire.write_watch import WriteWatch, loop_was_blocked

# Twice the endpoint's own limits: the endpoint refuses with better messages, and the names take space too.
HEAD_BYTES_MAX = 2 * (HEADER_BYTES_MAX + QUERY_STRING_BYTES_MAX)
HEAD_S = 10.0
# The time for the rest of a body whose request has been handled without it.
REST_S = 10.0
TOO_MANY_CONNECTIONS = "the server has reached its limit of connections; try again shortly"
# A refused client reads the response only after it has sent its request; closing at once would lose the response.
LINGER_S = 1.0


class HostError(Exception):
    """The Host header of a request is invalid. The message says why."""


class BoundedHttpProtocol(UvicornProtocol):
    """Reads heads of a bounded size, and closes connections whose timers expire."""

    parser: RequestParser
    cycle: Any  # None before the first request

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = RequestParser(self)
        self._pending_bytes = 0
        self._is_reading_head = True
        self._is_refused = False
        # The arrival of the request's first byte, by the loop's clock: the deadline counts from then on.
        self._began = 0.0
        self._begins_again = False
        # It runs from the beginning: a client that connects must send a request.
        self._clock: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._on_head_timeout)
        self._write_watch: WriteWatch | None = None
        self._quiet_since = 0.0
        # The last bytes to send after all earlier responses, when reading has stopped; they may be empty.
        self._last_response: bytes | None = None
        self.left = asyncio.Event()
        self._leaving_clock: asyncio.TimerHandle | None = None
        self._wrong_host: str | None = None
        # The current or last request that was started; later requests may have been read already.
        self._started: RequestResponseCycle | None = None
        self._connections: OpenConnections | None = getattr(innermost(self.app), "connections", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take one of the places for connections, or refuse this connection."""
        # uvloop's transports have the interface of asyncio.Transport, but are not subclasses.
        super().connection_made(cast("asyncio.Transport", transport))
        unread = None if self._connections is None else self._connections.unread
        self._write_watch = WriteWatch(self.loop, self.transport, self, unread)
        file = transport.get_extra_info("socket").fileno()
        if self._connections is not None:
            limit_unconfirmed(transport, 2 * self._connections.ping_s)
        if self._connections is not None and not self._connections.enter(self, file):
            self._is_refused = True
            self.transport.write(refusal(503, "OVERLOADED", TOO_MANY_CONNECTIONS))
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers, and notify all waiters that the client has disconnected."""
        self.left.set()
        if self._started is not None:
            # uvicorn notifies only the last of several requests; an earlier one would write to the closed transport.
            self._started.disconnected = True
        if self._connections is not None:
            self._connections.leave(self)
        if self._leaving_clock is not None:
            self._leaving_clock.cancel()
        self._stop_clock()
        if self._write_watch is not None:
            self._write_watch.stop()
            self._write_watch = None  # it refers to this object, which reference counts alone must free
        self.stop_keep_alive()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and check how many have not completed anything."""
        if self._is_refused:
            return
        self._pending_bytes += len(data)  # each completed part of a request resets it to 0
        super().data_received(data)
        self._on_parsed()
        if self._last_response is not None:
            return
        if self._pending_bytes > HEAD_BYTES_MAX:
            message = f"the headers have more than {HEAD_BYTES_MAX} bytes"
            self._refuse(431, "HEADERS_TOO_LARGE", message)
        elif not self.transport.is_closing():
            self._set_clock()

    def _on_parsed(self) -> None:
        """Run after all received bytes are parsed. Subclasses override it."""

    @property
    def is_answering(self) -> bool:
        """Whether a request has arrived, at least in part, whose response is not complete."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_idle(self) -> bool:
        """Whether no request is being handled, and no response is being written."""
        return not self.is_answering and not self.transport.get_write_buffer_size()

    def make_room(self) -> None:
        """Close this idle connection, because a new one needs its place."""
        if self._pending_bytes and not (
            self._is_refused or self.transport.is_closing()
        ):  # the client has begun to send a request, and waits for a response
            self.transport.write(refusal(503, "OVERLOADED", TOO_MANY_CONNECTIONS))
        self._is_refused = True
        self._close()

    def eof_received(self) -> Any:
        """Return whether the connection stays open: it does while complete requests have no response.

        asyncio expects a bool here, although uvicorn's own method is declared to return None.
        """
        if not self.is_answering or self.transport.is_closing():
            return False
        if not self._is_reading_head:  # the last request is incomplete, and will stay so
            if not self.pipeline:
                return False
            cycle, _ = self.pipeline.popleft()
            cycle.response_complete = True  # it never gets a response
        self._stop_reading(self._last_response or b"")
        self._leaving_clock = self.loop.call_later(time_limits.HALF_CLOSED_S, self.left.set)
        return True

    def _stop_reading(self, last_response: bytes) -> None:
        """Stop reading, and close the connection after the responses to all complete requests."""
        self._is_refused = True
        self._last_response = last_response
        self._stop_clock()
        self.stop_keep_alive()

    def _set_clock(self) -> None:
        """Start the timer for the current state, unless it runs already."""
        cycle = self.cycle
        is_answered = cycle is not None and cycle.response_complete
        if self._is_reading_head and self._pending_bytes:
            if self._clock is None:
                self._clock = self.loop.call_later(HEAD_S, self._on_head_timeout)
        elif self._is_reading_head:
            if is_answered:
                self._expect_request()
        elif is_answered and self._clock is None:
            self._clock = self.loop.call_later(REST_S, self._close)

    def _expect_request(self) -> None:
        """Start the timer that runs between two requests."""
        self._quiet_since = self.loop.time()
        if self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """Continue after a response, as uvicorn does."""
        self._quiet_since = self.loop.time()
        was_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()
        elif self._last_response is not None and was_last:
            if self._last_response:
                self.transport.write(self._last_response)
            self._close()

    def timeout_keep_alive_handler(self, *, extends: bool = True) -> None:
        """Close a connection that has been quiet for too long. The timer is not restarted for each request.

        Args:
            extends: whether the time restarts, once, if the loop was blocked, as in `WriteWatch`.
        """
        timer, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        if not self.cycle.response_complete:
            return  # the response starts it
        now = self.loop.time()
        is_extended = extends and timer is not None and loop_was_blocked(timer, now)
        if is_extended:
            self._quiet_since = now
        left_s = self._quiet_since + self.timeout_keep_alive - now
        if left_s > 0:
            again = partial(self.timeout_keep_alive_handler, extends=not is_extended)
            self.timeout_keep_alive_task = self.loop.call_later(left_s, again)
        else:
            self._close()

    def pause_writing(self) -> None:
        """Watch from now on whether the client reads."""
        super().pause_writing()
        self._watch_write()

    def resume_writing(self) -> None:
        """Stop watching whether the client reads."""
        super().resume_writing()
        if self._write_watch is not None and not self.transport.is_closing():
            self._write_watch.stop()

    def _watch_write(self) -> None:
        if self._write_watch is not None:
            self._write_watch.start()

    def cut_off(self, left: int) -> None:
        """Abort the connection; `left` bytes of its response are unread."""
        self.logger.info("a client does not read its response: %d bytes are left; the connection is closed", left)
        self.transport.abort()

    def _close(self) -> None:
        """Close the connection after all bytes are written. The client must read them as fast as any response."""
        self._stop_clock()
        self.stop_keep_alive()
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._watch_write()

    @property
    def is_handshake(self) -> bool:
        """Whether the current request opens a WebSocket. Behind a request without a response, none can be opened."""
        if self.is_answering or self._connections is None or wrong_host(self.headers, "1.1") is not None:
            return False
        return is_handshake(self.headers)

    def on_handshake(self, rest: bytes) -> None:
        """Leave the connection to a WebSocket. `rest` are the received bytes after the head of the handshake."""
        assert self._connections is not None
        self._is_refused = True  # what follows does not arrive here
        self._last_response = b""
        self._stop_clock()
        self.stop_keep_alive()
        self._connections.leave(self)
        self.connections.discard(self)
        socket = WebSocket(self.app, self.server_state, self._connections, self.url, self.headers)
        self.transport.set_protocol(socket)
        socket.open(self.transport, self.loop, rest)

    def shutdown(self) -> None:
        """Begin to end: finish the current request, and notify streams, which have no other end."""
        if self._connections is not None:
            self._connections.draining.set()
        super().shutdown()

    def begin_again(self) -> None:
        """Expect the head of the current request again. Its time of arrival stays."""
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
        """Keep a header. Trailers after the body are ignored (RFC 9110, section 6.5.1)."""
        if self._is_reading_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to read the body.

        Raises:
            HostError: the request's Host header is invalid.
        """
        if not self.parser.is_offer:
            self._check_host()
            self._head_is_read()
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Reset the count: the reader of the body bounds its size."""
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

    def _on_head_timeout(self) -> None:
        clock, self._clock = self._clock, None
        if clock is not None and loop_was_blocked(clock, self.loop.time()):
            # Only once: on a server that is always late, a client that sends no head would stay connected without end.
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
            self._stop_reading(refusal(status, code, message))
            return
        self._is_refused = True
        self._stop_clock()
        self.stop_keep_alive()
        if not self.is_answering:
            self.transport.write(refusal(status, code, message))
        self._clock = self.loop.call_later(LINGER_S, self._close)

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP with a JSON error, after the responses to all earlier requests."""
        answer = refusal(400, "BAD_REQUEST", self._wrong_host or "the received bytes are not an HTTP/1.1 request")
        if self.is_answering and self._is_reading_head:
            self._stop_reading(answer)
            return
        self.transport.write(answer)
        self._close()
