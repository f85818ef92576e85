"""Content codings: who gets compressed answers, and how compressed bodies are read (RFC 9110, 8.4 and 12.5.3)."""

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

# By the coding: what zlib calls the formats that a stream may have. `x-gzip` is an old name (section 8.4.1.3), and some
# clients leave out the frame that `deflate` stands for (8.4.1.2).
_GZIP = (zlib.MAX_WBITS | 16,)
_FORMATS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS)}
_READ_CODINGS = "gzip, deflate"


def takes_gzip(lines: Sequence[bytes]) -> bool:
    """Say whether the client that sent these lines of Accept-Encoding wants gzip at least as much as plain answers."""
    return bool(lines) and _takes_gzip(b",".join(lines))


@functools.lru_cache(maxsize=256)
def _takes_gzip(value: bytes) -> bool:
    weights = {one.name: one.weight for one in elements(value)}
    named = [weights[name] for name in ("gzip", "x-gzip") if name in weights]
    gzip = max(named) if named else weights.get("*", 0.0)
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


class Gzip(GZipMiddleware):
    """Starlette's compression, for the clients that want it: it looks for the name alone, also in `gzip;q=0`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Response a request, compressed where the client wants that."""
        if scope["type"] == "http":
            lines = [value for name, value in scope["headers"] if name == ACCEPT_ENCODING]
            others = [line for line in scope["headers"] if line[0] != ACCEPT_ENCODING]
            wanted = [(ACCEPT_ENCODING, b"gzip")] if takes_gzip(lines) else []
            scope = {**scope, "headers": others + wanted}
        await super().__call__(scope, receive, send)


def check_coding(head: Head) -> None:
    """Raise HttpRefused, 415, where a body is coded in a way that is not read here."""
    if CONTENT_ENCODING in head:
        _coding(head)


def _coding(head: Head) -> str | None:
    """Return the coding of a body, or None where it has none."""
    named = [one.name for one in elements(b",".join(head.raw(CONTENT_ENCODING))) if one.name != "identity"]
    if not named:
        return None
    # One alone: each layer could be a bomb of its own.
    if len(named) > 1 or named[0] not in _FORMATS:
        message = "Content-Encoding should be gzip or deflate, once, or absent"
        raise HttpRefused(415, "UNSUPPORTED_CONTENT_ENCODING", message, {"accept-encoding": _READ_CODINGS})
    return named[0]


def decoded(head: Head, body: bytes, bytes_max: int) -> bytes:
    """Return the body without its coding.

    Raises:
        HttpRefused: 413: it is larger than `bytes_max`, of which no more was decoded; 415: the coding is not read here;
            400: it is not coded so.
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
    message = f"the body is not one whole {coding} stream, as Content-Encoding says"
    raise HttpRefused(400, "BAD_REQUEST", message)


def _inflated(body: bytes, format_: int, bytes_max: int) -> bytes | None:
    """Return what a stream of zlib's holds, or None where it is no whole one of this format."""
    stream = zlib.decompressobj(format_)
    try:
        content = stream.decompress(body, bytes_max + 1)
    except zlib.error:
        return None
    if len(content) > bytes_max:
        raise too_large(bytes_max)
    return content if stream.eof and not stream.unused_data else None
