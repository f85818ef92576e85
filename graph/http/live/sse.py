"""GraphQL over server-sent events, with a connection per operation ("distinct connections mode" of graphql-sse).

The protocol: https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md. An invalid operation is reported in the
stream, because a browser's EventSource shows nothing of other responses; all other refusals have their HTTP status.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

from graphql import GraphQLError
from starlette.types import Send

from graph.http.call import Call
from graph.http.drivers import in_task
from graph.http.live.connections import LiveConnections, Session, TooManyError
from graph.http.live.events import send_events
from graph.http.live.stream import EventStream, complete_event, next_event
from graph.http.parsing.requests import JSON, unauthenticated
from graph.http.pipeline import Pipeline
from graph.http.responses.response import Response, errors_answer, send_response
from graph.http.responses.streams import Streams, accepted_streams
from graph.http.subscribing import Subscribed
from graph.runtime.authentication import token_expiry

# The statuses of responses that are sent as a stream.
STREAMED_STATUSES = frozenset({200, 400})


def overloaded(error: TooManyError) -> Response:
    """Return the refusal of a live connection beyond a limit."""
    refusal = GraphQLError(str(error), extensions={"code": "OVERLOADED"})
    return errors_answer(503, JSON, [refusal], {"retry-after": "5"})


def session_of(pipeline: Pipeline, call: Call, end: Callable[[], None]) -> Session | None:
    """Return the session that an operation depends on; None for an anonymous caller. `end` is called at its end."""
    if call.viewer.session_id is None:
        return None
    expires_at = token_expiry(pipeline.services.tokens, call.head.authorizations)
    return Session(call.viewer, expires_at, lambda _: end())


class StreamedOperation:
    """One operation whose response is a stream."""

    def __init__(self, pipeline: Pipeline, connections: LiveConnections, call: Call, send: Send) -> None:
        self._pipeline = pipeline
        self._connections = connections
        self._call = call
        self._send = send
        self._stream = EventStream(pipeline.services.settings.live_ping_s)

    async def run(self) -> None:
        """Handle the request, until its response has ended."""
        call, pipeline = self._call, self._pipeline
        with ExitStack() as owned:
            try:
                owned.enter_context(self._connections.place(call.spenders.address, self._stream.end, is_socket=False))
                answer = await in_task(pipeline.admission, call, pipeline.respond(call))
            except TooManyError as error:
                answer = overloaded(error)
            if isinstance(answer, Subscribed):
                refusal = await self._stream_events(answer)
                if refusal is None:
                    return
                answer = refusal
            if accepted_streams(call.head.accept) is Streams.ALWAYS and answer.status in STREAMED_STATUSES:
                self._put_last(answer.body)
                await self._stream.write(self._send, answer, call.request_id)
            else:
                await send_response(self._send, answer, call.request_id, call.trace, with_body=call.method != "HEAD")

    async def _stream_events(self, opened: Subscribed) -> Response | None:
        """Send the events of a subscription until the stream ends; return a response where it may not be sent."""
        try:
            with (
                self._connections.user_place(self._call.viewer.user_id),
                self._connections.session(session_of(self._pipeline, self._call, self._end_session)),
            ):
                await self._write_events(opened)
        except TooManyError as error:
            return overloaded(error)
        finally:
            await opened.subscription.aclose()
        return None

    async def _write_events(self, opened: Subscribed) -> None:
        tasks = [asyncio.create_task(self._put_events(opened)), asyncio.create_task(self._watch_client())]
        try:
            await self._stream.write(self._send, opened, self._call.request_id)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _put_events(self, opened: Subscribed) -> None:
        async def emit(result: bytes) -> None:
            await self._stream.put(next_event(result))

        ended = await send_events(self._pipeline, self._call, opened, emit)
        self._put_last(ended.body)

    async def _watch_client(self) -> None:
        """End the stream when the client is gone."""
        while (await self._call.receive())["type"] != "http.disconnect":
            pass
        self._stream.end()

    def _end_session(self) -> None:
        self._put_last(errors_answer(401, JSON, [unauthenticated().error]).body)

    def _put_last(self, result: bytes) -> None:
        self._stream.put_now(next_event(result))
        self._stream.put_now(complete_event())
        self._stream.end()
