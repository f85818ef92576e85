"""The short way in: a POST to `/graphql` that has arrived whole goes to the endpoint without ASGI.

Between a server and an application ASGI puts a scope of some fifteen entries, two coroutines for messages, and for
uvicorn a look at each header of the answer with two regular expressions. For most operations that is as much work as
the operation. What nearly every client sends nearly always, a POST whose head and body come in one piece, needs none of
it: its headers are a list already, its body is there, and its answer is one piece too. Where its head is the one that
the connection has sent before, not even the parser is asked (`graph.http.wire.head_template`).

Everything else goes on as ever: other paths and methods, bodies that are still to come, pipelined requests, and those
with a header that somebody before the endpoint looks at (a proxy's, CORS's). What the endpoint does is the
same on both ways, for it is the same code. Where that needs no task, none is made (`graph.http.inline_lookup`).
"""

import asyncio
import contextvars
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import Any

from graph.http.call import Call
from graph.http.endpoint import UNKNOWN_ADDRESS, GraphQLEndpoint
from graph.http.inline_lookup import InlineLookups
from graph.http.parsing.head import Head
from graph.http.responses.response import EncodedResponse, Response, header_lines
from graph.http.wire.extensions import extensions, told_left
from graph.http.wire.head_template import HeadTemplate
from graph.http.wire.protocol import BoundedHttpProtocol
from graph.http.wire.uvicorn_adapter import STATUS_LINE, innermost
from graph.telemetry.traces import random_hex

# A connection whose heads differ each time, a proxy's for instance, is not looked at for ever.
HEADS_LEARNT_MAX = 8

# Headers that uvicorn or its middleware act on before any application does.
SERVER_HEADERS = frozenset({b"expect", b"x-forwarded-for", b"x-forwarded-proto"})


class DirectDoor:
    """What the connections of one application share.

    Attributes:
        target: the request target that leads to the endpoint.
        asgi_headers: names of the headers with which a request goes the long way.
    """

    def __init__(self, endpoint: GraphQLEndpoint, path: str, asgi_headers: Iterable[bytes] = ()) -> None:
        self.endpoint = endpoint
        self.inline_lookups = InlineLookups(endpoint)
        self.target = path.encode()
        self.asgi_headers = SERVER_HEADERS.union(asgi_headers)
        self._common: list[tuple[bytes, bytes]] = []
        self._common_lines = b""

    def common_lines(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Return the lines of the headers that the server puts on each answer; it makes a new list each second."""
        if headers is not self._common:
            self._common, self._common_lines = headers, header_lines(headers)
        return self._common_lines


class RequestCycle:
    """One request and its answer: what the protocol asks of what it calls a cycle, without ASGI.

    Attributes:
        keep_alive: whether the connection goes on after the answer.
        disconnected: whether the connection is lost.
        message_event: what is set when the client leaves.
        response_complete: whether the answer is written.
        task: what runs it; set when it is made.
    """

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete", "task")

    def __init__(self, left: asyncio.Event, *, keep_alive: bool) -> None:
        self.message_event = left
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False
        self.task: asyncio.Task[None] | None = None

    async def run(
        self, door: DirectDoor, protocol: "DirectHttpProtocol", call: Call, answer: Response | None = None
    ) -> None:
        """Have the request answered, where `answer` is not there yet, and write the answer."""
        endpoint = door.endpoint
        try:
            if answer is None:
                answer = await endpoint.answered(call)
            encoder = endpoint.encoder
            reply = encoder.replied(call, answer) or await encoder.compressed(call, answer)
            if protocol.flow.write_paused and not self.disconnected:
                await protocol.flow.drain()
            if not self.disconnected:
                self._write(door, protocol, reply)
        except asyncio.CancelledError:
            protocol.transport.close()  # the process stops and waits no longer: nobody knows what has happened
            raise
        except Exception:  # the endpoint answers its own errors, so it is this very code that is wrong
            protocol.logger.exception("a request was not answered")
            protocol.transport.close()
        finally:
            protocol.tasks.discard(self.task)

    def finish(self, door: DirectDoor, protocol: "DirectHttpProtocol", call: Call, answer: Response) -> None:
        """Write the answer to a request that no task runs; where that has to wait, one does the rest."""
        try:
            reply = None if protocol.flow.write_paused else door.endpoint.encoder.replied(call, answer)
            if self.disconnected:
                return
            if reply is None:
                # It is told in anybody's context, of which the rest of its work is no part.
                protocol.runs(self, self.run(door, protocol, call, answer), contextvars.Context())
            else:
                self._write(door, protocol, reply)
        except Exception:
            protocol.logger.exception("a request was not answered")
            protocol.transport.close()

    def _write(self, door: DirectDoor, protocol: "DirectHttpProtocol", reply: EncodedResponse) -> None:
        keeps = self.keep_alive and not reply.closes
        end = b"\r\n" if keeps else b"connection: close\r\n\r\n"
        common = door.common_lines(protocol.server_state.default_headers)
        self.response_complete = True
        if protocol.transport.is_closing():  # cut off, or left, while an answer before this one was written
            protocol.answered()
            return
        protocol.transport.write(b"".join((STATUS_LINE[reply.status], common, reply.lines, end, reply.body)))
        if not keeps:
            protocol.transport.close()
        protocol.answered()


class DirectHttpProtocol(BoundedHttpProtocol):
    """Gives the endpoint itself what it can answer without ASGI, and everything else to the application."""

    cycle: Any  # an RequestCycle, or uvicorn's own

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._door = self._door_of(self.app)
        self._asgi_headers = SERVER_HEADERS if self._door is None else self._door.asgi_headers
        self._takes_detour = False
        self._told_left = partial(told_left, self.left)
        # The body, while a request is held back until it is whole.
        self._held: list[bytes] | None = None
        # Whether all that came is whole requests, and what the last of them was.
        self._is_between = True
        self._whole: tuple[Head, bytes] | None = None
        self._known: HeadTemplate | None = None
        self._heads_learnt = 0

    def _door_of(self, app: Any) -> DirectDoor | None:
        """Return the short way, where nobody has put anything before the application that would be passed by."""
        door = getattr(innermost(app), "direct", None)
        plain = not self.root_path and self.limit_concurrency is None and not self.config.access_log
        return door if plain and isinstance(door, DirectDoor) else None

    def data_received(self, data: bytes) -> None:
        """Parse what came; a request that is not whole afterwards goes the long way."""
        known, body = self._known, None
        if known is not None and self._is_between and self.cycle.response_complete and not self._is_refused:
            body = known.body_of(data)
        if known is None or body is None:
            self._parse(data)
            return
        if self._clock is not None:
            self._stop_clock()
        self._start(known.head, body, self.loop.time(), keep_alive=True)

    def _parse(self, data: bytes) -> None:
        begins, self._whole = self._is_between, None
        super().data_received(data)
        if begins and self._is_between:
            self._learn(data)

    def _is_parsed(self) -> None:
        if self._held is not None:
            self._let_go()

    def _learn(self, message: bytes) -> None:
        """Remember the head of what came, where it was one request and no more."""
        if self._whole is not None and self._heads_learnt < HEADS_LEARNT_MAX:
            self._heads_learnt += 1
            self._known = HeadTemplate.of(message, *self._whole)

    def on_message_begin(self) -> None:
        """Begin a request, whose scope is made where somebody wants one."""
        self._is_between = False
        self._set_began()
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._takes_detour = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, and look whether it is one of those that need the long way."""
        name = name.lower()
        if not self._is_reading_head:
            pass  # a trailer, as in BoundedHttpProtocol
        elif name in self._asgi_headers:
            self._takes_detour = True
            super().on_header(name, value)
        else:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Hold the request back where it may go the short way.

        Raises:
            HostError: the request is refused for its header Host.
        """
        if self.parser.is_offer:
            return
        door = self._door
        if (
            door is None
            or self._takes_detour
            or self.url != door.target
            or self.parser.get_method() != b"POST"
            or self.is_answering
        ):
            self._go_long()
            return
        self._check_host()
        self._head_is_read()
        self._held = []

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._held is None:
            super().on_body(body)
        else:
            self._pending_bytes = 0
            self._held.append(body)

    def on_message_complete(self) -> None:
        """Start on a request that is whole."""
        if self.parser.is_offer:
            return
        self._is_between = True
        held = self._held
        if held is None:
            super().on_message_complete()
            return
        self._message_is_read()
        self._held = None
        parser = self.parser
        keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        head, body = Head(self.headers), held[0] if len(held) == 1 else b"".join(held)
        if keep_alive:
            self._whole = head, body
        self._start(head, body, self._began, keep_alive=keep_alive)

    def _start(self, head: Head, body: bytes, began: float, *, keep_alive: bool) -> None:
        """Have a request answered that is whole, and whose first byte came when the loop's clock was `began`."""
        door, client = self._door, self.client
        assert door is not None
        self.cycle = exchange = RequestCycle(self.left, keep_alive=keep_alive)
        address = client[0] if client else UNKNOWN_ADDRESS
        call = Call("POST", head, self._told_left, random_hex(16), began, address, b"", body)
        otherwise = partial(self._run, exchange, door, call)
        if not door.inline_lookups.begin(call, partial(exchange.finish, door, self, call), otherwise):
            otherwise()

    def _run(self, exchange: RequestCycle, door: DirectDoor, call: Call) -> None:
        self.runs(exchange, exchange.run(door, self, call))

    def runs(
        self, exchange: RequestCycle, work: Coroutine[Any, Any, None], context: contextvars.Context | None = None
    ) -> None:
        """Have a task do the work of an exchange, or the rest of it; in a copy of this context, or in another one."""
        exchange.task = task = self.loop.create_task(work, context=context)
        self.tasks.add(task)

    def answered(self) -> None:
        """Go on after an answer: with the next request where one waits, else until it has been quiet for long."""
        if self.pipeline or self.flow.read_paused or self._farewell is not None:
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._close()
        else:
            self._expect_request()

    def _let_go(self) -> None:
        """Give a request that was held back to the application, with what has come of its body."""
        held, self._held = self._held, None
        if self.transport.is_closing():
            return  # its body was no HTTP, which has been said
        self._go_long()
        for part in held or ():
            super().on_body(part)

    def _go_long(self) -> None:
        url, headers, expects, began = self.url, self.headers, self.expect_100_continue, self._began
        super().on_message_begin()
        self.scope["extensions"] = extensions(began, self.left)
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the list that the scope has
        super().on_headers_complete()
