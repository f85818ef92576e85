"""The connection of the process that listens for notifications: LISTEN, reconnected whenever it breaks.

It is a separate connection, directly to the server: a pooler that lends connections for one transaction (PgBouncer in
transaction mode) does not support LISTEN, and events then arrive with the slow poll only. Notifications only wake
readers of the log. A lost one delays an event, and loses nothing: after each connect all readers are woken.
"""

import asyncio
import logging
from collections.abc import Callable

from db.connections.asyncpg_adapter import Driver
from db.connections.database import Database
from db.connections.faults import DRIVER_ERRORS
from db.errors import Unavailable

logger = logging.getLogger(__name__)

CHANNEL = "folio_events"
# The wait before a further attempt to connect: at first, and at most, in seconds.
RECONNECT_FIRST_S, RECONNECT_MAX_S = 0.05, 2.0
LISTEN_LIMIT_S = 10.0


class Listener:
    """Listens until it is cancelled.

    Attributes:
        is_listening: whether a connection listens now.
        connects: how often a connection began to listen.
    """

    def __init__(self, database: Database, on_payload: Callable[[str], None], on_connected: Callable[[], None]) -> None:
        """Make the listener.

        Args:
            database: opens the connection.
            on_payload: receives the payload of each notification.
            on_connected: is called when a connection has begun to listen: notifications may have been lost before.
        """
        self._database = database
        self._on_payload = on_payload
        self._on_connected = on_connected
        self.is_listening = False
        self.connects = 0

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
        ended = asyncio.Event()
        connection = await self._database.open_separate()
        try:
            connection.add_termination_listener(lambda _: ended.set())
            async with asyncio.timeout(LISTEN_LIMIT_S):
                await connection.add_listener(CHANNEL, self._notified)
            self.is_listening = True
            self.connects += 1
            self._on_connected()
            if not connection.is_closed():
                await ended.wait()
        finally:
            self.is_listening = False
            connection.terminate()

    def _notified(self, _connection: Driver | object, _pid: int, _channel: str, payload: object) -> None:
        self._on_payload(str(payload))
