"""The ASGI application at `/graphql`: it passes each request through the pipeline, in the task of the request."""

import asyncio

from starlette.types import Receive, Scope, Send

from graph.http.admission.control import Spenders
from graph.http.call import UNKNOWN_ADDRESS, Call
from graph.http.drivers import in_task
from graph.http.live.endpoint import LiveEndpoint
from graph.http.parsing.head import Head
from graph.http.pipeline import Pipeline
from graph.http.responses import response
from graph.http.wire.extensions import began_at, disconnect_receiver
from graph.telemetry.traces import random_hex


class GraphQLEndpoint:
    """Handles every request to `/graphql` that arrives through ASGI."""

    def __init__(self, pipeline: Pipeline, live: LiveEndpoint) -> None:
        self._pipeline = pipeline
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request, or one WebSocket."""
        if scope["type"] == "websocket":
            await self._live.socket(scope)
            return
        client, pipeline, head = scope.get("client"), self._pipeline, Head(scope["headers"])
        call = Call(
            scope["method"],
            head,
            disconnect_receiver(scope) or receive,
            random_hex(16),
            began_at(scope) or asyncio.get_running_loop().time(),
            Spenders.at(str(client[0]) if client else UNKNOWN_ADDRESS),
            scope.get("query_string", b""),
            arriving=receive if scope["method"] == "POST" else None,
        )
        if self._live.serves(call):
            await self._live.stream(call, send)
            return
        answer = await in_task(pipeline.admission, call, pipeline.respond(call))
        await response.send_response(send, answer, call.request_id, call.trace, with_body=call.method != "HEAD")
