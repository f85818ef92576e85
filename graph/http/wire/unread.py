"""Unread responses: a limit on the bytes that all clients together have not read yet.

A client may read as slowly as a kilobyte a second (`graph.http.wire.protocol`), and one address may have many
connections. So the total of unread bytes is limited. Above the limit, the address with the most unread bytes loses the
connection that has waited longest.
"""

import asyncio
import contextlib
import fcntl
import socket
import sys
import termios
from typing import Protocol

from graph.http.admission.budgets import spending_address

UNREAD_BYTES_MAX = 268_435_456


class Writing(Protocol):
    """A connection whose client has not read all written bytes."""

    client: tuple[str, int] | None

    def cut_off(self, left: int) -> None:
        """Abort the connection; `left` bytes are unread."""

    def __hash__(self) -> int:
        """Hash by identity."""


class UnreadAnswers:
    """The unread response bytes of all connections of one application.

    Attributes:
        bytes: their total, from the last count of each connection.
    """

    def __init__(self, bytes_max: int = UNREAD_BYTES_MAX) -> None:
        self.bytes = 0
        self._bytes_max = bytes_max
        self._by_address: dict[str, dict[Writing, int]] = {}

    def count(self, one: Writing, left: int) -> None:
        """Set the count of a connection to `left` bytes. Abort connections while the total exceeds the limit."""
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
        """Remove the count of a connection."""
        address = _address(one)
        theirs = self._by_address.get(address, {})
        self.bytes -= theirs.pop(one, 0)
        if not theirs:
            self._by_address.pop(address, None)


def unread_bytes(transport: asyncio.Transport) -> int:
    """Return how many written bytes the client's machine has not acknowledged, in the process and in the kernel.

    The kernel takes more bytes from the process only when a third of the kernel's buffer, of megabytes, is free. So the
    bytes in the process alone do not show whether a client reads.
    """
    left = transport.get_write_buffer_size()
    with contextlib.suppress(OSError):  # not all systems provide this number
        found = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        left += int.from_bytes(found, sys.byteorder)
    return left


def limit_unconfirmed(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Let the kernel end a connection if the client's machine has not confirmed sent bytes for so long (RFC 5482).

    A client that has vanished without FIN or RST is found in this way where the server sends something, such as the
    comments of a stream of events. The kernel's default is a quarter of an hour.
    """
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # not on all systems
    connection = transport.get_extra_info("socket")
    if option is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))


def _sum(connections: dict[Writing, int]) -> int:
    return sum(connections.values())


def _address(one: Writing) -> str:
    return spending_address(one.client[0]) if one.client else ""
