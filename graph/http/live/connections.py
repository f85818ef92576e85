"""The live connections of a worker: how many there may be, whose sessions they depend on, and their end at shutdown."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from db.access import Viewer
from db.connections.database import Database
from db.errors import Unavailable
from db.settings import Settings
from graph.http.admission.budgets import spending_address
from graph.http.live.limits import SESSION_CHECK_S, SESSIONS_PER_STATEMENT
from graph.runtime.authentication import changed_viewers

logger = logging.getLogger(__name__)

EXPIRED = "the access token has expired; connect again with a new one"
ENDED = "the session has ended; sign in again"
CHANGED = "the rights of the user have changed; connect again"


class TooManyError(Exception):
    """A limit on live connections is reached. The message says which."""


@dataclass(eq=False, slots=True)
class Session:
    """What a live connection, or one operation of it, depends on.

    Attributes:
        viewer: the caller, with a session.
        expires_at: when the access token expires, in seconds since the epoch.
        on_end: is called once, with the reason, when the session ends.
    """

    viewer: Viewer
    expires_at: float
    on_end: Callable[[str], None]


class LiveConnections:
    """The live connections of one application.

    Attributes:
        sockets: how many WebSockets are open.
        streams: how many streams of events are open.
        draining: is set when the server begins to stop.
    """

    def __init__(self, settings: Settings, draining: asyncio.Event) -> None:
        self.sockets = 0
        self.streams = 0
        self.draining = draining
        self._number_max = settings.live_connections_max
        self._per_address_max = settings.live_connections_per_address_max
        self._per_user_max = settings.live_connections_per_user_max
        self._by_address: dict[object, int] = {}
        self._by_user: dict[object, int] = {}
        self._on_drain: dict[Callable[[], None], None] = {}
        self._sessions: dict[Session, None] = {}

    # ------------------------------------------------------------ places

    @contextmanager
    def place(self, address: str, on_drain: Callable[[], None], *, is_socket: bool) -> Iterator[None]:
        """Take a place for a connection from `address`, within the block. `on_drain` is called when the server stops.

        Raises:
            TooManyError: the process or the address has as many as it may have.
        """
        number, known = self.sockets + self.streams, spending_address(address)
        if number >= self._number_max:
            raise TooManyError(f"the server has {number} live connections, as many as it may have; try again shortly")
        with _counted(self._by_address, known, self._per_address_max, "this address"):
            self._count(1, is_socket=is_socket)
            self._on_drain[on_drain] = None
            try:
                if self.draining.is_set():
                    on_drain()
                yield
            finally:
                self._on_drain.pop(on_drain, None)
                self._count(-1, is_socket=is_socket)

    def _count(self, change: int, *, is_socket: bool) -> None:
        if is_socket:
            self.sockets += change
        else:
            self.streams += change

    @contextmanager
    def user_place(self, user_id: int | None) -> Iterator[None]:
        """Count a connection of a user within the block; None is an anonymous caller, who has no limit of this kind.

        Raises:
            TooManyError: the user has as many as a user may have.
        """
        if user_id is None:
            yield
            return
        with _counted(self._by_user, user_id, self._per_user_max, "this user"):
            yield

    # ------------------------------------------------------------ sessions

    @contextmanager
    def session(self, session: Session | None) -> Iterator[None]:
        """Watch a session within the block; None is that of an anonymous caller, which cannot end."""
        if session is None:
            yield
            return
        self._sessions[session] = None
        try:
            yield
        finally:
            self._sessions.pop(session, None)

    @asynccontextmanager
    async def watching(self, database: Database) -> AsyncIterator[None]:
        """End connections within the block: when their sessions end, and when the server stops."""
        tasks = [
            asyncio.create_task(self._watch_sessions(database), name="live sessions"),
            asyncio.create_task(self._drain(), name="live drain"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _drain(self) -> None:
        await self.draining.wait()
        for on_drain in list(self._on_drain):
            on_drain()

    async def _watch_sessions(self, database: Database) -> None:
        while True:
            await asyncio.sleep(SESSION_CHECK_S)
            try:
                await self.check(database)
            except Unavailable as error:
                # A database that does not respond sends no events either. Tokens have been checked.
                logger.warning("the sessions of live connections were not checked: %s", error)
            except Exception:
                logger.exception("the sessions of live connections were not checked")

    async def check(self, database: Database) -> None:
        """End the connections whose token has expired, whose session has ended, or whose user has other rights now.

        Raises:
            Unavailable: the database does not respond. Expired tokens were still noticed.
        """
        now = time.time()
        for one in list(self._sessions):
            if one.expires_at <= now:
                self._end(one, EXPIRED)
        viewers = list({one.viewer: None for one in self._sessions})
        for start in range(0, len(viewers), SESSIONS_PER_STATEMENT):
            changed = await changed_viewers(database, viewers[start : start + SESSIONS_PER_STATEMENT])
            for one in list(self._sessions):
                if one.viewer in changed:
                    self._end(one, ENDED if changed[one.viewer] is None else CHANGED)

    def _end(self, one: Session, reason: str) -> None:
        if one in self._sessions:
            del self._sessions[one]
            one.on_end(reason)


@contextmanager
def _counted(counts: dict[object, int], key: object, number_max: int, whose: str) -> Iterator[None]:
    number = counts.get(key, 0)
    if number >= number_max:
        raise TooManyError(f"{whose} has {number} live connections, as many as it may have; close one of them")
    counts[key] = number + 1
    try:
        yield
    finally:
        counts[key] -= 1
        if not counts[key]:
            del counts[key]
