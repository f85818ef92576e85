"""One connection to PostgreSQL while it is leased: its prepared statements, and the limit of time of each statement.

asyncpg's own cache keeps the statements prepared. It takes 2 us more per statement than a separate cache in Folio,
measured for a statement of ten rows that takes 28 us.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
from asyncpg import Record
from sqlalchemy.pool import PoolProxiedConnection

from db.connections.asyncpg_adapter import Driver
from db.connections.statistics import query_statistics

if TYPE_CHECKING:
    from db.connections.shares import Share

TRUSTED_S = 1.0


@dataclass(slots=True, eq=False)
class Schema:
    """The version of the schema for all connections of a pool: how often a migration broke a transaction.

    Each connection drops its prepared statements at its next statement after that, so that later transactions do not
    fail for the same reason.
    """

    version: int = 0


class LeasedConnection:
    """One connection, lent to one caller at a time.

    Attributes:
        driver: asyncpg's connection, for COPY, cursors and statements that are not worth preparing.
        expires_at: when it is too old for another caller, in seconds of the monotonic clock.
        used_at: when it was last returned to the pool.
        share: the share that counts it while it is lent; None without a limit.
        is_interrupted: whether a caller stopped waiting before the answer to its statement arrived. The connection must
            then be tested before another caller gets it.
        elapsed_ns: the time from sending the last statement of `fetch` to its last row, in nanoseconds.
    """

    __slots__ = (
        "_limit_s",
        "_schema",
        "_schema_version",
        "driver",
        "elapsed_ns",
        "expires_at",
        "is_interrupted",
        "pooled",
        "share",
        "used_at",
    )

    def __init__(self, pooled: PoolProxiedConnection, schema: Schema, limit_s: float | None, age_max_s: float) -> None:
        driver = pooled.driver_connection
        assert isinstance(driver, asyncpg.Connection)
        self.pooled = pooled
        self.driver: Driver = driver
        self.used_at = time.monotonic()
        self.expires_at = self.used_at + age_max_s if age_max_s >= 0 else float("inf")
        self.share: Share | None = None
        self.is_interrupted = False
        self.elapsed_ns = 0
        self._limit_s = limit_s
        self._schema = schema
        self._schema_version = schema.version

    async def fetch(self, sql: str, arguments: Sequence[object]) -> Sequence[Record]:
        """Run a statement, prepared at its first use on this connection, count it, and return all its rows.

        Raises:
            TimeoutError: no answer came within the limit of this side, which is longer than the server's.
        """
        started = time.perf_counter_ns()
        try:
            if self._schema_version != self._schema.version:
                self._schema_version = self._schema.version
                await self.driver.reload_schema_state()  # sends nothing to the server
            # Outside a transaction asyncpg itself prepares statements again that a migration has changed.
            rows: Sequence[Record] = await self.driver.fetch(sql, *arguments, timeout=self._limit_s)
        except BaseException as error:
            self.elapsed_ns = time.perf_counter_ns() - started
            self._fail(sql, error)
            raise
        self.elapsed_ns = time.perf_counter_ns() - started
        current = query_statistics.get()
        if current is not None:
            current.add(sql, len(rows), self.elapsed_ns)
        return rows

    def _fail(self, sql: str, error: BaseException) -> None:
        """Count a failed statement, and note what it means for this connection."""
        current = query_statistics.get()
        if current is not None:
            current.add(sql, None, self.elapsed_ns, error)
        if isinstance(error, asyncpg.InvalidCachedStatementError):
            if self._schema_version == self._schema.version:  # or another connection has met it first
                self._schema.version += 1
        elif isinstance(error, asyncio.CancelledError | TimeoutError):
            self.is_interrupted = True

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
    def is_trusted(self) -> bool:
        """Whether it was used within TRUSTED_S, so that it is unlikely to have broken unnoticed."""
        return time.monotonic() - self.used_at < TRUSTED_S
