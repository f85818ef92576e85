"""What one piece of work asks of the database: statements, rows and time, counted without knowing whose work it is.

Whoever wants to know sets `query_statistics` to a `QueryStatistics` of its own; every statement within adds to it.
Tasks copy the context when they are made, and the copies hold the same object: a loader's batch, which runs as a task
of its own, adds to the statistics of the operation that asked first. Where nothing is set, a statement pays for one
look-up.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from asyncpg import Record

if TYPE_CHECKING:  # the module beneath the connections; only its annotation names one
    from db.connections.leased_connection import LeasedConnection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExecutedStatement:
    """One statement that has run: its text, which holds placeholders and no values, and what came of it.

    Attributes:
        rows: how many it returned; None where it failed.
    """

    sql: str
    rows: int | None
    elapsed_ns: int
    error: BaseException | None


@dataclass(eq=False)  # no slots: who observes more adds to it, with defaults of its own
class QueryStatistics:
    """The sums of one piece of work.

    Attributes:
        waited_ns: from sending to the last row, added up over statements, BEGIN and COMMIT, however many ran at once.
            Waiting for a free connection is not in it.
        on_statement: is told of each statement after it has run.
    """

    statements: int = 0
    rows: int = 0
    waited_ns: int = 0
    on_statement: Callable[[ExecutedStatement], None] | None = None

    def add(self, sql: str, rows: int | None, elapsed_ns: int, error: BaseException | None = None) -> None:
        """Count one statement, as `ExecutedStatement` says."""
        self.statements += 1
        self.rows += rows or 0
        self.waited_ns += elapsed_ns
        if self.on_statement is not None:
            self.on_statement(ExecutedStatement(sql, rows, elapsed_ns, error))


query_statistics: ContextVar[QueryStatistics | None] = ContextVar("query_statistics", default=None)


async def fetched(connection: "LeasedConnection", sql: str, arguments: Sequence[object]) -> Sequence[Record]:
    """Run one statement, count it, and return all its rows."""
    current = query_statistics.get()
    if current is None:
        return await connection.fetch(sql, arguments)
    started = time.perf_counter_ns()
    try:
        rows = await connection.fetch(sql, arguments)
    except BaseException as error:
        current.add(sql, None, time.perf_counter_ns() - started, error)
        raise
    current.add(sql, len(rows), time.perf_counter_ns() - started)
    return rows


async def waited(work: Awaitable[T]) -> T:
    """Count the time of a BEGIN or COMMIT, which are no statements of anybody's, and return its answer."""
    current = query_statistics.get()
    if current is None:
        return await work
    started = time.perf_counter_ns()
    try:
        return await work
    finally:
        current.waited_ns += time.perf_counter_ns() - started
