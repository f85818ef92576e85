"""Whether the response to a request is a stream of events, by its Accept header."""

import functools
from enum import Enum

from graph.http.parsing.fields import elements
from graph.http.parsing.requests import EVENT_STREAM, JSON
from graph.http.responses.response import ACCEPT_KEPT_LENGTH_MAX, GRAPHQL_RESPONSE

EVENT_STREAM_BYTES = EVENT_STREAM.encode()


class Streams(Enum):
    """Which responses are streams. Some clients accept everything with each request, and expect JSON where it fits."""

    NEVER = "never"
    SUBSCRIPTIONS = "subscriptions"
    ALWAYS = "always"


def accepted_streams(accept: bytes) -> Streams:
    """Return which responses to this Accept header are streams."""
    if EVENT_STREAM_BYTES not in accept.lower():
        return Streams.NEVER
    return _accepted(accept) if len(accept) <= ACCEPT_KEPT_LENGTH_MAX else _accepted.__wrapped__(accept)


@functools.lru_cache(maxsize=256)
def _accepted(accept: bytes) -> Streams:
    ranges = {one.name: one.weight for one in elements(accept)}
    if ranges.get(EVENT_STREAM, 0.0) <= 0:
        return Streams.NEVER
    takes_json = any(ranges.get(name, 0.0) > 0 for name in (JSON, GRAPHQL_RESPONSE, "application/*", "*/*"))
    return Streams.SUBSCRIPTIONS if takes_json else Streams.ALWAYS


def may_stream(accept: bytes, body: bytes) -> bool:
    """Return whether the response to a POST may be a stream. Whether it is one is known after its document is read."""
    accepted = accepted_streams(accept)
    if accepted is Streams.SUBSCRIPTIONS:
        return b"subscription" in body or b'"query"' not in body  # or a stored document
    return accepted is Streams.ALWAYS
