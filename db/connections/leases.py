"""Leases: connections that SQLAlchemy's pool opens, checked out once, kept, and lent to one caller at a time.

A check-out from SQLAlchemy's pool for each statement costs more than most statements do. `Leases` therefore keeps
`pool_size` connections checked out. Further ones, up to `pool_max_overflow`, are opened for callers that have waited
for `OVERFLOW_AFTER_S`, and closed as soon as no caller waits for them.

Invariants, which hold after each call and each turn of the event loop:

- idle + lent + opening + closing = open <= `pool_size` + `pool_max_overflow`. Only `_start_opening` opens a connection,
  and it counts the connection before it exists. A connection that is being closed counts until it is closed.
- Callers are served in the order of their arrival, including those that have waited before. No caller waits while a
  connection is idle.
- A caller only waits in line. Tasks of this module, which `close` ends, open, test and close connections. What happens
  to a returned connection never changes the answer to the caller that had it before.
- A lent connection is in good order: open, outside a transaction, without an unfinished statement. A connection that is
  returned in another state is tested for at most `RECOVER_S`, and closed if it does not answer.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any

import asyncpg
from sqlalchemy.pool import PoolProxiedConnection

from db.connections.asyncpg_adapter import Driver
from db.connections.faults import BUSY, DRIVER_ERRORS, UNAVAILABLE
from db.connections.leased_connection import LeasedConnection, Schema
from db.connections.shares import Share
from db.connections.waiting import Line
from db.errors import Unavailable, copy_of
from db.settings import Settings

__all__ = ["Driver", "LeasedConnection", "Leases"]

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0
OVERFLOW_AFTER_S = 0.1
RECOVER_S = 1.0
CANCELLATIONS_MAX = 2
RETIRE_EVERY_S = 0.25
# The smallest statement. After a cancelled statement, asyncpg expects of an empty one a status that does not arrive.
SMALLEST_STATEMENT = "SELECT"
# How long a statement may take beyond the server's own limit, for the round trip.
STATEMENT_MARGIN_S = 2.0


class Leases:
    """All connections of one process."""

    def __init__(self, settings: Settings, connect: Callable[[], Awaitable[PoolProxiedConnection]]) -> None:
        self._connect = connect
        self._kept_max = settings.pool_size
        self._open_max = settings.pool_size + settings.pool_max_overflow
        self._timeout_s = settings.pool_timeout_s
        self._age_max_s = settings.pool_recycle_s
        self._pings = settings.pool_pre_ping
        limit_ms = settings.statement_timeout_ms
        self._statement_limit_s = limit_ms / 1000 + STATEMENT_MARGIN_S if limit_ms else None
        self._schema = Schema()
        self._idle: list[LeasedConnection] = []
        self._line: Line[LeasedConnection] = Line()
        self._all: set[LeasedConnection] = set()  # the open connections: idle, lent or closing
        self._opening = 0
        self._closing = 0
        self._retired_at = float("-inf")
        self._overflow_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def open(self) -> int:
        """How many connections there are, including those that are being opened or closed."""
        return len(self._all) + self._opening

    @property
    def idle(self) -> int:
        """How many are free."""
        return len(self._idle)

    @property
    def opening(self) -> int:
        """How many are being opened."""
        return self._opening

    @property
    def closing(self) -> int:
        """How many are being tested after an interruption, or being closed."""
        return self._closing

    @property
    def in_use(self) -> int:
        """How many are lent."""
        return len(self._all) - self._closing - len(self._idle)

    @property
    def waiting(self) -> int:
        """How many callers wait for a connection."""
        return len(self._line)

    # ------------------------------------------------------------ for callers

    async def take(self, own: Share | None = None) -> LeasedConnection:
        """Lend a connection until `give_back`, and wait for one if necessary. It counts for the share `own`.

        Raises:
            Unavailable: none was free in time, or none could be opened.
        """
        if own is not None and not own.enter_at_once():
            await own.enter()
        try:
            while True:
                if not self._idle:
                    connection = await self._wait_in_line()
                    break
                connection = self._idle.pop()  # the most recently used, so that surplus connections grow old
                if connection.driver.is_closed() or time.monotonic() >= connection.expires_at:
                    self.give_back(connection)
                elif not self._pings or await self._is_answering(connection):
                    break
        except BaseException:
            if own is not None:
                own.leave()
            raise
        connection.share = own
        return connection

    async def _wait_in_line(self) -> LeasedConnection:
        if self._is_closed:
            raise _stopping()
        # No variable holds the place: the trace of a refusal holds this frame, and the place holds the refusal.
        waiting = self._line.wait(self._line.join(), self._timeout_s, self._refusal, self.give_back)
        self._grow()
        return await waiting

    def give_back(self, connection: LeasedConnection) -> None:
        """Take a connection back in any state. Its caller must not use it afterwards."""
        now = connection.used_at = time.monotonic()
        own, driver = connection.share, connection.driver
        if own is not None:
            connection.share = None
            own.leave()
        if driver.is_closed():
            self._drop(connection)
        elif self._is_closed:
            driver.terminate()
            self._drop(connection)
        elif connection.is_interrupted or driver.is_in_transaction():
            self._start_closing(self._recover(connection))
        elif now >= connection.expires_at:
            self._start_closing(self._close(connection))
        elif self._line.places and self._line.hand(connection):
            pass
        elif len(self._all) - self._closing + self._opening > self._kept_max:
            self._start_closing(self._close(connection))
        else:
            self._idle.append(connection)

    def retire_open(self) -> None:
        """Close every connection that was opened before now: the server behind them may no longer be the primary.

        It acts once in `RETIRE_EVERY_S` at most, because reads continue meanwhile and need connections.
        """
        now = time.monotonic()
        if now - self._retired_at < RETIRE_EVERY_S:
            return
        self._retired_at = now
        for connection in self._all:
            connection.expires_at = now
        while self._idle:
            self.give_back(self._idle.pop())

    async def close(self) -> None:
        """Close every connection. A lent connection is closed when it is returned."""
        self._is_closed = True
        if self._overflow_timer is not None:
            self._overflow_timer.cancel()
        while self._line.fail(_stopping()):
            pass
        while self._idle:
            self._start_closing(self._close(self._idle.pop()))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S + RECOVER_S)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=RECOVER_S)
        for connection in self._all:
            connection.driver.terminate()

    # ------------------------------------------------------------ opening

    def _grow(self) -> None:
        """Open connections for the callers in line, up to the limit."""
        wanted = len(self._line) - self._opening
        while wanted > 0 and self.open < self._kept_max and not self._is_closed:
            self._start_opening()
            wanted -= 1
        if wanted > 0 and self.open < self._open_max and self._overflow_timer is None and not self._is_closed:
            due = self._line.since(self._opening) + OVERFLOW_AFTER_S
            self._overflow_timer = asyncio.get_running_loop().call_at(due, self._overflow, context=Context())

    def _overflow(self) -> None:
        """Open overflow connections for callers that have waited for `OVERFLOW_AFTER_S`."""
        self._overflow_timer = None
        long_ago = asyncio.get_running_loop().time() - OVERFLOW_AFTER_S
        while (
            len(self._line) > self._opening
            and self.open < self._open_max
            and self._line.since(self._opening) <= long_ago
        ):
            self._start_opening()
        self._grow()

    def _start_opening(self) -> None:
        self._opening += 1
        self._start(self._open_new())

    async def _open_new(self) -> None:
        try:
            pooled = await self._connect()
        except Exception as error:
            self._opening -= 1
            if not isinstance(error, Unavailable):
                logger.exception("a connection could not be opened")
            # One failed attempt refuses one caller: the server may be available again for the next one.
            self._line.fail(copy_of(error))
            self._grow()
            return
        except BaseException:
            self._opening -= 1
            raise
        self._opening -= 1
        connection = LeasedConnection(pooled, self._schema, self._statement_limit_s, self._age_max_s)
        self._all.add(connection)
        self.give_back(connection)

    # ------------------------------------------------------------ testing and closing

    def _start_closing(self, work: Coroutine[Any, Any, None]) -> None:
        self._closing += 1
        self._start(work)

    async def _recover(self, connection: LeasedConnection) -> None:
        """Wait until the interrupted statement has ended, end the transaction, and reuse the connection."""
        driver = connection.driver
        try:
            async with asyncio.timeout(RECOVER_S):
                await _ensure_answer(driver)  # before, the driver waits until its own cancellation is acknowledged
                if driver.is_in_transaction():
                    await driver.execute("ROLLBACK")
        except DRIVER_ERRORS as error:
            driver.terminate()
            logger.warning("a connection is closed because it does not answer as expected: %s", type(error).__name__)
            if isinstance(error, TimeoutError):
                self._test_idle()
        except Exception:
            driver.terminate()
            logger.exception("a connection is closed after an unexpected error")
        except BaseException:
            driver.terminate()
            raise
        finally:
            self._closing -= 1
            connection.is_interrupted = False
            self.give_back(connection)

    def _test_idle(self) -> None:
        """Test every idle connection: if one backend is frozen, others may be frozen too."""
        idle, self._idle = self._idle, []
        for connection in idle:
            self._start_closing(self._recover(connection))

    async def _close(self, connection: LeasedConnection) -> None:
        """Close a connection in good order."""
        # It is detached from SQLAlchemy's pool, which would keep it: that pool does not count the other connections.
        connection.pooled.detach()
        try:
            await connection.driver.close(timeout=CLOSE_TIMEOUT_S)
        except DRIVER_ERRORS as error:
            logger.debug("a connection did not close in good order: %s", error)
        finally:
            connection.driver.terminate()  # no effect on a closed connection
            self._closing -= 1
            self._all.discard(connection)
            self._grow()

    def _drop(self, connection: LeasedConnection) -> None:
        """Remove a connection that is closed."""
        self._all.discard(connection)
        connection.pooled.invalidate()
        self._grow()

    async def _is_answering(self, connection: LeasedConnection) -> bool:
        """Return whether a connection answers. If it does not, it is returned to the pool."""
        try:
            await connection.execute(SMALLEST_STATEMENT, RECOVER_S)
        except DRIVER_ERRORS:
            connection.driver.terminate()
            self.give_back(connection)
            return False
        except BaseException:
            self.give_back(connection)
            raise
        return True

    # ------------------------------------------------------------ internals

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        # An empty context: the task must not keep alive the request that happened to start it.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refusal(self) -> Exception:
        if self._opening and not self.in_use:
            return Unavailable(UNAVAILABLE, "the database cannot be reached")
        return Unavailable(BUSY, "all connections are in use; try again shortly")


async def _ensure_answer(driver: Driver) -> None:
    """Return when the server answers. A cancellation that was late for its own statement may cancel this one."""
    for _ in range(CANCELLATIONS_MAX):
        with suppress(asyncpg.QueryCanceledError):
            with suppress(asyncpg.InFailedSQLTransactionError):  # also an answer
                await driver.execute(SMALLEST_STATEMENT)
            return
    await driver.execute(SMALLEST_STATEMENT)


def _stopping() -> Unavailable:
    return Unavailable(UNAVAILABLE, "this server is stopping; try again shortly")
