"""The entry to the pool: reads, and the only code in the project that commits.

SQLAlchemy owns the connections (pool, events, recycling). Statements run on asyncpg's own connection beneath, which is
leased (`leases`), because a row costs a fraction there. This division keeps these invariants:

- Each method of `Database` returns its connection when it ends, and no other code does. What happens to the connection
  afterwards does not change the answer.
- Every write goes through `Database.write`. It commits, and runs the whole unit of work again after a fault that leaves
  nothing behind (`faults`). A write that fits in one statement may try `Database.autocommit_write` first, which saves
  BEGIN and COMMIT.
- A broken connection is replaced without action by the caller. Closed connections are noticed in advance at no cost,
  and others at BEGIN. A read that lost its connection is sent again. A COMMIT is not, because it may have happened.
  This is why `autocommit_write` leaves a connection that was quiet for a while to `write`, whose BEGIN shows whether it
  is broken.
- A caller that is known to wait for other callers holds no connection meanwhile. It waits for its turn at a row
  (`turn`), then for the bound of the writes, then for the share of its caller (`shares`), and for the connection last.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

import asyncpg
from asyncpg import Record
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection

from db.connections.asyncpg_adapter import Driver
from db.connections.coalescing import CoalescedReads, PendingRead, Timed
from db.connections.faults import BUSY, DRIVER_ERRORS, UNAVAILABLE, DatabaseFault, Retry
from db.connections.leases import RECOVER_S, LeasedConnection, Leases
from db.connections.pool import PoolCounters, connect_outside, count_pool_events, create_engine
from db.connections.retries import run_again
from db.connections.shares import Share, Shares, share
from db.connections.statements import Reader, Statement
from db.connections.statistics import await_counted
from db.connections.transaction import OpenTransaction, Snapshot, translate_error
from db.connections.waiting import Turns
from db.constraints import refusal_for
from db.errors import Unavailable
from db.settings import Settings

__all__ = ["Database", "OpenTransaction", "Snapshot"]

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Sender(Protocol):
    """What sends an autocommit write.

    Attributes:
        committing: set to True when the write is sent. From then on it may happen.
    """

    committing: bool


class Database(Reader):
    """The pool of one process, and all that is run on it. Build it once, inside the process of the running event loop.

    Attributes:
        leases: the connections.
        shares: the bounds of how many connections each caller may hold.
        turn: waits for the turn to write some rows, see `db.connections.statements.Writer`. It raises Unavailable,
            DATABASE_BUSY, if the wait exceeds the lock timeout.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.database_url is None:
            raise ValueError("Database needs settings.database_url; without one, use a server of db.embedded")
        self.settings = settings
        self._attempts_max = settings.write_attempts_max
        self.counters = PoolCounters()
        self.engine = create_engine(settings)
        count_pool_events(self.engine, self.counters)
        self.leases = Leases(settings, self._open_connection)
        self.shares = Shares(settings)
        self._turns = Turns(settings.lock_timeout_ms / 1000 or settings.pool_timeout_s)
        self.turn = self._turns.turn
        self._shared = CoalescedReads(self._read, self.shares)

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.leases.close()
        await self._shared.close()
        await self.engine.dispose()

    # ------------------------------------------------------------ reads

    def fetch(self, statement: Statement, values: Mapping[str, object]) -> Coroutine[Any, Any, Sequence[Record]]:
        """Run one read in autocommit, on a connection that it holds alone, and return all its rows.

        Raises:
            Unavailable: no connection was free or could be opened, or the statement exceeded a timeout.
        """
        return self._read(statement, values, share.get())

    async def _read(
        self,
        statement: Statement,
        values: Mapping[str, object],
        operation_share: Share | None,
        timed: Timed | None = None,
        *,
        is_again: bool = False,
    ) -> Sequence[Record]:
        """Do as `fetch`, on a connection that counts for `operation_share`. Add the time of the database to `timed`.

        Every read does the same: it acquires the connection, runs the statement, translates an error, releases the
        connection, and runs again after a fault that allows it.
        """
        arguments = statement.arguments(values)
        connection = await self.leases.take(operation_share)
        try:
            self.counters.statements += 1
            return await connection.fetch(statement.sql, arguments)
        except Exception as error:
            fault = self._translate(error, connection)
            if fault is None:
                raise
        finally:
            if timed is not None:
                timed.elapsed_ns += connection.elapsed_ns
            self.leases.give_back(connection)
        if is_again or fault.retry is Retry.NEVER:
            raise fault.copy()
        logger.warning("a read is sent again: %s", fault.reason)
        attempt = partial(self._read, statement, values, operation_share, timed, is_again=True)
        return await run_again(attempt, fault, self._attempts_max)

    def mapped_rows(
        self,
        statement: Statement,
        values: Mapping[str, object],
        map_rows: Callable[[Sequence[Record]], T],
        keys: Sequence[Any] = (),
    ) -> PendingRead:
        """See `Reader`. Concurrent equal calls share one statement (`db.connections.coalescing`)."""
        return PendingRead(self._shared, statement, values, keys, map_rows)

    @asynccontextmanager
    async def read(self, tables: Sequence[str] = ()) -> AsyncIterator[Snapshot]:
        """Open a read-only snapshot: all statements within see one state of the database.

        `tables` are the names of the tables that may be read. They are locked against schema changes before the
        snapshot is taken. Without the lock, a table that a migration rewrote after the snapshot would look empty
        (PostgreSQL documentation, 13.6, Caveats).

        Raises:
            Unavailable: as for `fetch`.
        """
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
        if tables:
            begin += f"; LOCK TABLE {', '.join(tables)} IN ACCESS SHARE MODE"
        async with self._leased(begin) as connection:
            snapshot = Snapshot(connection, self.counters)
            try:
                yield snapshot
            finally:
                await snapshot.leave()
                await _roll_back(connection)

    async def read_as_one(self, work: Callable[[Snapshot], Awaitable[T]], tables: Sequence[str] = ()) -> T:
        """Run `work` in a snapshot and return its result; `tables` as for `read`.

        If a retryable error of the database ended the snapshot, all of `work` runs again, also if `work` returned a
        result in spite of that error. `work` must keep no state outside.

        Raises:
            Unavailable: no snapshot could be opened.
        """
        results: list[T] = []

        async def attempt() -> T:
            async with self.read(tables) as snapshot:
                results[:] = [await work(snapshot)]
            if snapshot.fault is not None and snapshot.fault.retry is not Retry.NEVER:
                raise snapshot.fault.copy()
            return results[0]

        try:
            return await attempt()
        except DatabaseFault as fault:
            if fault.retry is Retry.NEVER:
                raise
            first = fault.copy()
        logger.warning("a snapshot is read again: %s", first.reason)
        try:
            return await run_again(attempt, first, self._attempts_max)
        except DatabaseFault:
            if not results:
                raise
        return results[0]  # the result that `work` returned in spite of the error

    # ------------------------------------------------------------ writes

    async def write(self, work: Callable[[OpenTransaction], Awaitable[T]]) -> T:
        """Run `work` in one transaction and commit it. After any exception nothing of it has happened.

        `work` may run several times, each time from the start in a new transaction, so it must keep no state outside.

        Raises:
            Refusal: `work` raised it, or violated a constraint that has a meaning for the client.
            Unavailable: no connection, a timeout, or a conflict that outlasted the retries.
        """
        try:
            try:
                return await self._write_once(work)  # nearly always enough
            except DatabaseFault as fault:
                if fault.retry is Retry.NEVER:
                    raise
                first = fault.copy()
            return await run_again(partial(self._write_once, work), first, self._attempts_max, self._count_retry)
        except asyncpg.IntegrityConstraintViolationError as error:
            refusal = refusal_for(error)
            if refusal is None:
                raise
            raise refusal from error

    async def autocommit_write(
        self, statement: Statement, values: Mapping[str, object], sender: Sender | None = None
    ) -> Sequence[Record]:
        """See `db.connections.statements.Writer`. `sender.committing` is set immediately before the statement is sent.

        Raises:
            Unavailable: as for `write`.
        """
        writes = self.shares.writes
        if writes.free:
            writes.free -= 1
        else:
            await writes.enter()
        try:
            connection = await self.leases.take(share.get())
            try:
                if not connection.is_trusted:
                    return ()
                if sender is not None:
                    sender.committing = True
                self.counters.statements += 1
                return await connection.fetch(statement.sql, statement.arguments(values))
            except asyncpg.IntegrityConstraintViolationError:
                # PostgreSQL checks an UPDATE against the constraints with the row as it was when the statement began.
                # Only then does it notice that the row has changed meanwhile. A transaction shows whether the
                # constraint is really violated.
                return ()
            except Exception as error:
                refusal = self._translate(error, connection, is_at_commit=True)
                if refusal is None:
                    raise
            finally:
                self.leases.give_back(connection)
        finally:
            writes.leave()
        if refusal.retry is Retry.NEVER:
            raise refusal.copy()
        self._count_retry()
        return ()

    async def _write_once(self, work: Callable[[OpenTransaction], Awaitable[T]]) -> T:
        writes = self.shares.writes
        await writes.enter()
        try:
            async with self._leased("BEGIN") as connection:
                transaction = OpenTransaction(connection, self.counters)
                try:
                    result = await work(transaction)
                except BaseException:
                    transaction.end()
                    await _roll_back(connection)
                    raise
                transaction.end()
                await self._commit(connection)
                return result
        finally:
            writes.leave()

    def _count_retry(self) -> None:
        self.counters.retries += 1

    async def _commit(self, connection: LeasedConnection) -> None:
        try:
            tag = await await_counted(connection.execute("COMMIT"))
        except Exception as error:
            refusal = self._translate(error, connection, is_at_commit=True)
            if refusal is None:
                raise
        else:
            # PostgreSQL answers the COMMIT of a failed transaction with the tag ROLLBACK and without an error.
            if tag != "COMMIT":
                raise RuntimeError(f"COMMIT answered {tag}: the unit of work swallowed an SQL error")
            return
        raise refusal.copy()

    # ------------------------------------------------------------ connections

    @asynccontextmanager
    async def _leased(self, begin: str) -> AsyncIterator[LeasedConnection]:
        """Lease a connection on which a transaction has begun."""
        connection = await self._begin(begin)
        try:
            yield connection
        except DRIVER_ERRORS as error:
            # Errors of what `work` runs on the driver, such as COPY, are translated here. An OSError may also come from
            # a file of `work`.
            is_own = isinstance(error, OSError) and not connection.driver.is_closed()
            refusal = None if is_own else self._translate(error, connection)
            if refusal is None:
                raise
        else:
            return
        finally:
            self.leases.give_back(connection)
        raise refusal.copy()

    async def _begin(self, begin: str) -> LeasedConnection:
        # After a restart of the server the pool is full of closed connections. asyncpg has noticed most of them
        # already, so that dropping them costs no round trip. The loop ends after one attempt more than connections.
        for _ in range(self.settings.pool_size + self.settings.pool_max_overflow + 1):
            connection = await self.leases.take(share.get())
            try:
                await await_counted(connection.execute(begin))
            except Exception as error:
                refusal = self._translate(error, connection)
                connection.is_interrupted = True  # it is unknown whether BEGIN has happened
                self.leases.give_back(connection)
                if refusal is None:
                    raise
            except BaseException:
                self.leases.give_back(connection)
                raise
            else:
                return connection
            if not connection.driver.is_closed():
                raise refusal.copy()
            logger.warning("a connection broke before its transaction and is replaced: %s", refusal.reason)
        raise Unavailable(UNAVAILABLE, "the database closes every connection; try again later")

    def _translate(
        self, error: Exception, connection: LeasedConnection, *, is_at_commit: bool = False
    ) -> DatabaseFault | None:
        refusal = translate_error(error, connection, self.counters, is_at_commit=is_at_commit)
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            self.leases.retire_open()  # they lead to the same server, which may have handed the writes to another one
        return refusal

    def open_separate(self) -> Coroutine[Any, Any, Driver]:
        """Open a connection outside the pool, which the caller closes; raises as `pool.connect_outside`."""
        return connect_outside(self.engine, self.settings)

    async def _open_connection(self) -> PoolProxiedConnection:
        try:
            return await self.engine.raw_connection()
        except PoolTimeoutError as error:
            raise Unavailable(BUSY, "all connections are in use; try again shortly") from error
        except (DBAPIError, EmulatedDBAPIException, *DRIVER_ERRORS) as error:
            logger.error("no connection to the database: %s", error)  # noqa: TRY400 - the trace adds nothing
            reason = f"{type(error).__name__}: {error}"
            raise Unavailable(UNAVAILABLE, "the database cannot be reached", reason=reason) from None


async def _roll_back(connection: LeasedConnection) -> None:
    if connection.driver.is_closed() or connection.is_interrupted:
        return  # the connection is closed or tested next, which ends the transaction
    try:
        await connection.execute("ROLLBACK", RECOVER_S)
    except DRIVER_ERRORS as error:
        logger.warning("ROLLBACK failed, the connection is closed: %s", type(error).__name__)
        connection.driver.terminate()
