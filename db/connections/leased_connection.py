"""One connection to PostgreSQL while it is leased: its prepared statements, and the limit of time of each statement."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
from asyncpg import Record
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.pool import PoolProxiedConnection

Driver: TypeAlias = "asyncpg.Connection[Record]"  # generics to the type checker alone
Prepared: TypeAlias = "PreparedStatement[Record]"

PREPARED_MAX = 200
# In characters of their texts, for asyncpg keeps twice as much beside a text. A text with a nested page has 1,100, one
# with twenty 12,000.
PREPARED_LENGTH_MAX = 1_048_576
TRUSTED_S = 1.0


@dataclass(slots=True, eq=False)
class Schema:
    """What all connections know of the schema: how often a migration was noticed.

    Statements that were prepared before are prepared anew, on each connection before it meets them.
    """

    version: int = 0


class LeasedConnection:
    """One connection, lent to one caller at a time.

    Attributes:
        driver: asyncpg's connection, for COPY, cursors and what is not worth preparing.
        opened_at: when it was opened, in seconds of the monotonic clock.
        used_at: when it was last given back.
        is_interrupted: whether a statement was left before its answer came. The connection is then to be tested before
            it serves anybody else.
    """

    __slots__ = (
        "_limit_s",
        "_prepared",
        "_prepared_for",
        "_prepared_length",
        "_schema",
        "driver",
        "is_interrupted",
        "opened_at",
        "pooled",
        "used_at",
    )

    def __init__(self, pooled: PoolProxiedConnection, schema: Schema, limit_s: float | None) -> None:
        driver: Any = pooled.driver_connection
        self.pooled = pooled
        self.driver: Driver = driver
        self.opened_at = self.used_at = time.monotonic()
        self.is_interrupted = False
        self._limit_s = limit_s
        self._prepared: OrderedDict[str, Prepared] = OrderedDict()  # the least recently used first
        self._prepared_length = 0
        self._schema = schema
        self._prepared_for = schema.version

    async def fetch(self, sql: str, arguments: Sequence[object]) -> Sequence[Record]:
        """Run a statement, prepared at its first use on this connection, and return all its rows.

        Raises:
            TimeoutError: no answer came within the limit of this side, which is longer than the server's.
        """
        if self._prepared_for != self._schema.version:
            self._forget_prepared()
        try:
            prepared = self._prepared.get(sql)
            if prepared is None:
                prepared = await self._prepare(sql)
            else:
                self._prepared.move_to_end(sql)
            try:
                return await prepared.fetch(*arguments, timeout=self._limit_s)
            except asyncpg.InvalidCachedStatementError:
                # A migration has changed what it returns. Outside a transaction nothing is lost by preparing it anew.
                self._notice_migration()
                if self.driver.is_in_transaction():
                    raise
            prepared = await self._prepare(sql)
            return await prepared.fetch(*arguments, timeout=self._limit_s)
        except (asyncio.CancelledError, TimeoutError):
            self.is_interrupted = True
            raise

    async def execute(self, sql: str, limit_s: float | None = None) -> str:
        """Run BEGIN, COMMIT and the like, and return the command tag.

        Raises:
            TimeoutError: as for `fetch`; the limit is `limit_s` where it is given.
        """
        try:
            return await self.driver.execute(sql, timeout=limit_s or self._limit_s)
        except (asyncio.CancelledError, TimeoutError):
            self.is_interrupted = True
            raise

    @property
    def is_fit(self) -> bool:
        """Whether the connection is open and outside any transaction, as far as its driver knows."""
        return not (self.is_interrupted or self.driver.is_closed() or self.driver.is_in_transaction())

    @property
    def is_trusted(self) -> bool:
        """Whether it was of use a moment ago, so that it will not have broken without anybody's noticing."""
        return time.monotonic() - self.used_at < TRUSTED_S

    def _notice_migration(self) -> None:
        if self._prepared_for == self._schema.version:
            self._schema.version += 1
        self._forget_prepared()

    def _forget_prepared(self) -> None:
        self._prepared.clear()  # asyncpg deallocates what nobody holds any more
        self._prepared_length = 0
        self._prepared_for = self._schema.version

    async def _prepare(self, sql: str) -> Prepared:
        # Room is made first: asyncpg deallocates, as it prepares, what nobody holds any more.
        while self._prepared and (
            len(self._prepared) >= PREPARED_MAX or self._prepared_length + len(sql) > PREPARED_LENGTH_MAX
        ):
            oldest = next(iter(self._prepared))
            del self._prepared[oldest]
            self._prepared_length -= len(oldest)
        # asyncpg deallocates other statements on the way, and has no limit of time for that.
        async with asyncio.timeout(self._limit_s):
            prepared = self._prepared[sql] = await self.driver.prepare(sql)
        self._prepared_length += len(sql)
        return prepared
