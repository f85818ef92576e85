"""One operation of a live connection: from the request to its last result.

Queries and mutations pass through the pipeline like a POST, and have one result. A subscription passes through it, too:
its response is an open subscription, whose events are sent here.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from graph.http.admission.control import Spenders
from graph.http.call import Call
from graph.http.drivers import in_task
from graph.http.live.events import Emit, send_events
from graph.http.parsing.head import Head
from graph.http.pipeline import Pipeline
from graph.http.responses.response import GRAPHQL_RESPONSE, Response, codes_of
from graph.http.subscribing import Subscribed
from graph.http.wire.extensions import wait_for_disconnect
from graph.telemetry.traces import random_hex

OK = 200
# The code of a subscription whose client has not read its events.
TOO_SLOW = "SUBSCRIBER_TOO_SLOW"


def socket_head(authorizations: list[str]) -> Head:
    """Return the head that each operation of a socket has: the caller, and media types."""
    lines = [(b"content-type", b"application/json"), (b"accept", GRAPHQL_RESPONSE.encode())]
    lines += [(b"authorization", one.encode(errors="replace")) for one in authorizations]
    head = Head(lines)
    head.media_type = GRAPHQL_RESPONSE  # with it, 200 means that the operation has run
    return head


def operation_call(head: Head, payload: dict[str, Any], spenders: Spenders, left: asyncio.Event) -> Call:
    """Return the call of an operation that a client has sent in a message. `left` ends it."""
    receive = partial(wait_for_disconnect, left)
    started = asyncio.get_running_loop().time()
    body = orjson.dumps(payload)
    return Call("POST", head, receive, random_hex(16), started, spenders, body=body, is_live=True)


async def run_operation(pipeline: Pipeline, call: Call, emit: Emit, on_open: Callable[[], None]) -> Response | None:
    """Run an operation, and emit its results.

    Args:
        pipeline: runs it.
        call: the operation.
        emit: receives each result.
        on_open: is called when a subscription is open. It ends by the cancellation of this task.

    Returns:
        None after the last result, or the response that refuses the operation or has ended it.
    """
    answer = await in_task(pipeline.admission, call, pipeline.respond(call))
    if isinstance(answer, Subscribed):
        on_open()
        return await send_events(pipeline, call, answer, emit)
    if answer.status != OK:
        return answer
    await emit(answer.body)
    return None


def errors_in(refusal: Response) -> bytes:
    """Return the errors in a response that refuses an operation, as a JSON list."""
    return orjson.dumps(orjson.loads(refusal.body)["errors"])


def codes_in(refusal: Response) -> list[str]:
    """Return the codes of these errors."""
    return codes_of(orjson.loads(refusal.body)["errors"])
