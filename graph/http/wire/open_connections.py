"""Limits the client connections of a worker, so that file descriptors do not run out.

Without free descriptors the event loop drops new connections silently, and neither files nor connections to the
database can be opened. So clients get only a part of the descriptors. Where this part is used up, a new connection
takes the place of an idle one: of the address with the most connections, and there of the oldest one. Clients must
expect that an idle connection is closed. A connection never takes the place of one from an address with fewer
connections. Where no idle connection can be replaced, the new one is refused.
"""

import asyncio
import logging
import resource
import time
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

from db.settings import Settings
from graph.http.admission.budgets import spending_address
from graph.http.wire.unread import UnreadAnswers

logger = logging.getLogger(__name__)

# File descriptors reserved for everything besides clients and the pool: log, listeners, modules, the event loop.
FILES_KEPT = 128
FILES_WANTED = 65_536
LOGGED_EVERY_S = 10.0
# The search for an idle connection checks this many connections more than may be busy.
IDLE_SEARCH_EXTRA = 256


class ClientConnection(Protocol):
    """What the limit needs of a connection."""

    client: tuple[str, int] | None

    @property
    def is_idle(self) -> bool:
        """Whether it can be closed without disturbing a request."""

    def make_room(self) -> None:
        """Close the connection."""

    def __hash__(self) -> int:
        """Hash by identity."""


class OpenConnections:
    """The connections of one application to its clients.

    Attributes:
        unread: the response bytes that clients have not read.
        draining: is set when the server begins to stop, before it waits for running requests.
        message_bytes_max: the most bytes of a message that a client sends over a WebSocket.
        ping_s: after so much silence a live connection is tested: by a ping, or by a comment in a stream of events.
    """

    def __init__(self, settings: Settings) -> None:
        self.unread = UnreadAnswers()
        self.draining = asyncio.Event()
        self.message_bytes_max = settings.socket_message_bytes_max
        self.ping_s = settings.live_ping_s
        self._files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if self._files == resource.RLIM_INFINITY:
            self._files = FILES_WANTED
        # Twice, because cancelling a statement takes another connection.
        pool = 2 * (settings.pool_size + settings.pool_max_overflow)
        kept = min(FILES_KEPT + pool, self._files // 2)
        self.number_max = min(settings.connections_max, self._files - kept)
        is_set = settings.connections_max <= self.number_max
        self._why = "FOLIO_CONNECTIONS_MAX" if is_set else "the limit of open files (ulimit -n)"
        # The system assigns the lowest free number to each new file: from this number on, the reserve is nearly used
        # up.
        self._last_file = self._files - kept // 4
        self._number = 0
        self._by_address: dict[str, dict[ClientConnection, None]] = {}
        # The addresses by their number of connections, to find those with the most quickly.
        self._by_number: dict[int, dict[str, None]] = {}
        busy_max = settings.operations_in_flight_max + settings.bodies_arriving_max
        self._search_max = busy_max + IDLE_SEARCH_EXTRA
        self._closed = self._refused = 0
        self._logged_at = -LOGGED_EVERY_S

    def __iter__(self) -> Iterator[ClientConnection]:
        """Iterate over the open connections."""
        return (one for theirs in self._by_address.values() for one in theirs)

    def enter(self, one: ClientConnection, file: int) -> bool:
        """Take a place for a connection with the file descriptor `file`; False if it must be refused."""
        if file >= self._last_file:
            self._refused += 1
            self._log("file descriptors run out: %d of %d are open", file + 1, self._files)
            return False
        address = _address(one)
        if self._number >= self.number_max:
            idle = self._idle_connection(address)
            if idle is None:
                self._refused += 1
            else:
                self._closed += 1
                self.leave(idle)
                idle.make_room()
            self._log("%d connections are open, as many as %s allows", self.number_max, self._why)
            if idle is None:
                return False
        mine = self._by_address.setdefault(address, {})
        mine[one] = None
        self._count(address, len(mine) - 1, len(mine))
        return True

    def leave(self, one: ClientConnection) -> None:
        """Release the place of a connection, if it has one."""
        address = _address(one)
        theirs = self._by_address.get(address)
        if theirs is None or one not in theirs:
            return
        del theirs[one]
        self._count(address, len(theirs) + 1, len(theirs))
        if not theirs:
            del self._by_address[address]

    def _count(self, address: str, before: int, after: int) -> None:
        """Update the number of connections of an address."""
        self._number += after - before
        if before:
            same = self._by_number[before]
            del same[address]
            if not same:
                del self._by_number[before]
        if after:
            self._by_number.setdefault(after, {})[address] = None

    def _idle_connection(self, address: str) -> ClientConnection | None:
        """Return the idle connection that a new one from `address` replaces, or None."""
        candidates = islice(self._candidates(address), self._search_max)
        return next((one for one in candidates if one.is_idle), None)

    def _candidates(self, address: str) -> Iterator[ClientConnection]:
        """Yield the connections of addresses with more than `address` has, most first, and then its own."""
        mine = self._by_address.get(address, {})
        for number in sorted(self._by_number, reverse=True):
            if number <= len(mine):
                break
            for other in self._by_number[number]:
                yield from self._by_address[other]
        yield from mine

    def _log(self, message: str, *values: object) -> None:
        now = time.monotonic()
        if now - self._logged_at < LOGGED_EVERY_S:
            return
        done = f"{message}; since the last such line %d were closed for new ones, and %d were refused"
        logger.warning(done, *values, self._closed, self._refused)
        self._logged_at = now
        self._closed = self._refused = 0


def _address(one: ClientConnection) -> str:
    return spending_address(one.client[0]) if one.client else ""


def allow_open_files() -> None:
    """Raise the limit of open files of this process and its children, as far as the system and FILES_WANTED allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
