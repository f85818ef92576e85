"""Statements: SQLAlchemy constructs compiled once to SQL text, and bound by position for asyncpg.

Building a `select()` costs about 80 µs even where SQLAlchemy's own cache knows it, and a Core result row costs
more than the fetch. A repository therefore builds each shape of a statement once (`db.query.statement_cache` on the
shape), keeps the `Statement`, and gets asyncpg's own records back.

Parameters are `bindparam(name)`; what stands in the construct as a literal becomes a constant argument. Types
with a bind processor of SQLAlchemy's (enums, intervals, JSON) have no place here: the processor would not run.
Lists go in as arrays (`= any(:ids)`), never as expanding IN, so that one text serves any length.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import cache, cached_property
from sys import getsizeof
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from asyncpg import Record
from sqlalchemy import BigInteger, ClauseElement, ColumnElement, bindparam, cast, make_url, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.compiler import SQLCompiler

from db.connections.waiting import TurnKey

T = TypeVar("T")
Row: TypeAlias = Record | Mapping[str, Any]
"""A row: as asyncpg gives it, or out of the columns of a page."""

_DIALECT = make_url("postgresql+asyncpg://").get_dialect()()

# A statement without its parts: the object, its attributes and the tuple of what was compiled.
STATEMENT_BYTES = 500

KEYS = "ids"
"""The parameter of a read by key that holds the keys."""


def bigint_array(name: str) -> ColumnElement[Any]:
    """Return the parameter `name`, whose value is a list of integers, as an array of SQL.

    It is a subquery, whose value the planner cannot look at. For an array that it sees, PostgreSQL expects so many
    rows, and finds that a plan made for these few costs less than one for any number: it then plans the statement anew
    at each execution, for ever (plan_cache_mode auto), which takes longer than to run it. The plan is the same either
    way.
    """
    return cast(select(bindparam(name, type_=ARRAY(BigInteger))).scalar_subquery(), ARRAY(BigInteger))


KEYS_ARRAY = bigint_array(KEYS)
"""The keys, as an array of SQL: `Post.id == any_(KEYS_ARRAY)`."""


class _Compiled(NamedTuple):
    """What is kept of a compiled construct: neither it nor its compiler, which take twenty to fifty times as much."""

    sql: str
    names: tuple[str, ...]
    constants: dict[str, object]


class Statement:
    """One statement, compiled at its first use: by then every mapped class that it may refer to is imported."""

    def __init__(self, construct: ClauseElement) -> None:
        self._construct: ClauseElement | None = construct

    @cached_property
    def _compiled(self) -> _Compiled:
        assert self._construct is not None
        compiled = self._construct.compile(dialect=_DIALECT)
        assert isinstance(compiled, SQLCompiler)
        self._construct = None
        names, binds = tuple(compiled.positiontup or ()), compiled.binds
        constants = {name: binds[name].value for name in names if not binds[name].required}
        return _Compiled(compiled.string, names, constants)

    @cached_property
    def sql(self) -> str:
        """The text, with `$1`, `$2`, … and explicit casts."""
        return self._compiled.sql

    @property
    def size_bytes(self) -> int:
        """How many bytes it takes, compiled: its text, the names of its parameters and its constants."""
        sql, names, constants = self._compiled
        parts = [sql, names, constants, *names, *constants.values(), self._names, self.parameters_but_keys]
        return STATEMENT_BYTES + sum(map(getsizeof, {id(part): part for part in parts}.values()))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return self._compiled.names

    @cached_property
    def parameters_but_keys(self) -> tuple[str, ...]:
        """The names of the values that it needs, the keys of a read by key aside."""
        return tuple(dict.fromkeys(name for name in self._names if name not in self._constants and name != KEYS))

    @cached_property
    def _constants(self) -> dict[str, object]:
        return self._compiled.constants

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """Return `values` in the order of the placeholders.

        Raises:
            KeyError: a parameter of the statement has no value.
        """
        constants = self._constants
        return [constants[name] if name in constants else values[name] for name in self._names]


RowsByKey = Awaitable[Mapping[int, Record]]
"""Comes to rows by a key of theirs; those of further keys may be among them (`Reader.mapped_rows`)."""


class Reader(Protocol):
    """Whatever can run a statement: the pool, a snapshot, or the transaction of a write."""

    __slots__ = ()

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Run `statement` with `values` and return all its rows."""
        ...

    async def mapped_rows(
        self,
        statement: Statement,
        values: Mapping[str, object],
        map_rows: Callable[[Sequence[Record]], T],
        keys: Sequence[int] = (),
    ) -> T:
        """Run `statement` with `values` (and `keys`, where it has the parameter `ids`), and return its mapped rows.

        The answer is for reading alone, and rows of further keys may be in it: where calls share a statement, they
        share what `map_rows` made. Only calls with the same `map_rows`, by identity, do.
        """
        return map_rows(await self.fetch(statement, {**values, KEYS: keys}))

    def keyed(self, statement: Statement, values: Mapping[str, object], keys: Sequence[int], column: str) -> RowsByKey:
        """Run `statement` with `values` and `keys`, and return its rows by `column`, as `mapped_rows` does."""
        return self.mapped_rows(statement, values, by_column(column), keys)


class Writer(Protocol):
    """Whatever can commit."""

    __slots__ = ()

    def turn(self, keys: Iterable[TurnKey]) -> AbstractAsyncContextManager[None]:
        """Wait for the turn to write the rows of `keys`, without a connection, and hold it within the block.

        Who writes a row that others write too takes a turn, so that waits for the row's lock do not hold connections.
        A turn promises nothing: other processes write as well, and the lock decides. A writer without others at its
        side has no turns.
        """
        return nullcontext()

    async def write(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        """Run `work` in one transaction and commit it; on any exception nothing of it has happened.

        `work` may run several times, each time from the start in a new transaction, so it keeps no state outside.
        """
        ...

    async def autocommit_write(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Try `statement` as a transaction of its own, without BEGIN and COMMIT, and return its rows.

        It has to be one that either does all that is to be done and returns a row, or does nothing. Where there are no
        rows, nothing was written, for whatever reason: then go on with `write`.
        """
        ...


@cache
def by_column(column: str) -> Callable[[Sequence[Record]], Mapping[int, Record]]:
    """Return what makes a mapping of rows whose `column` is unique; the same for the same column."""

    def mapped_rows(rows: Sequence[Record]) -> Mapping[int, Record]:
        return {row[column]: row for row in rows}

    return mapped_rows
