"""A WebSocket with the subprotocol graphql-transport-ws, from its handshake to its end.

One task per socket receives messages, and owns a task per operation. When the socket ends, queries and subscriptions
end with it, mutations finish, and the task waits for all of them, so that nothing is left.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import orjson

from db.errors import Unavailable
from db.settings import Settings
from graph.http.admission.control import Spenders
from graph.http.live.callers import LiveCaller, caller_of
from graph.http.live.connections import LiveConnections, Session, TooManyError
from graph.http.live.messages import (
    ACK,
    SUBPROTOCOL,
    ClientMessage,
    CloseCode,
    ClosingError,
    complete_of,
    error_of,
    next_of,
    parse,
    pong,
)
from graph.http.live.operations import TOO_SLOW, codes_in, errors_in, operation_call, run_operation, socket_head
from graph.http.parsing.head import Head
from graph.http.pipeline import Pipeline
from graph.http.wire.websocket import SocketClosedError, WebSocket

logger = logging.getLogger(__name__)

RESTART_REASON = "the server restarts; connect again"


class SocketOperation:
    """An operation that runs on a socket.

    Attributes:
        left: is set when its results are not wanted any more: a query ends soon, a mutation finishes.
        task: the task that runs it.
        is_stream: whether it is a subscription, which is cancelled instead.
    """

    __slots__ = ("is_stream", "left", "task")

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.is_stream = False

    def opened(self) -> None:
        """Note that it is an open subscription, which ends at once if the client has completed it meanwhile."""
        self.is_stream = True
        if self.left.is_set():
            self.end()

    def end(self) -> None:
        """End it without further results."""
        self.left.set()
        if self.is_stream and self.task is not None:
            self.task.cancel()


class SocketSession:
    """The protocol on one socket."""

    def __init__(
        self, socket: WebSocket, head: Head, address: str, pipeline: Pipeline, connections: LiveConnections
    ) -> None:
        settings: Settings = pipeline.services.settings
        self._socket = socket
        self._handshake = head
        self._address = address
        self._pipeline = pipeline
        self._connections = connections
        self._init_s, self._idle_s = settings.socket_init_s, settings.socket_idle_s
        self._operations_max = settings.live_operations_per_connection_max
        self._operations: dict[str, SocketOperation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._head: Head | None = None  # of operations, once the connection is initialised
        self._idle_timer: asyncio.TimerHandle | None = None
        self._is_draining = False
        self._owned = ExitStack()

    # ------------------------------------------------------------ the life of the socket

    async def run(self) -> None:
        """Serve the socket until it is closed, and end all its operations.

        Raises:
            TooManyError: there are too many live connections; the handshake is not answered yet.
        """
        with self._owned:
            self._owned.enter_context(self._connections.place(self._address, self.drain, is_socket=True))
            try:
                await self._serve()
            except SocketClosedError:
                pass
            except ClosingError as closing:
                self._socket.close(closing.code, closing.reason)
            finally:
                await self._end()

    async def _serve(self) -> None:
        self._socket.accept(SUBPROTOCOL if SUBPROTOCOL in self._socket.subprotocols else None)
        if SUBPROTOCOL not in self._socket.subprotocols:
            raise ClosingError(CloseCode.WRONG_SUBPROTOCOL, f"the subprotocol should be {SUBPROTOCOL}")
        try:
            async with asyncio.timeout(self._init_s):
                while self._head is None:
                    await self._receive(parse(await self._socket.receive()))
        except TimeoutError:
            message = f"the client did not initialise the connection within {self._init_s:g} s"
            raise ClosingError(CloseCode.INIT_TIMEOUT, message) from None
        self._watch_idle()
        while True:
            await self._receive(parse(await self._socket.receive()))

    async def _end(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        for one in self._operations.values():
            one.end()
        try:
            while self._tasks:
                await asyncio.wait(self._tasks)
        except asyncio.CancelledError:  # the time for draining has ended
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            raise

    def drain(self) -> None:
        """Close the socket for a restart of the server, after the queries and mutations that run."""
        self._is_draining = True
        if all(one.is_stream for one in self._operations.values()):
            self._socket.close(CloseCode.RESTART, RESTART_REASON)

    def _watch_idle(self) -> None:
        """Close the socket after a while without an operation."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        reason = f"no operation for {self._idle_s:g} s"
        close: Callable[[], None] = partial(self._socket.close, CloseCode.NORMAL, reason)
        self._idle_timer = asyncio.get_running_loop().call_later(self._idle_s, close)

    # ------------------------------------------------------------ messages

    async def _receive(self, message: ClientMessage) -> None:
        """Handle one message.

        Raises:
            ClosingError: the protocol does not allow it now.
        """
        await self._socket.drained()  # a client that does not read gets no further responses
        if message.type == "ping":
            self._socket.send(pong(message.payload))
        elif message.type == "connection_init":
            if self._head is not None:
                raise ClosingError(CloseCode.TOO_MANY, "Too many initialisation requests")
            self._head = await self._initialised(message.payload or {})
            self._socket.send(ACK)
        elif message.type == "subscribe":
            self._start(message)
        elif message.type == "complete":
            running = self._operations.pop(message.id, None)
            if running is not None:
                running.end()
                self._ended()

    async def _initialised(self, payload: dict[str, Any]) -> Head:
        """Check who the client is, and return the head for its operations."""
        given = [payload[name] for name in ("authorization", "Authorization") if payload.get(name) is not None]
        authorizations = given or self._handshake.authorizations
        if not all(isinstance(one, str) for one in authorizations):
            raise ClosingError(CloseCode.FORBIDDEN, "authorization should be a String, for example Bearer …")
        caller = await self._caller(authorizations)
        try:
            self._owned.enter_context(self._connections.user_place(caller.viewer.user_id))
        except TooManyError as error:
            raise ClosingError(CloseCode.TRY_LATER, str(error)) from None
        if caller.viewer.session_id is not None:
            forbid = partial(self._socket.close, CloseCode.FORBIDDEN)
            session = Session(caller.viewer, caller.expires_at, forbid)
            self._owned.enter_context(self._connections.session(session))
        return socket_head(authorizations)

    async def _caller(self, authorizations: list[str]) -> LiveCaller:
        try:
            caller = await caller_of(self._pipeline.services, authorizations)
        except Unavailable as error:
            raise ClosingError(CloseCode.TRY_LATER, str(error)) from None
        if caller is None:
            message = "the access token is not valid, has expired or its session has ended"
            raise ClosingError(CloseCode.FORBIDDEN, message)
        return caller

    # ------------------------------------------------------------ operations

    def _start(self, message: ClientMessage) -> None:
        if self._head is None:
            raise ClosingError(CloseCode.UNAUTHORIZED, "Unauthorized: send connection_init first, and wait for its ack")
        if message.id in self._operations:
            raise ClosingError(CloseCode.OPERATION_EXISTS, f"Subscriber for {message.id} already exists")
        number = orjson.dumps(message.id)
        if self._is_draining:
            return  # the socket is about to be closed, and the client sends it again elsewhere
        # Operations that the client has completed count as long as they run.
        if len(self._tasks) >= self._operations_max:
            text = f"this connection runs {self._operations_max} operations, as many as it may; complete one of them"
            refusal = {"message": text, "extensions": {"code": "TOO_MANY_OPERATIONS"}}
            self._socket.send(error_of(number, orjson.dumps([refusal])))
            return
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        one = SocketOperation()
        self._operations[message.id] = one
        assert message.payload is not None
        one.task = asyncio.create_task(self._run(message.id, number, message.payload, one, self._head))
        self._tasks.add(one.task)
        one.task.add_done_callback(self._tasks.discard)

    async def _run(self, key: str, number: bytes, payload: dict[str, Any], one: SocketOperation, head: Head) -> None:
        """Run one operation, and send its messages, unless the client has completed it meanwhile."""
        call = operation_call(head, payload, Spenders.at(self._address), one.left)

        async def emit(result: bytes) -> None:
            if not one.left.is_set():
                self._socket.send(next_of(number, result))
                await self._socket.drained()

        try:
            refusal = await run_operation(self._pipeline, call, emit, one.opened)
        except Exception:  # the pipeline handles its own errors, so this is a bug in this room
            logger.exception("an operation of a WebSocket was not answered")
            self._socket.close(CloseCode.INTERNAL_ERROR)
            return
        if refusal is not None and codes_in(refusal) == [TOO_SLOW]:
            self._socket.close(CloseCode.TOO_MANY, "the events were not read in time; resume with the last cursor")
        if self._operations.get(key) is one:
            del self._operations[key]
            self._socket.send(complete_of(number) if refusal is None else error_of(number, errors_in(refusal)))
            self._ended()

    def _ended(self) -> None:
        if self._socket.left.is_set():
            return
        if self._is_draining:
            self.drain()
        elif not self._operations and self._head is not None:
            self._watch_idle()
