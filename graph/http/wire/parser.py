"""The parser of requests. It ignores offers to upgrade the connection (RFC 9110, section 7.8), except to a WebSocket.

The JDK's HttpClient and `curl --http2` offer HTTP/2 with each first request, also with a body. httptools stops after
the head of such a request, because another protocol could follow: the body is lost, and is then read as the next
request. Folio accepts no such offer, so the head has the same meaning without the `Upgrade` field. The head is written
again without this field, and parsed again. A GET that is the handshake of a WebSocket ends the work of the parser.
"""

from array import array
from typing import Protocol

import httptools


class Reader(Protocol):
    """The receiver of parser events. It must ignore a message while the parser's `is_offer` is true."""

    url: bytes
    headers: list[tuple[bytes, bytes]]

    @property
    def is_handshake(self) -> bool:
        """Whether the headers of the current request open a WebSocket."""

    def begin_again(self) -> None:
        """Expect the head of the current request again."""

    def on_handshake(self, rest: bytes) -> None:
        """Leave the connection to a WebSocket, with the bytes after the head."""


class RequestParser(httptools.HttpRequestParser):
    """httptools' parser without upgrades."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._start()

    def _start(self) -> None:
        """Reset the parser to expect a request."""
        super().__init__(self._reader)
        # As in uvicorn: bytes after the last request of a connection are no reason to refuse that request.
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    @property
    def is_offer(self) -> bool:
        """Whether the current message ends with its head because it offers an upgrade."""
        return self.should_upgrade() and self.get_method() != b"CONNECT"

    def feed_data(self, data: "bytes | bytearray | memoryview | array[int]") -> None:
        """Parse received bytes.

        Raises:
            httptools.HttpParserError: the bytes are not HTTP, or a callback raised an error.
            httptools.HttpParserUpgrade: the request is a CONNECT.
        """
        rest = memoryview(data)
        while True:
            try:
                super().feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                if not self.is_offer:
                    raise
                rest = rest[offer.args[0] :]
            else:
                return
            if self.get_method() == b"GET" and self.get_http_version() == "1.1" and self._reader.is_handshake:
                self._reader.on_handshake(bytes(rest))
                return
            head = self._head()
            self._start()  # without the reset, a parser after `Connection: close` accepts no further head
            self._reader.begin_again()
            super().feed_data(head)

    def _head(self) -> bytes:
        """Return the last parsed head, without the offer."""
        reader = self._reader
        line = b"%b %b HTTP/%b\r\n" % (self.get_method(), reader.url, self.get_http_version().encode())
        kept = [b"%b: %b\r\n" % (name, value) for name, value in reader.headers if name != b"upgrade"]
        return b"".join([line, *kept, b"\r\n"])
