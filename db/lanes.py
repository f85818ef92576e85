"""Lanes: driver connections that SQLAlchemy's pool owns, checked out once and held.

To check a connection out of the pool for each statement costs more than most statements do. A lane holds one instead,
with the statements that it has prepared, and is lent to one caller at a time. The pool still makes, counts, recycles
and closes the connections; a lane gives its own back when it is broken, left in a transaction, too old, or surplus.

There are `pool_size` of them. Whoever finds none free waits in line, at most `pool_timeout_s`. Statements are short:
only who has waited for `OVERFLOW_AFTER_S` has a further connection opened, out of the pool's overflow, which is
closed as soon as nobody waits for it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import asyncpg
from asyncpg import Record
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from db.errors import Unavailable
from db.settings import Settings

Driver: TypeAlias = "asyncpg.Connection[Record]"  # generics to the type checker alone
Prepared: TypeAlias = "PreparedStatement[Record]"

PREPARED_MAX = 200
CLOSE_TIMEOUT_S = 2.0
OVERFLOW_AFTER_S = 0.1
TRUSTED_S = 1.0


class Lane:
    """One connection on loan.

    Attributes:
        driver: asyncpg's connection, for COPY, cursors and what is not worth preparing.
        born: when it was opened, in seconds of the monotonic clock.
        used: when it was last given back.
    """

    __slots__ = ("_prepared", "born", "driver", "pooled", "used")

    def __init__(self, pooled: PoolProxiedConnection) -> None:
        driver: Any = pooled.driver_connection
        self.pooled = pooled
        self.driver: Driver = driver
        self.born = self.used = time.monotonic()
        self._prepared: dict[str, Prepared] = {}

    async def fetch(self, sql: str, arguments: Sequence[object]) -> Sequence[Record]:
        """Run a statement, prepared at its first use on this lane, and return all its rows."""
        prepared = self._prepared.get(sql)
        if prepared is None:
            prepared = await self._prepare(sql)
        try:
            return await prepared.fetch(*arguments)
        except asyncpg.InvalidCachedStatementError:
            # A migration has changed what it returns. Outside a transaction nothing is lost by preparing it anew.
            del self._prepared[sql]
            if self.driver.is_in_transaction():
                raise
        return await (await self._prepare(sql)).fetch(*arguments)

    async def _prepare(self, sql: str) -> Prepared:
        if len(self._prepared) >= PREPARED_MAX:
            self._prepared.clear()
        prepared = self._prepared[sql] = await self.driver.prepare(sql)
        return prepared

    @property
    def is_fit(self) -> bool:
        """Whether the connection is open and outside any transaction, as far as its driver knows."""
        return not (self.driver.is_closed() or self.driver.is_in_transaction())

    @property
    def is_trusted(self) -> bool:
        """Whether it was of use a moment ago, so that it will not have broken without anybody's noticing."""
        return time.monotonic() - self.used < TRUSTED_S


class Lanes:
    """All lanes of one pool."""

    def __init__(self, settings: Settings, check_out: Callable[[], Awaitable[PoolProxiedConnection]]) -> None:
        self._check_out = check_out
        self._kept_max = settings.pool_size
        self._open_max = settings.pool_size + settings.pool_max_overflow
        self._timeout_s = settings.pool_timeout_s
        self._age_max_s = settings.pool_recycle_s
        self._pings = settings.pool_pre_ping
        self._idle: list[Lane] = []
        self._waiting: deque[asyncio.Future[Lane | None]] = deque()
        self._open = 0
        self._closed = False

    @property
    def in_use(self) -> int:
        """How many lanes are lent."""
        return self._open - len(self._idle)

    @property
    def idle(self) -> int:
        """How many lanes are held and free."""
        return len(self._idle)

    def take_idle(self) -> Lane | None:
        """Lend a lane that is free and fit, without waiting; None where `take` has to see to it."""
        if self._idle and not self._pings:
            lane = self._idle[-1]  # the most recently used: surplus ones grow old
            if not lane.driver.is_closed() and not self._is_old(lane):
                return self._idle.pop()
        return None

    async def take(self) -> Lane:
        """Lend a lane.

        Raises:
            Unavailable: none was free in time, or no connection could be made.
        """
        while self._idle:
            lane = self._idle.pop()
            if lane.is_fit and not self._is_old(lane) and await self._answers(lane):
                return lane
            await self.retire(lane)
        if self._open < self._kept_max:
            return await self._opened()
        started = time.monotonic()
        try:
            return await self._waited(min(OVERFLOW_AFTER_S, self._timeout_s))
        except TimeoutError:
            if self._open < self._open_max:
                return await self._opened()
        try:
            return await self._waited(self._timeout_s - (time.monotonic() - started))
        except TimeoutError as error:
            raise Unavailable("DATABASE_BUSY", "all connections are in use; try again shortly") from error

    def give_back(self, lane: Lane) -> bool:
        """Take a lane back; False where it is to be retired instead."""
        if self._closed or not lane.is_fit or self._is_old(lane):
            return False
        lane.used = time.monotonic()
        if self._hand_over(lane):
            return True
        if self._open > self._kept_max:
            return False
        self._idle.append(lane)
        return True

    async def retire(self, lane: Lane) -> None:
        """Give the connection back to the pool, which closes it where it is not fit any more; close a surplus one."""
        surplus = self._open > self._kept_max
        self._open -= 1
        try:
            if not lane.is_fit:
                await greenlet_spawn(lane.pooled.invalidate)
            elif surplus:
                # The pool would keep it: it sees none in its queue, for lanes hold them all.
                await greenlet_spawn(lane.pooled.detach)
                await lane.driver.close(timeout=CLOSE_TIMEOUT_S)
            await greenlet_spawn(lane.pooled.close)
        finally:
            self._hand_over(None)

    async def close(self) -> None:
        """Give everything back to the pool; what is still lent goes there when it comes back."""
        self._closed = True
        while self._idle:
            await self.retire(self._idle.pop())

    async def _opened(self) -> Lane:
        self._open += 1
        try:
            return Lane(await self._check_out())
        except BaseException:
            self._open -= 1
            self._hand_over(None)
            raise

    async def _waited(self, within_s: float) -> Lane:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Lane | None] = loop.create_future()
        self._waiting.append(waiting)
        timer = loop.call_later(within_s, _expire, waiting)  # a third of what asyncio.timeout() costs
        try:
            lane = await waiting
        except BaseException:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                # Handed over in the same turn in which the wait ended.
                await self._pass_on(waiting.result())
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
            raise
        finally:
            timer.cancel()
        return await self._opened() if lane is None else lane

    async def _pass_on(self, lane: Lane | None) -> None:
        if lane is None:
            self._hand_over(None)
        elif not self.give_back(lane):
            await self.retire(lane)

    def _hand_over(self, lane: Lane | None) -> bool:
        """Give the lane, or the right to open one where it is None, to who has waited longest, if anybody has."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(lane)
                return True
        return False

    def _is_old(self, lane: Lane) -> bool:
        return 0 <= self._age_max_s < time.monotonic() - lane.born

    async def _answers(self, lane: Lane) -> bool:
        """Say whether the connection answers, where the settings want that tested."""
        if not self._pings:
            return True
        try:
            await lane.driver.execute("")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            lane.driver.terminate()
            return False
        except BaseException:
            # Who asked has left, and nobody else knows of the lane.
            lane.driver.terminate()
            await self.retire(lane)
            raise
        return True


def _expire(waiting: asyncio.Future[Lane | None]) -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())
