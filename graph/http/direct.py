"""The direct path: a POST to `/graphql` that has arrived completely goes to the endpoint without ASGI.

ASGI puts a scope of about fifteen entries and two coroutines for messages between server and application, and uvicorn
matches each response header against two regular expressions. For most operations this is as much work as the operation
itself. The most common request, a POST whose head and body arrive together, needs none of it: its headers are a list,
its body is complete, and its response is one piece too. If the connection has sent the same head before, the request
does not even need the parser (`graph.http.wire.head_template`).

All other requests take the ASGI path: other URL paths and methods, bodies that have not arrived, pipelined requests,
and requests with headers that uvicorn's middleware uses (proxy headers). Both paths lead through the same pipeline
(`graph.http.pipeline`). Simple operations need no task either (`graph.http.drivers`).
"""

import asyncio
import contextvars
from functools import partial
from typing import Any

from graph.http.admission.control import Spenders
from graph.http.call import UNKNOWN_ADDRESS, Call
from graph.http.drivers import CallbackDriver, in_task
from graph.http.parsing.head import STREAM_TOKEN, Head
from graph.http.pipeline import Pipeline
from graph.http.responses import response
from graph.http.responses.response import Response, header_lines
from graph.http.responses.streams import EVENT_STREAM_BYTES, may_stream
from graph.http.steps import Work
from graph.http.wire.extensions import extensions, wait_for_disconnect
from graph.http.wire.head_template import HeadTemplate
from graph.http.wire.protocol import BoundedHttpProtocol
from graph.http.wire.uvicorn_adapter import STATUS_LINE, innermost
from graph.telemetry.traces import random_hex

# The number of head templates that one connection may make: on a proxy's connection, for example, all heads differ.
HEADS_LEARNT_MAX = 8

# Headers that uvicorn or its middleware handle before the application, and that of a stream of events.
SERVER_HEADERS = frozenset({b"expect", b"x-forwarded-for", b"x-forwarded-proto", STREAM_TOKEN})


class DirectEndpoint:
    """The pipeline for direct requests; all connections of one application share it.

    Attributes:
        target: the request target of the endpoint.
        common: the common headers of all responses. The server makes a new list each second.
        common_lines: these headers as encoded lines.
    """

    def __init__(self, pipeline: Pipeline, path: str) -> None:
        self.pipeline = pipeline
        self.target = path.encode()
        self.common: list[tuple[bytes, bytes]] = []
        self.common_lines = b""


class RequestCycle(CallbackDriver):
    """One request and its response, with the interface that uvicorn's protocol expects of a cycle, without ASGI.

    Attributes:
        keep_alive: whether the connection stays open after the response.
        disconnected: whether the connection is lost.
        response_complete: whether the response is written.
        task: the task that handles the request; None if none is needed.
    """

    owner: "DirectHttpProtocol"
    keep_alive = True
    disconnected = False
    response_complete = False
    task: asyncio.Task[None] | None = None

    @property
    def message_event(self) -> asyncio.Event:
        """The event that is set when the client disconnects."""
        return self.owner.left

    def on_response(self, answer: Response) -> None:
        """Write the response. Where writing must wait, a task does it."""
        protocol = self.owner
        if self.disconnected:
            return
        if protocol.flow.write_paused:
            self._start_task(answer)
            return
        encoded = response.encoded(answer, self.call.request_id, self.call.trace)
        keeps = self.keep_alive and not encoded.closes
        end = b"\r\n" if keeps else b"connection: close\r\n\r\n"
        direct, common = protocol.direct, protocol.server_state.default_headers
        if direct.common is not common:
            direct.common, direct.common_lines = common, header_lines(common)
        self.response_complete = True
        if not protocol.transport.is_closing():  # else it was closed while an earlier response was written
            parts = (STATUS_LINE[encoded.status], direct.common_lines, encoded.lines, end, encoded.body)
            protocol.transport.write(b"".join(parts))
            if not keeps:
                protocol.transport.close()
        protocol.response_written()

    def on_work(self, work: Work) -> None:
        """Continue in a task."""
        self._start_task(work)

    def on_bug(self) -> None:
        """Close the connection."""
        self.owner.transport.close()

    def _start_task(self, rest: Response | Work) -> None:
        """End the request in a task. Its context is empty: the current one may belong to another request."""
        self.task = task = self.owner.loop.create_task(self.run(rest), context=contextvars.Context())
        self.owner.tasks.add(task)

    async def run(self, rest: Response | Work) -> None:
        """End the request in the current task: continue the steps with the work, if that is the rest, and respond."""
        protocol = self.owner
        try:
            answer = rest
            if isinstance(answer, Work):
                answer = await in_task(protocol.direct.pipeline.admission, self.call, self.steps, answer)
            if protocol.flow.write_paused and not self.disconnected:
                await protocol.flow.drain()
            self.on_response(answer)
        except asyncio.CancelledError:
            protocol.transport.close()  # the process stops: the outcome is unknown, so no response is written
            raise
        except Exception:  # the pipeline handles its own errors, so this is a bug in this module
            protocol.logger.exception("a request was not answered")
            protocol.transport.close()
        finally:
            protocol.tasks.discard(self.task)


class DirectHttpProtocol(BoundedHttpProtocol):
    """Passes requests directly to the endpoint where that is possible, and all others to the ASGI application."""

    cycle: Any  # a RequestCycle, or uvicorn's own

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        direct: Any = getattr(innermost(self.app), "direct", None)
        self.direct: DirectEndpoint = direct
        # Middleware and options may exist that the direct path would bypass.
        plain = not self.root_path and self.limit_concurrency is None and not self.config.access_log
        self._is_direct = plain and isinstance(direct, DirectEndpoint)
        self._spenders: Spenders | None = None
        self._needs_asgi = False
        self._may_stream = False
        self._wait_for_disconnect = partial(wait_for_disconnect, self.left)
        # The parts of the body, while a request is kept until it is complete.
        self._held: list[bytes] | None = None
        # Whether the received bytes end with a complete request, and the head and body of the last one.
        self._is_between_requests = True
        self._whole: tuple[Head, bytes] | None = None
        self._known: HeadTemplate | None = None
        self._heads_learnt = 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the last request, which refers to this object: a reference cycle."""
        super().connection_lost(exc)
        self.cycle = None

    def data_received(self, data: bytes) -> None:
        """Parse the received bytes. A request that is still incomplete afterwards takes the ASGI path."""
        known, body = self._known, None
        if known is not None and self._is_between_requests and self.cycle.response_complete and not self._is_refused:
            body = known.body_of(data)
        if known is None or body is None:
            self._parse(data)
            return
        if self._clock is not None:
            self._stop_clock()
        self._start(known.head, body, self.loop.time(), keep_alive=True)

    def _parse(self, data: bytes) -> None:
        begins, self._whole = self._is_between_requests, None
        super().data_received(data)
        if begins and self._is_between_requests:
            self._learn(data)

    def _on_parsed(self) -> None:
        if self._held is not None:
            self._release_held()

    def _learn(self, message: bytes) -> None:
        """Keep the head as a template, if the message was exactly one request."""
        if self._whole is not None and self._heads_learnt < HEADS_LEARNT_MAX:
            self._heads_learnt += 1
            self._known = HeadTemplate.of(message, *self._whole)

    def on_message_begin(self) -> None:
        """Begin a request. Its ASGI scope is made later, where it is needed."""
        self._is_between_requests = False
        self._set_began()
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._needs_asgi = self._may_stream = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, and check whether it needs the ASGI path."""
        name = name.lower()
        if not self._is_reading_head:
            pass  # a trailer: ignored, as in BoundedHttpProtocol
        elif name in SERVER_HEADERS:
            self._needs_asgi = True
            super().on_header(name, value)
        elif name == b"accept" and EVENT_STREAM_BYTES in value:
            self._may_stream = True
            self.headers.append((name, value))
        else:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Keep the request until it is complete, if it may take the direct path.

        Raises:
            HostError: the request's Host header is invalid.
        """
        if self.parser.is_offer:
            return
        if (
            not self._is_direct
            or self._needs_asgi
            or self.url != self.direct.target
            or self.parser.get_method() != b"POST"
            or self.is_answering
        ):
            self._hand_to_asgi()
            return
        self._check_host()
        self._head_is_read()
        self._held = []

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        if self._held is None:
            super().on_body(body)
        else:
            self._pending_bytes = 0
            self._held.append(body)

    def on_message_complete(self) -> None:
        """Start the request, which is complete now."""
        if self.parser.is_offer:
            return
        self._is_between_requests = True
        held = self._held
        if held is not None and self._may_stream and may_stream(Head(self.headers).accept, b"".join(held)):
            self._release_held()
            held = None
        if held is None:
            super().on_message_complete()
            return
        self._message_is_read()
        self._held = None
        parser = self.parser
        keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        head, body = Head(self.headers), held[0] if len(held) == 1 else b"".join(held)
        if keep_alive and not self._may_stream:
            self._whole = head, body
        self._start(head, body, self._began, keep_alive=keep_alive)

    def _start(self, head: Head, body: bytes, began: float, *, keep_alive: bool) -> None:
        """Handle a complete request, whose first byte arrived at `began`, in seconds of the loop's clock."""
        pipeline, spenders = self.direct.pipeline, self._spenders
        if spenders is None:
            spenders = self._spenders = Spenders.at(self.client[0] if self.client else UNKNOWN_ADDRESS)
        call = Call("POST", head, self._wait_for_disconnect, random_hex(16), began, spenders, body=body)
        steps = pipeline.respond(call)
        self.cycle = cycle = RequestCycle(self, pipeline.admission, call, steps)
        cycle.keep_alive = keep_alive
        cycle.advance(steps.send)

    def response_written(self) -> None:
        """Continue after a response: with the next pipelined request, or with the keep-alive timer."""
        if self.pipeline or self.flow.read_paused or self._last_response is not None:
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        self._quiet_since = self.loop.time()
        if self.transport.is_closing():
            self._close()
        elif self.timeout_keep_alive_task is None:
            self._expect_request()

    def _release_held(self) -> None:
        """Pass a held request to the ASGI application, with the parts of its body so far."""
        held, self._held = self._held, None
        if self.transport.is_closing():
            return  # its body was not valid HTTP, and the request has been refused
        self._hand_to_asgi()
        for part in held or ():
            super().on_body(part)

    def _hand_to_asgi(self) -> None:
        url, headers, expects, began = self.url, self.headers, self.expect_100_continue, self._began
        super().on_message_begin()
        self.scope["extensions"] = extensions(began, self.left)
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the scope refers to this list
        super().on_headers_complete()
