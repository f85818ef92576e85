"""Responses: negotiation of the media type, status and headers."""

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from graphql import GraphQLError
from starlette.types import Send

from graph.http.parsing.fields import elements
from graph.http.parsing.requests import EVENT_STREAM, JSON, HttpRefused

GRAPHQL_RESPONSE = "application/graphql-response+json"

# All clients together use a few dozen Accept headers, and none is as long as this.
ACCEPT_KEPT_LENGTH_MAX = 256

# Headers of every response: browsers must not guess types, send a Referer, show it in a frame, or embed it elsewhere.
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(slots=True)
class Response:
    """A response: a status, a body with its media type, and further headers."""

    status: int
    body: bytes
    media_type: str
    headers: dict[str, str] = field(default_factory=dict)


def negotiated(accept: bytes) -> str:
    """Return the media type of the response: the one that the client prefers.

    Without a preference it is application/json, which every client can read.

    Raises:
        HttpRefused: 406: the client accepts neither media type.
    """
    if not accept:
        return JSON
    return _negotiated(accept) if len(accept) <= ACCEPT_KEPT_LENGTH_MAX else _negotiated.__wrapped__(accept)


def readable(accept: bytes) -> str:
    """Return the media type of a refusal: the negotiated one, or application/json where the client accepts neither."""
    try:
        return negotiated(accept)
    except HttpRefused:
        return JSON


@functools.lru_cache(maxsize=256)
def _negotiated(accept: bytes) -> str:
    ranges = {one.name: one.weight for one in elements(accept)}
    fallback = ranges.get("application/*", ranges.get("*/*", 0.0))
    json = ranges.get(JSON, fallback)
    # A wildcard means the older type, unless the client excludes it explicitly.
    newer = ranges.get(GRAPHQL_RESPONSE, min(fallback, json) if json > 0 else fallback)
    if max(json, newer) <= 0 and ranges.get(EVENT_STREAM, 0.0) > 0:
        return GRAPHQL_RESPONSE  # of what is not sent as a stream, and of each event
    if max(json, newer) <= 0:
        raise HttpRefused(406, "NOT_ACCEPTABLE", f"Accept should allow {GRAPHQL_RESPONSE}, {JSON} or {EVENT_STREAM}")
    prefers_newer = newer > json or (newer == json and GRAPHQL_RESPONSE in ranges)
    return GRAPHQL_RESPONSE if prefers_newer else JSON


def refused(media_type: str, errors: Sequence[GraphQLError]) -> Response:
    """Return the response to a well-formed request whose operation did not run: it has no `data`.

    The status is 200 for the older media type, as its specification requires, and 400 for the newer one.
    """
    return errors_answer(200 if media_type == JSON else 400, media_type, errors)


def errors_answer(
    status: int, media_type: str, errors: Sequence[GraphQLError], headers: dict[str, str] | None = None
) -> Response:
    """Return a response that contains only errors."""
    content = {"errors": [error.formatted for error in errors]}
    return Response(status, orjson.dumps(content), media_type, headers or {})


def codes_of(errors: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the codes of formatted errors."""
    return [str(error["extensions"]["code"]) for error in errors if "code" in error.get("extensions", ())]


def batched(media_type: str, answers: Sequence[Response]) -> Response:
    """Return one response for a batch, with the results in the order of its operations."""
    return Response(200, b"[" + b",".join(answer.body for answer in answers) + b"]", media_type)


def cacheable(answer: Response, *, private: bool, if_none_match: str | None) -> Response:
    """Return the response to a query by GET with its ETag, or 304 where the client has it already.

    Caches may store it, but must revalidate it before each use: a post can become a draft again.
    """
    etag = f'W/"{hashlib.blake2s(answer.body, digest_size=16).hexdigest()}"'
    scope = "private" if private else "public"
    headers = {**answer.headers, "etag": etag, "cache-control": f"{scope}, max-age=0, must-revalidate"}
    known = {one.strip() for one in (if_none_match or "").split(",")}
    if etag in known or "*" in known:
        return Response(304, b"", answer.media_type, headers)
    return Response(answer.status, answer.body, answer.media_type, headers)


VARY = "accept, authorization"
"""What every response depends on."""
_FIXED = {"cache-control": "no-store", "vary": VARY, **SECURITY_HEADERS}
_VARIED = {"vary": f"{VARY}, Accept-Encoding"}


def varied_by_encoding(answer: Response) -> Response:
    """Return the response with a Vary header for Accept-Encoding, because other clients get it compressed."""
    headers = {**answer.headers, **_VARIED} if answer.headers else _VARIED
    return Response(answer.status, answer.body, answer.media_type, headers)


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers encoded as lines of an HTTP/1.1 message."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


_FIXED_ENCODED = _encoded(_FIXED)
_FIXED_LINES = header_lines(_FIXED_ENCODED)
_VARIED_LINES = header_lines(_encoded({**_FIXED, **_VARIED}))
_TYPES_ENCODED = {
    one: (b"content-type", f"{one}; charset=utf-8".encode())
    for one in (JSON, GRAPHQL_RESPONSE, "text/html", "text/plain")
}


_TYPE_LINES = {one: header_lines([header]) for one, header in _TYPES_ENCODED.items()}


class EncodedResponse(NamedTuple):
    """A response encoded for an HTTP/1.1 message."""

    status: int
    lines: bytes
    body: bytes
    closes: bool = False


def encoded(answer: Response, request_id: str, trace: str | None) -> EncodedResponse:
    """Return `answer` encoded as the response to a POST, with a `traceresponse` header if `trace` is not None."""
    body, headers = answer.body, answer.headers
    if not headers:
        fixed = _FIXED_LINES
    elif headers is _VARIED:
        fixed = _VARIED_LINES
    else:
        fixed = header_lines(_encoded({**_FIXED, **headers}))
    lines = b"%b%bcontent-length: %d\r\nx-request-id: %b\r\n" % (
        _TYPE_LINES[answer.media_type],
        fixed,
        len(body),
        request_id.encode(),
    )
    if trace is not None:
        lines += b"traceresponse: %b\r\n" % trace.encode()
    return EncodedResponse(answer.status, lines, body, closes=bool(headers) and headers.get("connection") == "close")


async def send_response(send: Send, answer: Response, request_id: str, trace: str | None, *, with_body: bool) -> None:
    """Send `answer` as ASGI messages, with a `traceresponse` header if `trace` is not None."""
    raw = [
        _TYPES_ENCODED[answer.media_type],
        (b"content-length", b"%d" % len(answer.body)),
        (b"x-request-id", request_id.encode()),
        *(_encoded({**_FIXED, **answer.headers}) if answer.headers else _FIXED_ENCODED),
    ]
    if trace is not None:
        raw.append((b"traceresponse", trace.encode()))
    if answer.status == 304:  # noqa: PLR2004 - Not Modified has no content, so no content type or length
        del raw[:2]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})
