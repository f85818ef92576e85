"""Bytes out: the media type by negotiation, the status and the headers."""

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from graphql import GraphQLError
from starlette.types import Send

from graph.http.parsing.fields import elements
from graph.http.parsing.requests import JSON, HttpRefused

GRAPHQL_RESPONSE = "application/graphql-response+json"

# Clients have a few dozens of Accept headers among them, none as long as this.
ACCEPT_KEPT_LENGTH_MAX = 256

# On everything: no guessing of types, no address handed on, no frame, and nothing kept but what says so.
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(slots=True)
class Response:
    """What goes back: a status, a body with its type, and further headers."""

    status: int
    body: bytes
    media_type: str
    headers: dict[str, str] = field(default_factory=dict)


def negotiated(accept: bytes) -> str:
    """Return the media type to answer with: the client's favourite of the two.

    Without a preference it is application/json, which every client reads.

    Raises:
        HttpRefused: 406: the client takes neither.
    """
    if not accept:
        return JSON
    return _negotiated(accept) if len(accept) <= ACCEPT_KEPT_LENGTH_MAX else _negotiated.__wrapped__(accept)


def readable(accept: bytes) -> str:
    """Return the media type of a refusal: what is negotiated, or application/json for a client that takes neither."""
    try:
        return negotiated(accept)
    except HttpRefused:
        return JSON


@functools.lru_cache(maxsize=256)
def _negotiated(accept: bytes) -> str:
    ranges = {one.name: one.weight for one in elements(accept)}
    fallback = ranges.get("application/*", ranges.get("*/*", 0.0))
    json = ranges.get(JSON, fallback)
    # A wildcard means the older type, unless that alone is ruled out.
    newer = ranges.get(GRAPHQL_RESPONSE, min(fallback, json) if json > 0 else fallback)
    if max(json, newer) <= 0:
        raise HttpRefused(406, "NOT_ACCEPTABLE", f"Accept should allow {GRAPHQL_RESPONSE} or {JSON}")
    prefers_newer = newer > json or (newer == json and GRAPHQL_RESPONSE in ranges)
    return GRAPHQL_RESPONSE if prefers_newer else JSON


def refused(media_type: str, errors: Sequence[GraphQLError]) -> Response:
    """Return the answer to a well-formed request whose operation never ran: no `data`.

    The older media type promises 200 for every well-formed request; the newer one tells the truth.
    """
    return errors_answer(200 if media_type == JSON else 400, media_type, errors)


def errors_answer(
    status: int, media_type: str, errors: Sequence[GraphQLError], headers: dict[str, str] | None = None
) -> Response:
    """Return an answer that has errors alone."""
    content = {"errors": [error.formatted for error in errors]}
    return Response(status, orjson.dumps(content), media_type, headers or {})


def codes_of(errors: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the codes of errors as they stand in an answer."""
    return [str(error["extensions"]["code"]) for error in errors if "code" in error.get("extensions", ())]


def batched(media_type: str, answers: Sequence[Response]) -> Response:
    """Return the answers of a batch as one, in the order of its operations."""
    return Response(200, b"[" + b",".join(answer.body for answer in answers) + b"]", media_type)


def cacheable(answer: Response, *, private: bool, if_none_match: str | None) -> Response:
    """Return the answer to a query by GET with its ETag, or 304 where the client has it already.

    It may be kept, but is asked for again before each use: a post may be a draft again by then.
    """
    etag = f'W/"{hashlib.blake2s(answer.body, digest_size=16).hexdigest()}"'
    scope = "private" if private else "public"
    headers = {**answer.headers, "etag": etag, "cache-control": f"{scope}, max-age=0, must-revalidate"}
    known = {one.strip() for one in (if_none_match or "").split(",")}
    if etag in known or "*" in known:
        return Response(304, b"", answer.media_type, headers)
    return Response(answer.status, answer.body, answer.media_type, headers)


_FIXED = {"cache-control": "no-store", "vary": "accept, authorization", **SECURITY_HEADERS}
_VARIED = {"vary": "accept, authorization, Accept-Encoding"}


def varied_by_encoding(answer: Response) -> Response:
    """Return an answer that other clients get compressed, so that no cache gives this one to them."""
    headers = {**answer.headers, **_VARIED} if answer.headers else _VARIED
    return Response(answer.status, answer.body, answer.media_type, headers)


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as they stand in a message of HTTP/1.1."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


_FIXED_ENCODED = _encoded(_FIXED)
_FIXED_LINES = header_lines(_FIXED_ENCODED)
_VARIED_LINES = header_lines(_encoded({**_FIXED, **_VARIED}))
_TYPES_ENCODED = {
    one: (b"content-type", f"{one}; charset=utf-8".encode()) for one in (JSON, GRAPHQL_RESPONSE, "text/html")
}


_TYPE_LINES = {one: header_lines([header]) for one, header in _TYPES_ENCODED.items()}


class EncodedResponse(NamedTuple):
    """An answer as it stands in a message of HTTP/1.1.

    Attributes:
        lines: of its headers, each with its end of line.
        closes: whether the connection is to end with it.
    """

    status: int
    lines: bytes
    body: bytes
    closes: bool = False


def encoded(answer: Response, request_id: str, trace: str | None) -> EncodedResponse:
    """Return `answer` as a reply to a POST, with its place in a trace where it has one."""
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
    """Write `answer` to the client, with its place in a trace where it has one."""
    raw = [
        _TYPES_ENCODED[answer.media_type],
        (b"content-length", b"%d" % len(answer.body)),
        (b"x-request-id", request_id.encode()),
        *(_encoded({**_FIXED, **answer.headers}) if answer.headers else _FIXED_ENCODED),
    ]
    if trace is not None:
        raw.append((b"traceresponse", trace.encode()))
    if answer.status == 304:  # noqa: PLR2004 - Not Modified has no content, and so no type and length of any
        del raw[:2]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})
