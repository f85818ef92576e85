"""The head that a connection has sent before: most clients send the same one with each request.

Only how long the body is differs, in the digits of Content-Length. A request whose other bytes are those of a head that
was parsed on the same connection, and that is there to its last byte, means what that one meant, and needs no parser:
its body is what is left. Nothing is remembered beyond the connection.
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
    """A head whose requests have a body of a declared length, and after which the connection goes on.

    Attributes:
        before: its bytes up to the digits of the length.
        behind: its bytes behind them.
        head: what it says; of Content-Length, what it said when it was parsed.
    """

    before: bytes
    behind: bytes
    head: Head

    @classmethod
    def of(cls, message: bytes, head: Head, body: bytes) -> Self | None:
        """Return the head of a whole request as it came; None of one that is long, or in whose body are chunks."""
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
        """Return the body of a request that has this head and is whole, with nothing behind it; else None."""
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
