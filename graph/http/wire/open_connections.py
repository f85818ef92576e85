"""How many connections a worker has open, so that file descriptors do not run out.

Where they do, the event loop drops new connections without a word, and neither files nor connections to the database
can be opened. Clients therefore have only a part of them. Where all of that is taken, a new connection takes the place
of an idle one: of the address that has most, and there of the one that was opened first. Any client has to expect that
an idle connection is closed. Nobody takes a place from an address that has fewer; where no idle connection is left to
take, the new one is refused.
"""

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

# File descriptors that are kept for everything but clients and the pool: the log, listeners, modules, the event loop.
FILES_KEPT = 128
FILES_WANTED = 65_536
LOGGED_EVERY_S = 10.0
# To find an idle connection so many are looked at, beside as many as may have requests under way.
LOOKED_AT_BESIDES = 256


class ClientConnection(Protocol):
    """What is asked of a connection."""

    client: tuple[str, int] | None

    @property
    def is_idle(self) -> bool:
        """Whether closing it disturbs no request."""

    def make_room(self) -> None:
        """Close it."""

    def __hash__(self) -> int:
        """Each is itself."""


class OpenConnections:
    """The connections of one application to its clients.

    Attributes:
        number_max: how many there may be.
        unread: what waits to be read by their clients.
    """

    def __init__(self, settings: Settings) -> None:
        self.unread = UnreadAnswers()
        self._files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if self._files == resource.RLIM_INFINITY:
            self._files = FILES_WANTED
        # Interrupting a statement takes a connection of its own.
        pool = 2 * (settings.pool_size + settings.pool_max_overflow)
        kept = min(FILES_KEPT + pool, self._files // 2)
        self.number_max = min(settings.connections_max, self._files - kept)
        is_set = settings.connections_max <= self.number_max
        self._why = "FOLIO_CONNECTIONS_MAX" if is_set else "the limit of open files (ulimit -n)"
        # The system gives each new file the lowest free number: from here on, little is left of what is kept.
        self._last_file = self._files - kept // 4
        self._number = 0
        self._by_address: dict[str, dict[ClientConnection, None]] = {}
        # The addresses that have a number of connections, by that number: to find who has most, in no time.
        self._by_number: dict[int, dict[str, None]] = {}
        busy_max = settings.operations_in_flight_max + settings.bodies_arriving_max
        self._looked_at_max = busy_max + LOOKED_AT_BESIDES
        self._closed = self._refused = 0
        self._logged_at = -LOGGED_EVERY_S

    def enter(self, one: ClientConnection, file: int) -> bool:
        """Take a place for a connection, whose file descriptor is `file`; False where there is none."""
        if file >= self._last_file:
            self._refused += 1
            self._log("file descriptors run out: %d of %d are open", file + 1, self._files)
            return False
        address = _address(one)
        if self._number >= self.number_max:
            idle = self._idle(address)
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
        """Give the place up, where it has one."""
        address = _address(one)
        theirs = self._by_address.get(address)
        if theirs is None or one not in theirs:
            return
        del theirs[one]
        self._count(address, len(theirs) + 1, len(theirs))
        if not theirs:
            del self._by_address[address]

    def _count(self, address: str, before: int, after: int) -> None:
        """Note how many connections an address has."""
        self._number += after - before
        if before:
            same = self._by_number[before]
            del same[address]
            if not same:
                del self._by_number[before]
        if after:
            self._by_number.setdefault(after, {})[address] = None

    def _idle(self, address: str) -> ClientConnection | None:
        """Return the connection that gives way to one of `address`."""
        looked_at = islice(self._in_question(address), self._looked_at_max)
        return next((one for one in looked_at if one.is_idle), None)

    def _in_question(self, address: str) -> Iterator[ClientConnection]:
        """Give the connections of those who have more than `address`, most first, and then its own."""
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
        done = f"{message}; since the last such line %d were closed for others, and %d were refused"
        logger.warning(done, *values, self._closed, self._refused)
        self._logged_at = now
        self._closed = self._refused = 0


def _address(one: ClientConnection) -> str:
    return spending_address(one.client[0]) if one.client else ""


def allow_open_files() -> None:
    """Let this process, and those that it starts, open as many files as the system allows it to, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
