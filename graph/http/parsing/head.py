"""The head of a request, read once: its size, and the few headers that the endpoint uses."""

from collections.abc import Iterable

# Each of these headers shows that a program sends the request: a foreign page cannot send them without a preflight.
PROGRAM_HEADERS = (
    "x-folio-request",
    "apollo-require-preflight",
    "apollographql-client-name",
    "graphql-require-preflight",
    "x-apollo-operation-name",
    "x-graphql-client-name",
    "x-requested-with",
)

# The reserved stream of events to which a request belongs (graphql-sse).
STREAM_TOKEN = b"x-graphql-event-stream-token"

_READ = frozenset(
    {
        STREAM_TOKEN,
        b"accept",
        b"accept-encoding",
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"if-none-match",
        b"origin",
        b"sec-fetch-mode",
        b"traceparent",
        *(name.encode() for name in PROGRAM_HEADERS),
    }
)


class Head:
    """The headers of one request that the endpoint uses, by name in lower case, as in ASGI.

    Attributes:
        lines: all headers, in the order of the request.
        size: the size of all headers in bytes.
        accept: the accepted media types; several Accept lines are joined to one list (RFC 9110, section 5.3).
        is_coded: whether the body has a content coding.
        origin: the origin of the page that sends the request; None if no page of another origin sends it.
        media_type: the media type of the response to a POST with this head; None before it is negotiated. A connection
            may reuse the head.
    """

    __slots__ = (
        "_found",
        "accept",
        "authorizations",
        "is_coded",
        "lines",
        "media_type",
        "origin",
        "size",
        "traceparents",
    )

    def __init__(self, lines: Iterable[tuple[bytes, bytes]]) -> None:
        self.lines = list(lines)
        found: dict[bytes, list[bytes]] = {}
        size = 0
        for name, value in self.lines:
            size += len(name) + len(value)
            if name in _READ:
                if name in found:
                    found[name].append(value)
                else:
                    found[name] = [value]
        self._found = found
        self.size = size
        self.media_type: str | None = None
        self.accept = b",".join(found[b"accept"]) if b"accept" in found else b""
        self.authorizations = self.each(b"authorization")
        self.traceparents = self.each(b"traceparent")
        self.is_coded = b"content-encoding" in found
        self.origin = self.first(b"origin")

    def __contains__(self, name: bytes) -> bool:
        return name in self._found

    def first(self, name: bytes) -> bytes | None:
        """Return the first value of the header, or None."""
        values = self._found.get(name)
        return None if values is None else values[0]

    def raw(self, name: bytes) -> list[bytes]:
        """Return the values of all headers with this name, as bytes."""
        return self._found.get(name, [])

    def each(self, name: bytes) -> list[str]:
        """Return the values of all headers with this name, as strings."""
        values = self._found.get(name)
        return [] if values is None else [value.decode("latin-1") for value in values]
