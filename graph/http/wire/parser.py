"""The parser of requests, which ignores every offer to upgrade the connection (RFC 9110, section 7.8).

The JDK's HttpClient and `curl --http2` offer HTTP/2 with each first request, body included. httptools stops behind the
head of such a request, since what follows could be another protocol: the body is lost, and then read as the next
request. Folio accepts no offer, so that the head means what it means without the field `Upgrade`. It is written again
without that field, and parsed again.
"""

from array import array
from typing import Protocol

import httptools


class Reader(Protocol):
    """What the parser reads for. It ignores a message while `is_offer` is true of the parser."""

    url: bytes
    headers: list[tuple[bytes, bytes]]

    def begin_again(self) -> None:
        """Expect the head of the current request once more."""


class RequestParser(httptools.HttpRequestParser):
    """httptools' parser, for which every request is HTTP."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._start()

    def _start(self) -> None:
        """Expect a request, whatever has been parsed before."""
        super().__init__(self._reader)
        # As uvicorn has it: what a client sends behind its last request is no reason to refuse that one.
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    @property
    def is_offer(self) -> bool:
        """Whether the current message ends with its head because it offers an upgrade."""
        return self.should_upgrade() and self.get_method() != b"CONNECT"

    def feed_data(self, data: "bytes | bytearray | memoryview | array[int]") -> None:
        """Parse what came.

        Raises:
            httptools.HttpParserError: it is no HTTP, or a callback raised an error.
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
            head = self._head()
            self._start()  # a connection that is to end with this request would take no head any more
            self._reader.begin_again()
            super().feed_data(head)

    def _head(self) -> bytes:
        """Return the head that was parsed last, without the offer."""
        reader = self._reader
        line = b"%b %b HTTP/%b\r\n" % (self.get_method(), reader.url, self.get_http_version().encode())
        kept = [b"%b: %b\r\n" % (name, value) for name, value in reader.headers if name != b"upgrade"]
        return b"".join([line, *kept, b"\r\n"])
