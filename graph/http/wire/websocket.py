"""A WebSocket connection (RFC 6455): frames by the library `websockets`, time limits and backpressure by this module.

uvicorn has its own protocol for WebSockets. Folio does not use it, because it keeps a connection whose client is gone
until the kernel notices, and because at shutdown it closes sockets while a mutation still runs.

A connection is under a timer at all times:

- after `ping_s` without a received byte a ping is sent; after as long again the connection is aborted. So a client
  that has vanished without FIN or RST is found;
- while the client does not read: as for a response (`graph.http.wire.write_watch`). Meanwhile nothing is read from it;
- after a close frame was sent or received: CLOSE_S.

Messages are not compressed: the compression of a connection takes more memory than all else of an idle one.
"""

import asyncio
import contextlib
import logging
from collections import deque
from contextvars import Context
from typing import Any, cast

import orjson
from starlette.types import Message
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from graph.http.wire.extensions import SOCKET
from graph.http.wire.open_connections import OpenConnections
from graph.http.wire.refusals import refusal
from graph.http.wire.uvicorn_adapter import ServerState, socket_scope
from graph.http.wire.write_watch import WriteWatch, loop_was_blocked

# The headers that the library reads. It refuses longer heads than this server.
HANDSHAKE_HEADERS = frozenset(
    {
        b"connection",
        b"host",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"upgrade",
    }
)
# The time that a client has to confirm a close frame.
CLOSE_S = 5.0
NORMAL, UNSUPPORTED_DATA, INVALID_DATA, INTERNAL_ERROR = 1000, 1003, 1007, 1011
TOO_SLOW = 4429
TOO_SLOW_REASON = "messages were not read in time; connect again, and read faster"
REASON_BYTES_MAX = 123

logger = logging.getLogger(__name__)
# The library reports each invalid frame as an error; for a server it is an ordinary event.
_quiet = logging.getLogger(f"{__name__}.frames")
_quiet.setLevel(logging.CRITICAL)


class SocketClosedError(Exception):
    """The socket is closed, or being closed."""


def is_handshake(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether a request offers exactly the upgrade to a WebSocket. Its details are checked by the library."""
    offers = [value.strip().lower() for name, value in headers if name == b"upgrade"]
    return offers == [b"websocket"] and any(name == b"sec-websocket-version" for name, _ in headers)


class WebSocket(asyncio.Protocol):
    """One WebSocket. The ASGI application gets it in the extension SOCKET of a scope, and runs as long as it is open.

    Attributes:
        client: the address and port of the peer, which may be a proxy.
        left: is set when the connection is lost, or a close frame was sent or received.
    """

    def __init__(
        self,
        app: Any,
        server_state: ServerState,
        connections: OpenConnections,
        target: bytes,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        """Make the socket that the request with this target and these headers opens."""
        self.client: tuple[str, int] | None = None
        self.left = asyncio.Event()
        self._app = app
        self._server_state = server_state
        self._connections = connections
        self._target = target
        self._headers = headers
        self._frames = ServerProtocol(
            max_size=connections.message_bytes_max, logger=_quiet, select_subprotocol=_no_subprotocol
        )
        self._inbox: deque[str] = deque()
        self._parts: list[bytes] = []
        self._receiver: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._is_reading = True
        self._is_answered = False
        self._timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------ from open to lost

    def open(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, rest: bytes) -> None:
        """Take over the connection, and start the application. `rest` are bytes after the head of the handshake."""
        self._transport, self._loop = transport, loop
        self._heard_at = loop.time()
        scope = socket_scope(transport, self._target, self._headers, {SOCKET: {"socket": self}})
        self.client = scope["client"]
        self._watch: WriteWatch | None = WriteWatch(loop, transport, self, self._connections.unread)
        self._server_state.connections.add(cast("Any", self))
        self._connections.enter(self, transport.get_extra_info("socket").fileno())
        self._timer = loop.call_later(self._connections.ping_s, self._on_silence)
        head = b"".join(b"%b: %b\r\n" % line for line in self._headers if line[0] in HANDSHAKE_HEADERS)
        self._frames.receive_data(b"GET / HTTP/1.1\r\n%b\r\n" % head)
        for event in self._frames.events_received():
            assert isinstance(event, Request)
            self._request = event
        if self._frames.handshake_exc is not None:
            transport.write(refusal(400, "BAD_REQUEST", f"the handshake is not valid: {self._frames.handshake_exc}"))
            self._end()
            return
        if rest:
            self._frames.receive_data(rest)
        task = loop.create_task(self._run(scope), context=Context())
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._app(scope, _connected, self._refused)
            if not self._is_answered:
                self.reject(404, "NOT_FOUND", "there is no WebSocket at this path; use /graphql")
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except Exception:
            logger.exception("a WebSocket was not served")
        finally:
            if not self._is_answered:
                self.reject(500, "INTERNAL_SERVER_ERROR", "the WebSocket could not be opened")
            self.close(INTERNAL_ERROR)

    async def _refused(self, message: Message) -> None:
        """Take the message with which an ASGI application refuses a WebSocket at an unknown path."""
        if not self._is_answered:
            self.reject(404, "NOT_FOUND", "there is no WebSocket at this path; use /graphql")

    def connection_lost(self, exc: Exception | None) -> None:
        """End everything that waits for this connection."""
        if self._timer is not None:
            self._timer.cancel()
        self._stop_watch()
        self._watch = None  # it refers to this object
        self._connections.leave(self)
        self._server_state.connections.discard(cast("Any", self))
        self._leave()

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.stop()

    def _leave(self) -> None:
        self.left.set()
        self._inbox.clear()
        _wake(self._receiver)
        _wake(self._writable)

    def shutdown(self) -> None:
        """Begin to end: the application closes the socket when its running operations have ended."""
        self._connections.draining.set()

    @property
    def is_idle(self) -> bool:
        """Never: these connections have separate limits, and do not make room for others."""
        return False

    def make_room(self) -> None:
        """Close the connection, because a new one needs its place."""
        self._transport.abort()

    def cut_off(self, left: int) -> None:
        """Close the socket; `left` bytes are unread. The client learns the reason if it begins to read soon."""
        logger.info("a client does not read its messages: %d bytes are left; the WebSocket is closed", left)
        self.close(TOO_SLOW, TOO_SLOW_REASON)

    # ------------------------------------------------------------ the handshake

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers, in its order."""
        lines = self._request.headers.get_all("Sec-WebSocket-Protocol")
        return [one.strip() for line in lines for one in line.split(",")]

    def accept(self, subprotocol: str | None) -> None:
        """Complete the handshake with this subprotocol, or without one.

        Raises:
            SocketClosedError: the handshake is invalid, or the client is gone.
        """
        response = self._frames.accept(self._request)
        if subprotocol is not None and response.status_code == 101:  # noqa: PLR2004 - Switching Protocols
            response.headers["Sec-WebSocket-Protocol"] = subprotocol
        self._is_answered = True
        self._frames.send_response(response)
        self._flush()
        if self._frames.handshake_exc is not None or self.left.is_set():
            self._end()
            raise SocketClosedError
        self._take_frames()  # those that the client has sent too early

    def reject(self, status: int, code: str, message: str) -> None:
        """Refuse the handshake by an HTTP response with one error."""
        body = orjson.dumps({"errors": [{"message": message, "extensions": {"code": code}}]}).decode()
        response = self._frames.reject(status, body)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json; charset=utf-8"
        self._is_answered = True
        self._frames.send_response(response)
        self._flush()
        self._end()

    # ------------------------------------------------------------ messages

    async def receive(self) -> str:
        """Wait for the next text message.

        Raises:
            SocketClosedError: there is none any more.
        """
        while not self._inbox:
            if self.left.is_set():
                raise SocketClosedError
            self._set_reading()
            self._receiver = self._loop.create_future()
            await self._receiver
        return self._inbox.popleft()

    def send(self, text: bytes) -> None:
        """Send a text message in UTF-8, unless the socket is closed. `drained` waits until the client reads."""
        if not self.left.is_set():
            with contextlib.suppress(InvalidState):
                self._frames.send_text(text)
            self._flush()

    async def drained(self) -> None:
        """Wait until the buffer for sent messages has room, or the socket is closed."""
        while self._writable is not None and not self.left.is_set():
            await asyncio.shield(self._writable)

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send a close frame behind all messages, and close the connection when the client confirms it, or soon."""
        if not self.left.is_set():
            with contextlib.suppress(InvalidState):
                self._frames.send_close(code, _cut(reason))
            self._flush()
            self._end()

    def _end(self) -> None:
        self._leave()
        self._set_reading()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(CLOSE_S, self._transport.abort)
        if self._frames.close_rcvd is not None or self._frames.handshake_exc is not None:
            self._transport.close()

    def _flush(self) -> None:
        if not self._transport.is_closing():
            for data in self._frames.data_to_send():
                if data:
                    self._transport.write(data)

    # ------------------------------------------------------------ what the transport calls

    def data_received(self, data: bytes) -> None:
        """Read frames. After a close frame only the client's close frame counts."""
        self._heard_at = self._loop.time()
        self._frames.receive_data(data)
        if self._is_answered:
            self._take_frames()

    def _take_frames(self) -> None:
        for event in self._frames.events_received():
            assert isinstance(event, Frame)
            if event.opcode in {Opcode.TEXT, Opcode.CONT} and not self.left.is_set():
                self._take_text(event)
            elif event.opcode is Opcode.BINARY and not self.left.is_set():
                self.close(UNSUPPORTED_DATA, "send text messages, not binary ones")
        self._flush()  # pongs, and close frames of the library
        is_broken = self._frames.parser_exc is not None and not self.left.is_set()
        if is_broken or self._frames.close_rcvd is not None:
            self._end()
        self._set_reading()

    def _take_text(self, frame: Frame) -> None:
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        data, self._parts = b"".join(self._parts), []
        try:
            self._inbox.append(data.decode())
        except UnicodeDecodeError:
            self.close(INVALID_DATA, "a text message should be in UTF-8")
        _wake(self._receiver)

    def _set_reading(self) -> None:
        """Read only where the last message was received, and the client reads what is sent to it."""
        wants = self.left.is_set() or (not self._inbox and self._writable is None)
        if wants != self._is_reading and not self._transport.is_closing():
            self._is_reading = wants
            (self._transport.resume_reading if wants else self._transport.pause_reading)()

    def pause_writing(self) -> None:
        """Stop to read, and watch whether the client reads."""
        self._writable = self._loop.create_future()
        self._set_reading()
        if self._watch is not None:
            self._watch.start()

    def resume_writing(self) -> None:
        """Continue to read."""
        _wake(self._writable)
        self._writable = None
        self._stop_watch()
        self._heard_at = self._loop.time()
        self._set_reading()

    def _on_silence(self) -> None:
        """Send a ping after a silence, and abort the connection after a second one."""
        timer, ping_s = self._timer, self._connections.ping_s
        now = self._loop.time()
        assert timer is not None
        if loop_was_blocked(timer, now) or not self._is_reading:
            self._heard_at = now  # the process is late, or does not listen
        silence_s = now - self._heard_at
        if silence_s >= 2 * ping_s:
            logger.info("a client has not responded for %g s; the WebSocket is closed", silence_s)
            self._transport.abort()
            return
        if silence_s >= ping_s and self._is_answered:
            with contextlib.suppress(InvalidState):
                self._frames.send_ping(b"")
            self._flush()
        again = self._heard_at + (ping_s if silence_s < ping_s else 2 * ping_s)
        self._timer = self._loop.call_at(again, self._on_silence)


def _no_subprotocol(protocol: ServerProtocol, offered: object) -> None:
    """Leave the choice to `accept`."""


def _cut(reason: str) -> str:
    """Return the reason in the size that a close frame may have."""
    return reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def _connected() -> Message:
    """Return what an ASGI application receives first."""
    return {"type": "websocket.connect"}
