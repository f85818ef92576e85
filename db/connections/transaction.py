"""An open transaction, and a snapshot: a read-only transaction on one state of the database.

Both translate the errors of the database (`db.connections.faults`) and remember the first one. Both refuse use after
their end: code that still holds one must not reach a connection that serves another caller by then.
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
from db.errors import Unavailable

# How long the cancellation of the last statement of a closed snapshot may take. The connection is tested afterwards.
LEAVE_S = 1.0


class ClosedTransactionError(RuntimeError):
    """A transaction was used after its end: a fault of this program."""


class OpenTransaction(Reader):
    """One open transaction on one connection: a `Reader` that may write. It must not be used concurrently.

    Attributes:
        failure: the first error of the database, which has ended the transaction; None if there was none.
    """

    __slots__ = ("_connection", "_counters", "failure")

    def __init__(self, connection: LeasedConnection, counters: PoolCounters) -> None:
        self._connection: LeasedConnection | None = connection
        self._counters = counters
        self.failure: Unavailable | None = None

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Run `statement` with `values` and return all its rows.

        Raises:
            Unavailable: the database could not answer this or an earlier statement of the transaction.
            ClosedTransactionError: the transaction has ended.
        """
        connection = self._open()
        if self.failure is not None:
            raise self.failure.copy()
        self._counters.statements += 1
        try:
            return await connection.fetch(statement.sql, statement.arguments(values))
        except Exception as error:
            failure = self._translate(error, connection)
            if failure is None:
                raise
        raise failure.copy()

    @property
    def driver(self) -> Driver:
        """The asyncpg connection, for COPY and cursors."""
        return self._open().driver

    def end(self) -> None:
        """Refuse all use from now on."""
        self._connection = None

    def _open(self) -> LeasedConnection:
        if self._connection is None:
            raise ClosedTransactionError("the transaction has ended")
        return self._connection

    def _translate(self, error: Exception, connection: LeasedConnection) -> DatabaseFault | None:
        """Return the fault for the caller, or None for a fault of this program. Either may end the transaction."""
        failure = translate_error(error, connection, self._counters)
        if failure is not None:
            self.failure = failure.copy()
        return failure


class Snapshot(OpenTransaction):
    """A read-only transaction on one state of the database. Concurrent reads take turns.

    Attributes:
        fault: the error of the database that has ended the snapshot; None if there was none, or for a fault of this
            program.
    """

    __slots__ = ("_readers", "_turn", "fault")

    def __init__(self, connection: LeasedConnection, counters: PoolCounters) -> None:
        super().__init__(connection, counters)
        self._turn = asyncio.Lock()
        self._readers: set[asyncio.Task[object]] = set()
        self.fault: DatabaseFault | None = None

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Do as `OpenTransaction.fetch`."""
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
        """Refuse all use from now on, and cancel the reads that still use the connection."""
        connection = self._connection
        self.end()
        task = asyncio.current_task()
        readers = [one for one in self._readers if one is not task]
        if not readers or connection is None:
            return
        connection.is_interrupted = True  # the connection is tested before it serves another caller
        for one in readers:
            one.cancel()
        await asyncio.wait(readers, timeout=LEAVE_S)

    def _translate(self, error: Exception, connection: LeasedConnection) -> DatabaseFault | None:
        failure = super()._translate(error, connection)
        if failure is not None:
            self.fault = failure.copy()
        elif isinstance(error, asyncpg.PostgresError):
            # PostgreSQL runs no further statement in this transaction. Other fields of the operation are not at fault,
            # so they receive this error instead.
            self.failure = Unavailable(
                UNAVAILABLE, "an earlier statement of this operation failed; send the operation again without it"
            )
        return failure


def translate_error(
    error: Exception, connection: LeasedConnection, counters: PoolCounters, *, is_at_commit: bool = False
) -> DatabaseFault | None:
    """Return what the error of a statement means to its caller, or None for a fault of this program.

    It closes an unusable connection, and records a fault of the database's disks in `counters`.
    """
    fault = fault_of(error, is_closed=connection.driver.is_closed())
    if fault.code is None:
        return None
    if fault.is_broken:
        connection.driver.terminate()
    if fault.is_of_storage:
        counters.storage.meet(fault.message)
    return fault.refusal(error, is_at_commit=is_at_commit)
