"""Content codings: negotiation of compressed responses, and compressed bodies (RFC 9110, sections 8.4 and 12.5.3)."""

import functools
import zlib
from collections.abc import Sequence

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from graph.http.parsing.fields import elements
from graph.http.parsing.head import Head
from graph.http.parsing.requests import HttpRefused, too_large

ACCEPT_ENCODING = b"accept-encoding"
CONTENT_ENCODING = b"content-encoding"

# For each coding the zlib formats that a body may have. `x-gzip` is an old name (section 8.4.1.3), and some clients
# send `deflate` without the zlib frame that it requires (8.4.1.2).
_GZIP = (zlib.MAX_WBITS | 16,)
_FORMATS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS)}
_READ_CODINGS = "gzip, deflate"


def takes_gzip(lines: Sequence[bytes]) -> bool:
    """Return whether these Accept-Encoding lines give gzip at least the weight of an uncompressed response."""
    return bool(lines) and _takes_gzip(b",".join(lines))


@functools.lru_cache(maxsize=256)
def _takes_gzip(value: bytes) -> bool:
    weights = {one.name: one.weight for one in elements(value)}
    named = [weights[name] for name in ("gzip", "x-gzip") if name in weights]
    gzip = max(named) if named else weights.get("*", 0.0)
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


class Gzip(GZipMiddleware):
    """Starlette's compression, with correct negotiation: Starlette only searches for the name, also in `gzip;q=0`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. The response is compressed if the client prefers that."""
        if scope["type"] == "http":
            lines = [value for name, value in scope["headers"] if name == ACCEPT_ENCODING]
            others = [line for line in scope["headers"] if line[0] != ACCEPT_ENCODING]
            wanted = [(ACCEPT_ENCODING, b"gzip")] if takes_gzip(lines) else []
            scope = {**scope, "headers": others + wanted}
        await super().__call__(scope, receive, send)


def check_coding(head: Head) -> None:
    """Raise HttpRefused, 415, where the body has an unsupported content coding."""
    if CONTENT_ENCODING in head:
        _coding(head)


def _coding(head: Head) -> str | None:
    """Return the content coding of a body, or None."""
    named = [one.name for one in elements(b",".join(head.raw(CONTENT_ENCODING))) if one.name != "identity"]
    if not named:
        return None
    # Only one coding is allowed: each further layer could be a decompression bomb.
    if len(named) > 1 or named[0] not in _FORMATS:
        message = "Content-Encoding should be gzip or deflate, once, or absent"
        raise HttpRefused(415, "UNSUPPORTED_CONTENT_ENCODING", message, {"accept-encoding": _READ_CODINGS})
    return named[0]


def decoded(head: Head, body: bytes, bytes_max: int) -> bytes:
    """Return the body without its content coding.

    Raises:
        HttpRefused: 413: it is larger than `bytes_max`, and decoding stopped there; 415: the coding is not supported;
            400: the body does not have this coding.
    """
    coding = _coding(head)
    if coding is None:
        return body
    if len(body) > bytes_max:
        raise too_large(bytes_max)
    for format_ in _FORMATS[coding]:
        content = _inflated(body, format_, bytes_max)
        if content is not None:
            return content
    message = f"Content-Encoding says {coding}, but the body is not one complete {coding} stream"
    raise HttpRefused(400, "BAD_REQUEST", message)


def _inflated(body: bytes, format_: int, bytes_max: int) -> bytes | None:
    """Return the content of a zlib stream, or None if it is not one complete stream of this format."""
    stream = zlib.decompressobj(format_)
    try:
        content = stream.decompress(body, bytes_max + 1)
    except zlib.error:
        return None
    if len(content) > bytes_max:
        raise too_large(bytes_max)
    return content if stream.eof and not stream.unused_data else None
