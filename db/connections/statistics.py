"""Counts the statements, rows and time that one piece of work takes of the database. It does not refer to the work.

To measure work, set `query_statistics` to a new `QueryStatistics`; every statement within adds to it. Tasks copy the
context when they are created, and the copies refer to the same object. A loader's batch runs as a separate task, so it
adds to the statistics of the operation that requested it first. If nothing is set, a statement pays for one lookup
only.
"""

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExecutedStatement:
    """One executed statement: its text, which holds placeholders and no values, and its result.

    Attributes:
        rows: the number of rows that it returned; None if it failed.
    """

    sql: str
    rows: int | None
    elapsed_ns: int
    error: BaseException | None


@dataclass(eq=False)  # no slots: subclasses add attributes with defaults
class QueryStatistics:
    """The sums of one piece of work.

    Attributes:
        waited_ns: the time from sending to the last row, added up over all statements, BEGIN and COMMIT, also if they
            ran concurrently. It does not include the wait for a free connection.
    """

    statements: int = 0
    rows: int = 0
    waited_ns: int = 0
    on_statement: Callable[[ExecutedStatement], None] | None = None

    def add(self, sql: str, rows: int | None, elapsed_ns: int, error: BaseException | None = None) -> None:
        """Count one statement, with arguments as in `ExecutedStatement`."""
        self.statements += 1
        self.rows += rows or 0
        self.waited_ns += elapsed_ns
        if self.on_statement is not None:
            self.on_statement(ExecutedStatement(sql, rows, elapsed_ns, error))


query_statistics: ContextVar[QueryStatistics | None] = ContextVar("query_statistics", default=None)


async def await_counted(work: Awaitable[T]) -> T:
    """Await a BEGIN or COMMIT, count its time but not as a statement, and return its answer."""
    current = query_statistics.get()
    if current is None:
        return await work
    started = time.perf_counter_ns()
    try:
        return await work
    finally:
        current.waited_ns += time.perf_counter_ns() - started
