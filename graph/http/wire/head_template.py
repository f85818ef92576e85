"""Head templates: the head that a connection has sent before. Most clients send the same head with each request.

Only the digits of Content-Length differ. A complete request that equals a parsed head of the same connection in all
other bytes has the same meaning, and needs no parser: the remaining bytes are its body. A template is not kept longer
than its connection.
"""

import re
from dataclasses import dataclass
from typing import Self

from graph.http.parsing.head import Head

HEAD_END = b"\r\n\r\n"
HEAD_BYTES_MAX = 4096
LENGTH_DIGITS_MAX = 9

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)(?=\r\n)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HeadTemplate:
    """A head whose requests have a body of a declared length, and keep the connection open.

    Attributes:
        before: the bytes before the digits of Content-Length.
        behind: the bytes after these digits.
        head: the parsed head; its Content-Length is that of the first request.
    """

    before: bytes
    behind: bytes
    head: Head

    @classmethod
    def of(cls, message: bytes, head: Head, body: bytes) -> Self | None:
        """Return the template of a complete request; None if its head is too long, or its body is chunked."""
        end = len(message) - len(body)
        written = message[:end]
        lengths = _LENGTH.findall(written)
        if end > HEAD_BYTES_MAX or len(lengths) != 1 or written.find(HEAD_END) != end - len(HEAD_END):
            return None
        if any(name == b"transfer-encoding" for name, _ in head.lines):
            return None
        found = _LENGTH.search(written)
        assert found is not None
        return cls(written[: found.start(1)], written[found.end(1) :], head)

    def body_of(self, message: bytes) -> bytes | None:
        """Return the body, if the message is exactly one complete request with this head; else None."""
        before = self.before
        if not message.startswith(before):
            return None
        start = len(before)
        end = message.find(b"\r", start, start + LENGTH_DIGITS_MAX + 1)
        digits = message[start:end]
        if end < 0 or not digits.isdigit() or not message.startswith(self.behind, end):
            return None
        body = message[end + len(self.behind) :]
        return body if len(body) == int(digits) else None
