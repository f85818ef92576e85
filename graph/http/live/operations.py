"""One operation of a live connection: from the request to its last result.

Queries and mutations pass through the pipeline like a POST, and have one result. A subscription passes through it, too:
its response is an open subscription, whose events are sent here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson

from graph.http.call import Call
from graph.http.drivers import in_task
from graph.http.parsing.head import Head
from graph.http.pipeline import Pipeline
from graph.http.responses.response import GRAPHQL_RESPONSE, Response
from graph.http.wire.extensions import wait_for_disconnect
from graph.telemetry.traces import random_hex

OK = 200
Emit = Callable[[bytes], Awaitable[None]]
"""Sends one result, as JSON, and waits until the client takes further ones."""


def socket_head(authorizations: list[str]) -> Head:
    """Return the head that each operation of a socket has: the caller, and media types."""
    lines = [(b"content-type", b"application/json"), (b"accept", GRAPHQL_RESPONSE.encode())]
    lines += [(b"authorization", one.encode(errors="replace")) for one in authorizations]
    head = Head(lines)
    head.media_type = GRAPHQL_RESPONSE  # with it, 200 means that the operation has run
    return head


def operation_call(head: Head, payload: dict[str, Any], address: str, left: asyncio.Event) -> Call:
    """Return the call of an operation that a client has sent in a message. `left` ends it."""
    receive = partial(wait_for_disconnect, left)
    started = asyncio.get_running_loop().time()
    return Call("POST", head, receive, random_hex(16), started, address, b"", orjson.dumps(payload))


async def run_operation(pipeline: Pipeline, call: Call, emit: Emit) -> Response | None:
    """Run an operation, and emit its results. Return None after the last one, or the response that refuses it."""
    answer = await in_task(pipeline.admission, call, pipeline.respond(call))
    if answer.status != OK:
        return answer
    await emit(answer.body)
    return None


def errors_in(refusal: Response) -> bytes:
    """Return the errors in a response that refuses an operation, as a JSON list."""
    return orjson.dumps(orjson.loads(refusal.body)["errors"])
