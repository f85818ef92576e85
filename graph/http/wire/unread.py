"""Answers that wait to be read by their clients, and how many bytes all of them may take.

A client may read as slowly as a kilobyte a second (`graph.http.wire.protocol`), and one address may have many
connections: what waits for them is bounded in all, whatever it is that makes them slow. Where there is more, the
address for which most waits loses the connection that has waited longest.
"""

import asyncio
import contextlib
import fcntl
import sys
import termios
from typing import Protocol

from graph.http.admission.budgets import spending_address

UNREAD_BYTES_MAX = 268_435_456


class Writing(Protocol):
    """A connection whose client has not read all that was written to it."""

    client: tuple[str, int] | None

    def cut_off(self, left: int) -> None:
        """End it at once, with so many bytes unread."""

    def __hash__(self) -> int:
        """Each is itself."""


class UnreadAnswers:
    """What waits to be read on all connections of one application.

    Attributes:
        bytes: how many there are, as of when each was looked at last.
    """

    def __init__(self, bytes_max: int = UNREAD_BYTES_MAX) -> None:
        self.bytes = 0
        self._bytes_max = bytes_max
        self._by_address: dict[str, dict[Writing, int]] = {}

    def count(self, one: Writing, left: int) -> None:
        """Count so many bytes for a connection, instead of what was counted for it before."""
        theirs = self._by_address.setdefault(_address(one), {})
        self.bytes += left - theirs.get(one, 0)
        theirs[one] = left
        while self.bytes > self._bytes_max:
            most = max(self._by_address.values(), key=_sum)
            oldest = next(iter(most))
            unread = most[oldest]
            self.forget(oldest)
            oldest.cut_off(unread)

    def forget(self, one: Writing) -> None:
        """Count nothing for a connection any more."""
        address = _address(one)
        theirs = self._by_address.get(address, {})
        self.bytes -= theirs.pop(one, 0)
        if not theirs:
            self._by_address.pop(address, None)


def unread_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes are written here that the client's machine has not taken.

    The system takes more from here only when a third of its own buffer, of megabytes, is free: what waits here does not
    tell whether a client reads.
    """
    left = transport.get_write_buffer_size()
    with contextlib.suppress(OSError):  # a system that does not say it
        found = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        left += int.from_bytes(found, sys.byteorder)
    return left


def _sum(connections: dict[Writing, int]) -> int:
    return sum(connections.values())


def _address(one: Writing) -> str:
    return spending_address(one.client[0]) if one.client else ""
