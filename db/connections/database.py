"""The doors to the pool: reads, and the only place in the project that commits.

SQLAlchemy owns the connections (pool, events, recycling); statements run on asyncpg's own connection beneath, which is
leased (`leases`), because a row costs a fraction there. That division holds these invariants:

- A door gives its connection back when it is left, and nobody else does. Whatever becomes of the connection then
  changes nothing of the answer.
- Every write goes through `Database.write`, which commits, and which runs the whole unit of work again after a fault
  that leaves nothing behind (`faults`). What can be one statement may try `Database.alone` before, and spares itself
  BEGIN and COMMIT.
- A broken connection is replaced without the caller's doing: closed ones are noticed beforehand for free, others at
  BEGIN, and a read that lost its connection is asked again. A COMMIT is not: it may have happened. That is why `alone`
  leaves a connection that has been quiet for a while to `write`, which has its BEGIN to find it broken.
- Who waits for others waits without a connection where that is known beforehand: for a turn at a row (`turn`), for the
  bound of the writes, or for the caller's share (`shares`), in that order, and for the connection last.
"""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import asyncpg
from asyncpg import Record
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection

from db.connections.coalescing import CoalescedReads, PendingRead, Timed
from db.connections.faults import BUSY, DRIVER_ERRORS, UNAVAILABLE, Again, DatabaseFault
from db.connections.leases import RECOVER_S, LeasedConnection, Leases
from db.connections.pool import PoolCounters, count_pool_events, create_engine
from db.connections.retries import run_again
from db.connections.shares import Share, Shares, share
from db.connections.statements import Reader, Statement, by_column
from db.connections.statistics import fetched, waited
from db.connections.transaction import OpenTransaction, Snapshot, worded
from db.connections.waiting import TurnKey, Turns
from db.constraints import refusal_for
from db.errors import Unavailable
from db.settings import Settings

__all__ = ["Database", "OpenTransaction", "Snapshot"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
Run = Callable[[LeasedConnection, str, Sequence[object]], Awaitable[Sequence[Record]]]


class Database(Reader):
    """The pool of one process, with its doors. Build it inside the running event loop's process, once.

    Attributes:
        leases: the connections.
        shares: the bounds of who may hold how many of them.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.database_url is None:
            raise ValueError("Database needs settings.database_url; db.embedded.server gives one where none is set")
        self.settings = settings
        self._attempts_max = settings.write_attempts_max
        self.counters = PoolCounters()
        self.engine = create_engine(settings)
        count_pool_events(self.engine, self.counters)
        self.leases = Leases(settings, self._connection)
        self.shares = Shares(settings)
        self._turns = Turns(settings.lock_timeout_ms / 1000 or settings.pool_timeout_s)
        self._shared = CoalescedReads(self._fetch_timed, self.shares)

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.leases.close()
        await self.engine.dispose()

    # ------------------------------------------------------------ reads

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Run one read on a connection of its own, in autocommit, and return all its rows.

        Raises:
            Unavailable: no connection was free or could be made, or the statement ran into a timeout.
        """
        return await self._read(statement, values, fetched)

    async def _fetch_timed(self, statement: Statement, values: Mapping[str, object], timed: Timed) -> Sequence[Record]:
        """Do as `fetch`, but add the time of the database to `timed`; the caller counts the statement."""

        async def run(connection: LeasedConnection, sql: str, arguments: Sequence[object]) -> Sequence[Record]:
            started = time.perf_counter_ns()
            try:
                return await connection.fetch(sql, arguments)
            finally:
                timed.elapsed_ns += time.perf_counter_ns() - started

        return await self._read(statement, values, run)

    async def _read(self, statement: Statement, values: Mapping[str, object], run: Run) -> Sequence[Record]:
        try:
            return await self._read_once(statement, values, run)
        except DatabaseFault as fault:
            if fault.again is Again.NEVER:
                raise
            first = fault.copy()
        logger.warning("a read is asked again: %s", first.reason)
        return await run_again(partial(self._read_once, statement, values, run), first, self._attempts_max)

    async def _read_once(self, statement: Statement, values: Mapping[str, object], run: Run) -> Sequence[Record]:
        own = share.get()
        connection = await self._taken(own)
        try:
            self.counters.statements += 1
            return await run(connection, statement.sql, statement.arguments(values))
        except Exception as error:
            refusal = self._worded(error, connection)
            if refusal is None:
                raise
        finally:
            self._give_back(connection, own)
        raise refusal.copy()

    def mapped_rows(
        self,
        statement: Statement,
        values: Mapping[str, object],
        map_rows: Callable[[Sequence[Record]], T],
        keys: Sequence[int] = (),
    ) -> Coroutine[Any, Any, T]:
        """See `Reader`. Concurrent equal calls share one statement (`db.connections.coalescing`)."""
        return self._shared.mapped_rows(statement, values, keys, map_rows)

    def keyed(
        self, statement: Statement, values: Mapping[str, object], keys: Sequence[int], column: str
    ) -> PendingRead:
        """See `Reader`. `ask` takes a callback instead of being awaited."""
        return PendingRead(self._shared, statement, values, keys, by_column(column))

    @asynccontextmanager
    async def read(self, tables: Sequence[str] = ()) -> AsyncIterator[Snapshot]:
        """Open a read-only snapshot: all statements within see one state of the database.

        `tables` are the names of those that may be read. They are locked against a change of their form before the
        snapshot is taken: to a snapshot from before a migration a table that was rewritten since looks empty
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

        Where an error of the database has ended the snapshot after which it may be asked again, all of `work` is, also
        where `work` has made something of that error. It keeps no state outside.

        Raises:
            Unavailable: no snapshot could be opened.
        """
        results: list[T] = []

        async def attempt() -> T:
            async with self.read(tables) as snapshot:
                results[:] = [await work(snapshot)]
            if snapshot.fault is not None and snapshot.fault.again is not Again.NEVER:
                raise snapshot.fault.copy()
            return results[0]

        try:
            return await attempt()
        except DatabaseFault as fault:
            if fault.again is Again.NEVER:
                raise
            first = fault.copy()
        logger.warning("a snapshot is read again: %s", first.reason)
        try:
            return await run_again(attempt, first, self._attempts_max)
        except DatabaseFault:
            if not results:
                raise
        return results[0]  # what `work` has made of the error

    # ------------------------------------------------------------ writes

    def turn(self, keys: Iterable[TurnKey]) -> AbstractAsyncContextManager[None]:
        """As `db.connections.statements.Writer` says.

        Raises:
            Unavailable: DATABASE_BUSY where the turn did not come within the limit of a wait for a lock.
        """
        return self._turns.turn(keys)

    async def write(self, work: Callable[[OpenTransaction], Awaitable[T]]) -> T:
        """Run `work` in one transaction and commit it; on any exception nothing of it has happened.

        `work` may run several times, each time from the start in a new transaction, so it keeps no state outside.

        Raises:
            Refusal: `work` raised it, or violated a constraint that means something to the client.
            Unavailable: no connection, a timeout, or a conflict that outlasted the retries.
        """
        try:
            try:
                return await self._write_once(work)  # nearly always enough
            except DatabaseFault as fault:
                if fault.again is Again.NEVER:
                    raise
                first = fault.copy()
            return await run_again(partial(self._write_once, work), first, self._attempts_max, self._count_retry)
        except asyncpg.IntegrityConstraintViolationError as error:
            refusal = refusal_for(error)
            if refusal is None:
                raise
            raise refusal from error

    async def autocommit_write(
        self, statement: Statement, values: Mapping[str, object], sending: Callable[[], None] | None = None
    ) -> Sequence[Record]:
        """As `db.connections.statements.Writer` says. `sending` is called when the statement is about to be sent.

        Raises:
            Unavailable: as for `write`.
        """
        own, writes = share.get(), self.shares.writes
        if not writes.enter_at_once():
            await writes.enter()
        try:
            connection = await self._taken(own)
            try:
                if not connection.is_trusted:
                    return ()
                if sending is not None:
                    sending()
                self.counters.statements += 1
                return await fetched(connection, statement.sql, statement.arguments(values))
            except asyncpg.IntegrityConstraintViolationError:
                # An UPDATE is held against the constraints as its row was when the statement began, before it looks
                # whether that row was changed meanwhile. Whether it is violated indeed shows in a transaction.
                return ()
            except Exception as error:
                refusal = self._worded(error, connection, is_at_commit=True)
                if refusal is None:
                    raise
            finally:
                self._give_back(connection, own)
        finally:
            writes.leave()
        if refusal.again is Again.NEVER:
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
            tag = await waited(connection.execute("COMMIT"))
        except Exception as error:
            refusal = self._worded(error, connection, is_at_commit=True)
            if refusal is None:
                raise
        else:
            # PostgreSQL answers COMMIT of a failed transaction with ROLLBACK, and no error.
            if tag != "COMMIT":
                raise RuntimeError(f"COMMIT answered {tag}: the unit of work swallowed an SQL error")
            return
        raise refusal.copy()

    # ------------------------------------------------------------ connections

    async def _taken(self, own: Share | None) -> LeasedConnection:
        """Lend a connection that counts for the share `own`, until `_give_back`."""
        if own is not None and not own.enter_at_once():
            await own.enter()
        try:
            return self.leases.take_idle() or await self.leases.take()
        except BaseException:
            if own is not None:
                own.leave()
            raise

    def _give_back(self, connection: LeasedConnection, own: Share | None) -> None:
        self.leases.give_back(connection)
        if own is not None:
            own.leave()

    @asynccontextmanager
    async def _leased(self, begin: str) -> AsyncIterator[LeasedConnection]:
        """Lend a connection on which a transaction has begun."""
        own = share.get()
        connection = await self._begun(begin, own)
        try:
            yield connection
        except DRIVER_ERRORS as error:
            # What work does on the driver itself, such as COPY, is worded here; its own files may fail, too.
            is_own = isinstance(error, OSError) and not connection.driver.is_closed()
            refusal = None if is_own else self._worded(error, connection)
            if refusal is None:
                raise
        else:
            return
        finally:
            self._give_back(connection, own)
        raise refusal.copy()

    async def _begun(self, begin: str, own: Share | None) -> LeasedConnection:
        # A restarted server leaves a pool full of closed connections. asyncpg has seen the end of most already, so
        # that dropping them costs no round trip; one more try than there can be of them ends the loop.
        for _ in range(self.settings.pool_size + self.settings.pool_max_overflow + 1):
            connection = await self._taken(own)
            try:
                await waited(connection.execute(begin))
            except Exception as error:
                refusal = self._worded(error, connection)
                connection.is_interrupted = True  # whether BEGIN has happened is not known
                self._give_back(connection, own)
                if refusal is None:
                    raise
            except BaseException:
                self._give_back(connection, own)
                raise
            else:
                return connection
            if not connection.driver.is_closed():
                raise refusal.copy()
            logger.warning("a connection was broken before its transaction, and is replaced: %s", refusal.reason)
        raise Unavailable(UNAVAILABLE, "the database closes every connection")

    def _worded(
        self, error: Exception, connection: LeasedConnection, *, is_at_commit: bool = False
    ) -> DatabaseFault | None:
        refusal = worded(error, connection, self.counters, is_at_commit=is_at_commit)
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            self.leases.distrust()  # they lead to the same server, and the writer may be another one by now
        return refusal

    async def _connection(self) -> PoolProxiedConnection:
        try:
            return await self.engine.raw_connection()
        except PoolTimeoutError as error:
            raise Unavailable(BUSY, "all connections are in use; try again shortly") from error
        except (DBAPIError, EmulatedDBAPIException, *DRIVER_ERRORS) as error:
            logger.error("no connection to the database: %s", error)  # noqa: TRY400 - the trace says nothing more
            reason = f"{type(error).__name__}: {error}"
            raise Unavailable(UNAVAILABLE, "the database cannot be reached", reason=reason) from None


async def _roll_back(connection: LeasedConnection) -> None:
    if connection.driver.is_closed() or connection.is_interrupted:
        return  # it is thrown away, or tested, and with it the transaction ends
    try:
        await connection.execute("ROLLBACK", RECOVER_S)
    except DRIVER_ERRORS as error:
        logger.warning("ROLLBACK failed, the connection is dropped: %s", type(error).__name__)
        connection.driver.terminate()
