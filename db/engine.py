"""The doors to the pool: reads, and the only place in the project that commits.

SQLAlchemy owns the connections (pool, events, recycling); statements run on asyncpg's own connection beneath, on
lanes that hold it (`db.lanes`), because a row costs a fraction there. That division holds three invariants:

- A connection comes back from a door idle, outside a transaction, or is thrown away.
- Every write goes through `Database.write`, which commits, and which retries: the whole unit of work again, and only
  after 40001 (serialization failure) and 40P01 (deadlock), where PostgreSQL promises that nothing of it happened. What
  can be one statement may try `Database.alone` before, and spares itself BEGIN and COMMIT.
- A broken connection is replaced without the caller's doing: closed ones are noticed beforehand for free, others
  at BEGIN, and a single read that lost its connection is asked once more. A write is not: it may have happened. That is
  why `alone` leaves a connection that has been quiet for a while to `write`, which has its BEGIN to find it broken.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from asyncpg import Record
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from db.errors import Unavailable, refusal_for
from db.lanes import Driver, Lane, Lanes
from db.pool import PoolCounters, count_pool_events, create_engine
from db.settings import Settings
from db.sharing import Keyed, SharedReads
from db.statements import Reader, Statement, by_column
from db.tally import fetched, waited

logger = logging.getLogger(__name__)

RETRY_WAIT_MAX_S = 0.5

T = TypeVar("T")
Run = Callable[[Lane, str, Sequence[object]], Awaitable[Sequence[Record]]]
_RETRIED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_BROKEN = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # A statement that is sent between the server's last words and the end of the connection.
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    OSError,
)


class _ConnectionLostError(Unavailable):
    """The connection was closed while it was used, before COMMIT."""


class Transaction(Reader):
    """One open transaction on one connection: a `db.statements.Reader` that may write. Never used concurrently."""

    __slots__ = ("_counters", "_lane")

    def __init__(self, lane: Lane, counters: PoolCounters) -> None:
        self._lane = lane
        self._counters = counters

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Run `statement` with `values` and return all its rows."""
        self._counters.statements += 1
        return await fetched(self._lane, statement.sql, statement.arguments(values))

    @property
    def driver(self) -> Driver:
        """The asyncpg connection, for COPY and cursors."""
        return self._lane.driver


class Snapshot(Transaction):
    """A read-only transaction on one state of the database. Reads that come at once take turns."""

    __slots__ = ("_turn",)

    def __init__(self, lane: Lane, counters: PoolCounters) -> None:
        super().__init__(lane, counters)
        self._turn = asyncio.Lock()

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Run `statement` with `values` and return all its rows."""
        async with self._turn:
            return await super().fetch(statement, values)


class Database(Reader):
    """The pool of one process, with its doors. Build it inside the running event loop's process, once."""

    def __init__(self, settings: Settings) -> None:
        if settings.database_url is None:
            raise ValueError("Database needs settings.database_url; db.embedded gives one where none is set")
        self.settings = settings
        self.counters = PoolCounters()
        self.engine = create_engine(settings)
        count_pool_events(self.engine, self.counters)
        self.lanes = Lanes(settings, self._connection)
        self._shared = SharedReads(self._fetch_uncounted)

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.lanes.close()
        await self.engine.dispose()

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Run one read on a connection of its own, in autocommit, and return all its rows.

        Raises:
            Unavailable: no connection was free or could be made, or the statement ran into a timeout.
        """
        return await self._read(statement, values, fetched)

    async def _fetch_uncounted(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """As `fetch`, of which the tally hears from elsewhere."""
        return await self._read(statement, values, Lane.fetch)

    async def _read(self, statement: Statement, values: Mapping[str, object], run: Run) -> Sequence[Record]:
        try:
            return await self._read_once(statement, values, run)
        except _ConnectionLostError as error:
            logger.warning("a connection broke during a read, which is asked once more: %s", error.__cause__)
        return await self._read_once(statement, values, run)

    def arranged(
        self,
        statement: Statement,
        values: Mapping[str, object],
        arrange: Callable[[Sequence[Record]], T],
        keys: Sequence[int] = (),
    ) -> Coroutine[Any, Any, T]:
        """As `db.statements.Reader` says; concurrent calls share one statement, see `db.sharing`."""
        return self._shared.arranged(statement, values, keys, arrange)

    def keyed(self, statement: Statement, values: Mapping[str, object], keys: Sequence[int], column: str) -> Keyed:
        """As `db.statements.Reader` says; who would rather be told of the rows than await them can `ask`."""
        return Keyed(self._shared, statement, values, keys, by_column(column))

    async def _read_once(self, statement: Statement, values: Mapping[str, object], run: Run) -> Sequence[Record]:
        lanes = self.lanes
        lane = lanes.take_idle() or await lanes.take()
        try:
            self.counters.statements += 1
            return await run(lane, statement.sql, statement.arguments(values))
        except Exception as error:
            worded = _worded(error, lane)
            if worded is error:
                raise
            raise worded from error
        finally:
            if not lanes.give_back(lane):
                await lanes.retire(lane)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Snapshot]:
        """Open a read-only snapshot: all statements within see one state of the database.

        Raises:
            Unavailable: as for `fetch`.
        """
        async with self._lease("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY") as lane:
            try:
                yield Snapshot(lane, self.counters)
            finally:
                await _roll_back(lane.driver)

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` in one transaction and commit it; on any exception nothing of it has happened.

        `work` may run several times, each time from the start in a new transaction, so it keeps no state outside.

        Raises:
            Refusal: `work` raised it, or violated a constraint that means something to the client.
            Unavailable: no connection, a timeout, or a conflict that outlasted the retries.
        """
        try:
            try:
                return await self._write_once(work)  # nearly always enough
            except _RETRIED as error:
                return await self._retried(work, error)
        except asyncpg.IntegrityConstraintViolationError as error:
            refusal = refusal_for(error)
            if refusal is None:
                raise
            raise refusal from error
        except _RETRIED as error:
            raise Unavailable("DATABASE_BUSY", "too many others write the same rows; try again shortly") from error

    async def alone(
        self, statement: Statement, values: Mapping[str, object], sending: Callable[[], None] | None = None
    ) -> Sequence[Record]:
        """As `db.statements.Writer` says. `sending` is called when the statement is about to be sent.

        Raises:
            Unavailable: as for `write`.
        """
        lane = self.lanes.take_idle() or await self.lanes.take()
        try:
            if not lane.is_trusted:
                return ()
            if sending is not None:
                sending()
            self.counters.statements += 1
            return await fetched(lane, statement.sql, statement.arguments(values))
        except _RETRIED:
            self._count_retry(None)
            return ()
        except asyncpg.IntegrityConstraintViolationError:
            # An UPDATE is held against the constraints as its row was when the statement began, before it looks whether
            # that row was changed meanwhile. Whether it is violated indeed shows in a transaction.
            return ()
        except Exception as error:
            worded = _worded(error, lane)
            if worded is error:
                raise
            raise _outcome_unknown() if isinstance(worded, _ConnectionLostError) else worded from error
        finally:
            if not self.lanes.give_back(lane):
                await self.lanes.retire(lane)

    async def _retried(self, work: Callable[[Transaction], Awaitable[T]], error: Exception) -> T:
        """Go on after the first attempt, which failed with `error`."""
        failed: list[Exception] = [error]

        async def attempt() -> T:
            if failed:
                raise failed.pop()
            return await self._write_once(work)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_RETRIED),
            wait=wait_random_exponential(multiplier=0.01, max=RETRY_WAIT_MAX_S),
            stop=stop_after_attempt(self.settings.write_attempts_max),
            before_sleep=self._count_retry,
            reraise=True,
        )
        return await retrying(attempt)

    async def _write_once(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._lease("BEGIN") as lane:
            try:
                result = await work(Transaction(lane, self.counters))
            except BaseException:
                await _roll_back(lane.driver)
                raise
            await _commit(lane.driver)
            return result

    def _count_retry(self, state: object) -> None:
        self.counters.retries += 1

    @asynccontextmanager
    async def _lease(self, begin: str) -> AsyncIterator[Lane]:
        lane = await self._begun(begin)
        try:
            yield lane
        except Exception as error:
            worded = _worded(error, lane)
            if worded is error:
                raise
            raise worded from error
        finally:
            if not self.lanes.give_back(lane):
                await self.lanes.retire(lane)

    async def _begun(self, begin: str) -> Lane:
        # A restarted server leaves lanes full of closed connections. asyncpg has seen the end of most already, so
        # that dropping them costs no round trip; one more try than there can be of them ends the loop.
        for _ in range(self.settings.pool_size + self.settings.pool_max_overflow + 1):
            lane = self.lanes.take_idle() or await self.lanes.take()
            try:
                if await _begins(lane.driver, begin):
                    return lane
            except BaseException:
                lane.driver.terminate()  # whether BEGIN has happened is not known
                await self.lanes.retire(lane)
                raise
            await self.lanes.retire(lane)
        raise Unavailable("DATABASE_UNAVAILABLE", "the database closes every connection")

    async def _connection(self) -> PoolProxiedConnection:
        try:
            return await self.engine.raw_connection()
        except PoolTimeoutError as error:
            raise Unavailable("DATABASE_BUSY", "all connections are in use; try again shortly") from error
        except (DBAPIError, EmulatedDBAPIException, asyncpg.PostgresError, OSError) as error:
            logger.error("no connection to the database: %s", error)  # noqa: TRY400 - the trace says nothing more
            raise Unavailable("DATABASE_UNAVAILABLE", "the database cannot be reached") from error


def _worded(error: Exception, lane: Lane) -> Exception:
    """Return what an error that passed a door means to the caller; most mean what they say."""
    if isinstance(error, asyncpg.LockNotAvailableError):
        return Unavailable("DATABASE_BUSY", "somebody else holds the same rows; try again shortly")
    if isinstance(error, asyncpg.QueryCanceledError):
        return Unavailable("DATABASE_TIMEOUT", "the database took too long; ask for less")
    if isinstance(error, _BROKEN):
        if isinstance(error, asyncpg.InternalClientError):
            lane.driver.terminate()  # not closed yet, and good for nothing any more
        if lane.driver.is_closed():  # asyncpg says InterfaceError of faults of ours, too
            return _ConnectionLostError("DATABASE_UNAVAILABLE", "the database went away; try again shortly")
    return error


def _outcome_unknown() -> Unavailable:
    return Unavailable(
        "DATABASE_UNAVAILABLE",
        "the connection broke while the write was being committed: look before you send it again",
        outcome_unknown=True,
    )


async def _begins(driver: Driver, begin: str) -> bool:
    """Say whether the connection is fit for use: a broken one shows at BEGIN, before anything has happened."""
    try:
        await waited(driver.execute(begin))
    except _BROKEN as error:
        logger.warning("a connection was broken before its transaction, and is replaced: %s", error)
        driver.terminate()
        return False
    return True


async def _commit(driver: Driver) -> None:
    try:
        tag = await waited(driver.execute("COMMIT"))
    except _BROKEN as error:
        raise _outcome_unknown() from error
    # PostgreSQL answers COMMIT of a failed transaction with ROLLBACK, and no error.
    if tag != "COMMIT":
        raise RuntimeError(f"COMMIT answered {tag}: the unit of work swallowed an SQL error")


async def _roll_back(driver: Driver) -> None:
    if driver.is_closed():
        return
    try:
        await driver.execute("ROLLBACK")
    except (asyncpg.PostgresError, *_BROKEN) as error:
        # The lease throws the connection away, and with it the transaction.
        logger.warning("ROLLBACK failed, the connection is dropped: %s", type(error).__name__)
        driver.terminate()
