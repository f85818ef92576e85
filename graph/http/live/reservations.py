"""GraphQL over server-sent events, with one stream for all operations of a client ("single connection mode").

A client reserves a stream (PUT), opens it (GET), and sends each operation in a separate request (POST), whose results
arrive in the stream; DELETE ends an operation. All but the PUT carry the token of the reservation. The token grants
nothing but these results: each operation has the rights of the Authorization header of its request.

The protocol: https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md.
"""

import asyncio
import secrets
from collections.abc import Coroutine
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import orjson
from graphql import GraphQLError
from starlette.types import Send

from db.errors import Unavailable
from db.settings import Settings
from graph.http.call import Call
from graph.http.live.callers import caller_of
from graph.http.live.connections import LiveConnections, TooManyError
from graph.http.live.limits import OPERATION_ID_LENGTH_MAX, RESERVATION_S
from graph.http.live.operations import run_operation
from graph.http.live.sse import overloaded, session_of
from graph.http.live.stream import EventStream, complete_event, next_event
from graph.http.parsing.head import STREAM_TOKEN
from graph.http.parsing.requests import (
    JSON,
    QUERY_STRING_BYTES_MAX,
    HttpRefused,
    check_content,
    check_headers,
    unauthenticated,
)
from graph.http.pipeline import Pipeline
from graph.http.responses.codings import check_coding, decoded
from graph.http.responses.response import GRAPHQL_RESPONSE, Response, errors_answer, send_response
from graph.http.responses.streams import Streams, accepted_streams

TOKEN_BYTES = 24
OK = 200
TEXT = "text/plain"


class Reservation:
    """A reserved stream with its operations.

    Attributes:
        stream: what its operations put events into.
        operations: the running operations by their ids.
        is_open: whether a client receives the stream.
    """

    def __init__(self, ping_s: float) -> None:
        self.stream = EventStream(ping_s)
        self.operations: dict[str, asyncio.Task[None]] = {}
        self.is_open = False
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, number: str, work: Coroutine[Any, Any, None]) -> None:
        """Run an operation in a task that ends with the stream."""
        task = self.operations[number] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, number))

    def _ended(self, number: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self.operations.get(number) is task:
            del self.operations[number]

    def stop(self, number: str, last: bytes | None = None) -> None:
        """End an operation, if it runs, with a last result as JSON, or without one."""
        task = self.operations.pop(number, None)
        if task is not None:
            task.cancel()
            if last is not None:
                self.stream.put_now(_next_of(number, last))
            self.stream.put_now(_complete_of(number))

    def cancel(self) -> None:
        """End the stream and its operations."""
        self.stream.end()
        for task in self._tasks:
            task.cancel()

    async def end(self) -> None:
        """End the stream and its operations, and wait until they have ended."""
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Reservations:
    """The reserved streams of one application."""

    def __init__(self, pipeline: Pipeline, connections: LiveConnections, settings: Settings) -> None:
        self._ping_s = settings.live_ping_s
        self._body_bytes_max = settings.body_bytes_max
        self._operations_max = settings.live_operations_per_connection_max
        self._pipeline = pipeline
        self._connections = connections
        self._by_token: dict[str, Reservation] = {}
        self._places: dict[str, ExitStack] = {}

    def serves(self, call: Call) -> bool:
        """Return whether a request makes a reservation, or has the token of one."""
        reserves = call.method == "PUT" and b"content-type" not in call.head and not call.query_string
        return reserves or STREAM_TOKEN in call.head or b"token=" in call.query_string

    async def serve(self, call: Call, send: Send) -> None:
        """Handle such a request."""
        try:
            answer = await self._answer(call, send)
        except HttpRefused as refused:
            answer = errors_answer(refused.status, JSON, [refused.error], refused.headers)
        except Unavailable as error:
            refusal = GraphQLError(str(error), extensions={"code": error.code})
            answer = errors_answer(503, JSON, [refusal], {"retry-after": "1"})
        except TooManyError as error:
            answer = overloaded(error)
        if answer is not None:
            answer = self._pipeline.origins.shared(answer, call.head.origin)
            await send_response(send, answer, call.request_id, call.trace, with_body=call.method != "HEAD")

    async def _answer(self, call: Call, send: Send) -> Response | None:
        if len(call.query_string) > QUERY_STRING_BYTES_MAX:
            raise HttpRefused(414, "URI_TOO_LONG", f"the query string has more than {QUERY_STRING_BYTES_MAX} bytes")
        parameters = parse_qs(call.query_string.decode("latin-1"))
        if call.method == "PUT":
            return await self._reserve(call)
        given = call.head.first(STREAM_TOKEN)
        token = given.decode("latin-1") if given is not None else parameters.get("token", [""])[0]
        reservation = self._by_token.get(token)
        if reservation is None:
            raise HttpRefused(404, "STREAM_NOT_FOUND", "there is no such stream; reserve one with PUT")
        if call.method == "DELETE":
            reservation.stop(parameters.get("operationId", [""])[0])
            return Response(OK, b"", TEXT)
        if accepted_streams(call.head.accept) is Streams.ALWAYS:
            await self._open(token, reservation, call, send)
            return None
        if call.method != "POST":
            message = "send operations of this stream by POST, or accept text/event-stream to open it"
            raise HttpRefused(405, "METHOD_NOT_ALLOWED", message, {"allow": "GET, POST, DELETE"})
        return await self._run(reservation, call)

    # ------------------------------------------------------------ the stream

    async def _reserve(self, call: Call) -> Response:
        """Reserve a stream, and return the response with its token."""
        caller = await caller_of(self._pipeline.services, call.head.authorizations)
        if caller is None:
            raise unauthenticated()
        token, reservation = secrets.token_urlsafe(TOKEN_BYTES), Reservation(self._ping_s)
        with ExitStack() as places:
            address, end = call.spenders.address, reservation.stream.end
            places.enter_context(self._connections.place(address, end, is_socket=False))
            places.enter_context(self._connections.user_place(caller.viewer.user_id))
            self._by_token[token] = reservation
            places.callback(self._by_token.pop, token)
            timer = asyncio.get_running_loop().call_later(RESERVATION_S, partial(self._lapse, token))
            places.callback(timer.cancel)
            self._places[token] = places.pop_all()
        return Response(201, token.encode(), TEXT)

    def _lapse(self, token: str) -> None:
        """Forget a reservation whose stream was not opened in time."""
        reservation = self._by_token[token]
        if not reservation.is_open:
            self._places.pop(token).close()
            reservation.cancel()

    async def _open(self, token: str, reservation: Reservation, call: Call, send: Send) -> None:
        """Send the stream until it ends."""
        if reservation.is_open:
            raise HttpRefused(409, "STREAM_IS_OPEN", "this stream is open already; reserve another one with PUT")
        reservation.is_open = True
        watch = asyncio.create_task(self._watch_client(reservation, call))
        try:
            headers = self._pipeline.origins.shared(Response(OK, b"", JSON), call.head.origin)
            await reservation.stream.write(send, headers, call.request_id)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            self._places.pop(token).close()
            await reservation.end()

    async def _watch_client(self, reservation: Reservation, call: Call) -> None:
        while (await call.receive())["type"] != "http.disconnect":
            pass
        reservation.stream.end()

    # ------------------------------------------------------------ operations

    async def _run(self, reservation: Reservation, call: Call) -> Response:
        """Run an operation. Its results go to the stream, and the response shows whether it was accepted."""
        check_headers(call.head)
        check_content(call.head)
        check_coding(call.head)
        call.head.media_type = GRAPHQL_RESPONSE  # with it, 200 means that the operation has run
        number, most = await self._operation_id(call), self._operations_max
        if number in reservation.operations:
            raise HttpRefused(409, "OPERATION_EXISTS", "an operation with this operationId runs on the stream")
        if len(reservation.operations) >= most:
            message = f"this stream runs {most} operations, as many as it may; end one of them"
            raise HttpRefused(429, "TOO_MANY_OPERATIONS", message)
        accepted: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        reservation.start(number, self._operation(reservation, number, call, accepted))
        return await accepted

    async def _operation(
        self, reservation: Reservation, number: str, call: Call, accepted: "asyncio.Future[Response]"
    ) -> None:
        """Run an operation to its end. `accepted` gets the response to its request."""
        with ExitStack() as owned:

            async def emit(result: bytes) -> None:
                await reservation.stream.put(_next_of(number, result))

            def opened() -> None:
                refusal = errors_answer(401, JSON, [unauthenticated().error])
                end = partial(reservation.stop, number, refusal.body)
                owned.enter_context(self._connections.session(session_of(self._pipeline, call, end)))
                _resolve(accepted, Response(202, b"", TEXT))

            try:
                refusal = await run_operation(self._pipeline, call, emit, opened)
                if refusal is not None and not accepted.done():
                    _resolve(accepted, refusal)
                    return
                if refusal is not None:
                    await emit(refusal.body)
                await reservation.stream.put(_complete_of(number))
            finally:
                _resolve(accepted, Response(202, b"", TEXT))

    async def _operation_id(self, call: Call) -> str:
        """Receive the body of an operation, and return the id that the client has chosen for it."""
        assert call.arriving is not None
        call.body = await self._pipeline.bodies.received(call.head, call.arriving, call.spenders.address)
        call.arriving = None
        try:
            number = orjson.loads(decoded(call.head, call.body, self._body_bytes_max))["extensions"]["operationId"]
        except (ValueError, KeyError, TypeError):
            number = None
        if not isinstance(number, str) or not 0 < len(number) <= OPERATION_ID_LENGTH_MAX:
            message = f"extensions.operationId should be a String of 1 to {OPERATION_ID_LENGTH_MAX} characters"
            raise HttpRefused(400, "BAD_REQUEST", message)
        return number


def _resolve(accepted: "asyncio.Future[Response]", answer: Response) -> None:
    if not accepted.done():
        accepted.set_result(answer)


def _next_of(number: str, result: bytes) -> bytes:
    return next_event(b'{"id":%b,"payload":%b}' % (orjson.dumps(number), result))


def _complete_of(number: str) -> bytes:
    return complete_event(b'{"id":%b}' % orjson.dumps(number))
