"""An open transaction, and a read-only one on one state of the database (a snapshot).

Both word the errors of the database (`db.connections.faults`), remember the first one, and refuse to be used when they
are closed: code that still holds one then must not reach a connection that serves somebody else by now.
"""

import asyncio
from collections.abc import Mapping, Sequence

import asyncpg
from asyncpg import Record

from db.connections.asyncpg_adapter import Driver
from db.connections.faults import UNAVAILABLE, DatabaseFault, fault_of
from db.connections.leased_connection import LeasedConnection
from db.connections.pool import PoolCounters
from db.connections.statements import Reader, Statement
from db.connections.statistics import fetched
from db.errors import Unavailable

# How long the last statement of a closed snapshot may take to be cancelled. Its connection is tested afterwards.
LEAVE_S = 1.0


class ClosedTransactionError(RuntimeError):
    """A transaction was used after its end: a fault of this program."""


class OpenTransaction(Reader):
    """One open transaction on one connection: a `Reader` that may write. It is never used concurrently.

    Attributes:
        failure: the first error of the database, which has ended the transaction; None where there was none.
    """

    __slots__ = ("_connection", "_counters", "failure")

    def __init__(self, connection: LeasedConnection, counters: PoolCounters) -> None:
        self._connection: LeasedConnection | None = connection
        self._counters = counters
        self.failure: Unavailable | None = None

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Run `statement` with `values` and return all its rows.

        Raises:
            Unavailable: the database could not answer, now or at an earlier statement of this transaction.
            ClosedTransactionError: the transaction is over.
        """
        connection = self._open()
        if self.failure is not None:
            raise self.failure.copy()
        self._counters.statements += 1
        try:
            return await fetched(connection, statement.sql, statement.arguments(values))
        except Exception as error:
            failure = self._worded(error, connection)
            if failure is None:
                raise
        raise failure.copy()

    @property
    def driver(self) -> Driver:
        """The asyncpg connection, for COPY and cursors."""
        return self._open().driver

    def end(self) -> None:
        """Refuse everything from now on."""
        self._connection = None

    def _open(self) -> LeasedConnection:
        if self._connection is None:
            raise ClosedTransactionError("the transaction is over")
        return self._connection

    def _worded(self, error: Exception, connection: LeasedConnection) -> DatabaseFault | None:
        """Return what `error` means to the caller, or None where it is a fault of ours; either may end all of it."""
        failure = worded(error, connection, self._counters)
        if failure is not None:
            self.failure = failure.copy()
        return failure


class Snapshot(OpenTransaction):
    """A read-only transaction on one state of the database. Reads that come at once take turns.

    Attributes:
        fault: the error of the database that has ended it; None where there was none, or a fault of ours.
    """

    __slots__ = ("_readers", "_turn", "fault")

    def __init__(self, connection: LeasedConnection, counters: PoolCounters) -> None:
        super().__init__(connection, counters)
        self._turn = asyncio.Lock()
        self._readers: set[asyncio.Task[object]] = set()
        self.fault: DatabaseFault | None = None

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """As `Transaction.fetch`."""
        self._open()
        task = asyncio.current_task()
        assert task is not None
        self._readers.add(task)
        try:
            async with self._turn:
                return await super().fetch(statement, values)
        finally:
            self._readers.discard(task)
            del task  # the trace of a cancellation holds this frame, and the task holds the cancellation

    async def leave(self) -> None:
        """Refuse everything from now on, and see to it that nobody uses the connection any more."""
        connection = self._connection
        self.end()
        task = asyncio.current_task()
        readers = [one for one in self._readers if one is not task]
        if not readers or connection is None:
            return
        connection.is_interrupted = True  # it is tested before it serves anybody else
        for one in readers:
            one.cancel()
        await asyncio.wait(readers, timeout=LEAVE_S)

    def _worded(self, error: Exception, connection: LeasedConnection) -> DatabaseFault | None:
        failure = super()._worded(error, connection)
        if failure is not None:
            self.fault = failure.copy()
        elif isinstance(error, asyncpg.PostgresError):
            # PostgreSQL runs nothing more in this transaction. Other fields of the operation have no part in that.
            self.failure = Unavailable(
                UNAVAILABLE, "an earlier statement of this operation failed; ask again without it"
            )
        return failure


def worded(
    error: Exception, connection: LeasedConnection, counters: PoolCounters, *, is_at_commit: bool = False
) -> DatabaseFault | None:
    """Return what an error of a statement means to its caller, or None where it is a fault of ours.

    A connection that is good for nothing any more is closed; what is wrong with the database's disks is kept.
    """
    fault = fault_of(error, is_closed=connection.driver.is_closed())
    if fault.code is None:
        return None
    if fault.is_broken:
        connection.driver.terminate()
    if fault.is_of_storage:
        counters.storage.meet(fault.message)
    return fault.refusal(error, is_at_commit=is_at_commit)
