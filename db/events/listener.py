"""The connection of the process that listens for notifications: LISTEN, reconnected whenever it breaks.

PostgreSQL lets transactions that notify commit only one after another, so that writes notify only of subjects that are
followed. For each, the connection holds a shared advisory lock, which the triggers test. Subjects share a bounded
number of locks.

It is a separate connection, directly to the server: a pooler that lends connections for one transaction (PgBouncer in
transaction mode) does not support LISTEN, and events then arrive with the slow poll only. Notifications only wake
readers of the log. A lost one delays an event, and loses nothing: after each connect all readers are woken.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from db.connections.asyncpg_adapter import Driver
from db.connections.database import Database
from db.connections.faults import DRIVER_ERRORS
from db.errors import Unavailable
from db.events.topics import ALL, Subject

logger = logging.getLogger(__name__)

CHANNEL = "folio_events"
# The wait before a further attempt to connect: at first, and at most, in seconds.
RECONNECT_FIRST_S, RECONNECT_MAX_S = 0.05, 2.0
LISTEN_LIMIT_S = 10.0
# How long a new subscription waits at most until writes notify it. After that it begins, and the poll serves it.
FOLLOW_LIMIT_S = 1.0
BUCKETS = 256
"""The number of locks of a topic, and the number of the lock for all of its subjects."""

Lock = tuple[str, int]
"""The topic and the bucket of a subject."""

# A trigger that tests a lock at this moment has it for itself.
TESTED_S = 0.02

_FOLLOW = """
    SELECT topic, bucket, pg_try_advisory_lock_shared(hashtext('folio_events:' || topic), bucket) AS is_held
    FROM unnest($1::text[], $2::int[]) AS wanted (topic, bucket)
"""
_UNFOLLOW = _FOLLOW.replace("pg_try_advisory_lock_shared", "pg_advisory_unlock_shared")


def lock_of(subject: Subject) -> Lock:
    """Return the lock that is held for a subject."""
    return subject.topic.value, BUCKETS if subject.id == ALL else subject.id % BUCKETS


class Listener:
    """Listens until it is cancelled.

    Attributes:
        is_listening: whether a connection listens now.
        connects: how often a connection began to listen.
    """

    def __init__(
        self,
        database: Database,
        followed: Callable[[], Iterable[Subject]],
        on_payload: Callable[[str], None],
        on_follow: Callable[[Collection[Lock]], None],
    ) -> None:
        """Make the listener.

        Args:
            database: opens the connection.
            followed: returns all subjects that are followed now.
            on_payload: receives the payload of each notification.
            on_follow: is called with locks when notifications of their subjects begin: earlier ones may be lost.
        """
        self._database = database
        self._followed = followed
        self._on_payload = on_payload
        self._on_follow = on_follow
        self._held: set[Lock] = set()
        self._changed = asyncio.Event()
        self._progress = asyncio.Event()
        self.is_listening = False
        self.connects = 0

    def change(self) -> None:
        """Note that other subjects are followed now."""
        self._changed.set()

    async def ensure_followed(self, subject: Subject) -> None:
        """Wait until writes notify of a subject, but not longer than FOLLOW_LIMIT_S."""
        lock = lock_of(subject)
        with suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_LIMIT_S):
                while lock not in self._held:
                    self._changed.set()
                    await self._progress.wait()

    async def run(self) -> None:
        """Connect, listen, and connect again after each end of the connection."""
        wait_s = RECONNECT_FIRST_S
        while True:
            before = self.connects
            try:
                await self._listen()
                logger.warning("the connection that listens for events has ended; another one is opened")
            except (Unavailable, *DRIVER_ERRORS) as error:
                logger.warning("events are not notified until the database answers: %s", type(error).__name__)
            wait_s = RECONNECT_FIRST_S if self.connects > before else min(2 * wait_s, RECONNECT_MAX_S)
            await asyncio.sleep(wait_s)

    async def _listen(self) -> None:
        """Listen until the connection ends."""
        connection = await self._database.open_separate()
        try:
            connection.add_termination_listener(lambda _: self._changed.set())
            async with asyncio.timeout(LISTEN_LIMIT_S):
                await connection.add_listener(CHANNEL, self._notified)
            self.is_listening = True
            self.connects += 1
            while not connection.is_closed():
                self._changed.clear()
                async with asyncio.timeout(LISTEN_LIMIT_S):
                    await self._hold(connection)
                await self._changed.wait()
        finally:
            self.is_listening = False
            self._held.clear()
            connection.terminate()

    async def _hold(self, connection: Driver) -> None:
        """Hold the locks of the followed subjects, and no others."""
        wanted = set(map(lock_of, self._followed()))
        surplus, missing = self._held - wanted, wanted - self._held
        if surplus:
            self._held -= surplus  # first: a subscriber that arrives meanwhile must wait for the lock to be taken again
            await connection.fetch(_UNFOLLOW, *_columns(surplus))
        if missing:
            rows = await connection.fetch(_FOLLOW, *_columns(missing))
            begun = {(row["topic"], row["bucket"]) for row in rows if row["is_held"]}
            self._held |= begun
            self._on_follow(begun)
            if begun != missing:
                asyncio.get_running_loop().call_later(TESTED_S, self._changed.set)
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()

    def _notified(self, _connection: Driver | object, _pid: int, _channel: str, payload: object) -> None:
        self._on_payload(str(payload))


def _columns(locks: Iterable[Lock]) -> tuple[list[str], list[int]]:
    listed = list(locks)
    return [topic for topic, _ in listed], [bucket for _, bucket in listed]
