"""Statements: SQLAlchemy constructs, compiled once to SQL text whose parameters asyncpg binds by position.

Building a `select()` costs about 80 µs even if it is in SQLAlchemy's own cache, and a Core result row costs more than
the fetch. A repository therefore builds each shape of a statement once (`db.query.statement_cache`, keyed by the
shape), keeps the `Statement`, and receives asyncpg's own records.

Parameters are `bindparam(name)`. A literal in the construct becomes a constant argument. Types with a bind processor of
SQLAlchemy (enums, intervals, JSON) must not be used here: the processor would not run. Lists are passed as arrays (`=
any(:ids)`), never as expanding IN, so that one text serves any length.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import cache, cached_property
from operator import itemgetter
from sys import getsizeof
from types import GenericAlias
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from asyncpg import Record
from sqlalchemy import BigInteger, ClauseElement, ColumnElement, Text, bindparam, cast, make_url, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import ReturnsRows
from sqlalchemy.types import ARRAY as ANY_ARRAY
from sqlalchemy.types import NullType, TypeEngine

from db.connections.waiting import TurnKey

T = TypeVar("T")
Row: TypeAlias = Record | Mapping[str, Any]
"""A row: a record of asyncpg, or a mapping that is built from the columns of a page."""

_DIALECT = make_url("postgresql+asyncpg://").get_dialect()()

# The size of a statement without its parts: the object, its attributes and the tuple of the compiled parts.
STATEMENT_BYTES = 500

KEYS = "ids"
"""The parameter that holds the keys in a read by key."""


def array_parameter(name: str, items: TypeEngine[Any]) -> ColumnElement[Any]:
    """Return the parameter `name`, whose value is a list, as an SQL array of the type `items`.

    It is a subquery, whose value the planner cannot see. If the planner sees the array, it expects as many rows as the
    array has items, and finds that a plan for these few rows costs less than a generic plan. With plan_cache_mode auto
    it then plans the statement again at every execution, which takes longer than the execution. The plan is the same in
    both cases.
    """
    return cast(select(bindparam(name, type_=ARRAY(items))).scalar_subquery(), ARRAY(items))


def bigint_array(name: str) -> ColumnElement[Any]:
    """Return the parameter `name`, whose value is a list of integers, as an SQL array."""
    return array_parameter(name, BigInteger())


KEYS_ARRAY = bigint_array(KEYS)
"""The keys as an SQL array: `Post.id == any_(KEYS_ARRAY)`."""

TEXT_KEYS_ARRAY = array_parameter(KEYS, Text())
"""As `KEYS_ARRAY`, for keys that are texts."""


class _Compiled(NamedTuple):
    """The parts of a compiled construct that are kept. The construct and its compiler take 20 to 50 times as much."""

    sql: str
    names: tuple[str, ...]
    constants: dict[str, object]
    results: tuple[str, ...]
    types: tuple[Any, ...]


class Statement:
    """One statement, compiled at its first use: by then every mapped class that it refers to is imported."""

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
        return _Compiled(compiled.string, names, constants, *_results_of(compiled.statement))

    @cached_property
    def sql(self) -> str:
        """The text, with `$1`, `$2`, … and explicit casts."""
        return self._compiled.sql

    @property
    def size_bytes(self) -> int:
        """The size in bytes of the compiled statement: its text, the names of its parameters and its constants."""
        sql, names, constants, *results = self._compiled
        parts = [sql, names, constants, *names, *constants.values(), self._names, self.parameters_but_keys, *results]
        return STATEMENT_BYTES + sum(map(getsizeof, {id(part): part for part in parts}.values()))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return self._compiled.names

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of `$1`, `$2`, …: parameters, keys and constants."""
        return self._compiled.names

    @property
    def results(self) -> Iterator[tuple[str, Any]]:
        """The columns of a result row, each with the Python type of its values; `object` where it is unknown."""
        return zip(self._compiled.results, self._compiled.types, strict=True)

    @cached_property
    def parameters_but_keys(self) -> tuple[str, ...]:
        """The names of the values that the statement needs, without the keys of a read by key."""
        return tuple(dict.fromkeys(name for name in self._names if name not in self._constants and name != KEYS))

    @cached_property
    def _constants(self) -> dict[str, object]:
        return self._compiled.constants

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """Return `values` in the order of the placeholders.

        Raises:
            KeyError: a parameter of the statement has no value.
        """
        given = {**values, **self._constants} if self._constants else values
        return list(map(given.__getitem__, self._names))


def _results_of(construct: ClauseElement | None) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return the names of the result columns of a construct, and their types."""
    if not isinstance(construct, ReturnsRows):
        return (), ()
    columns = construct.exported_columns.items()
    return tuple([name for name, _ in columns]), tuple([_python_type(one.type) for _, one in columns])


def _python_type(type_: TypeEngine[Any]) -> Any:
    if isinstance(type_, ANY_ARRAY):
        return _list_of(_python_type(type_.item_type))
    return object if isinstance(type_, NullType) else type_.python_type


@cache
def _list_of(item: Any) -> Any:
    return GenericAlias(list, (item,))


RowsByKey = Awaitable[Mapping[Any, Record]]
"""An awaitable of rows by one of their columns. Rows of other keys may be included (`Reader.mapped_rows`)."""


class Reader(Protocol):
    """An object that can run a statement: the pool, a snapshot, or the transaction of a write."""

    __slots__ = ()

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Run `statement` with `values` and return all its rows."""
        ...

    def mapped_rows(
        self,
        statement: Statement,
        values: Mapping[str, object],
        map_rows: Callable[[Sequence[Record]], T],
        keys: Sequence[Any] = (),
    ) -> Awaitable[T]:
        """Run `statement` with `values` (and `keys`, if it has the parameter `ids`), and return its mapped rows.

        The answer is read-only, and may include rows of other keys: calls that share a statement share the result of
        `map_rows`. Only calls with the same `map_rows`, by identity, share it. The pool returns a read to which a
        callback can subscribe, too (`db.connections.coalescing.PendingRead`).
        """
        return self._mapped_rows(statement, {**values, KEYS: keys}, map_rows)

    async def _mapped_rows(
        self, statement: Statement, values: Mapping[str, object], map_rows: Callable[[Sequence[Record]], T]
    ) -> T:
        return map_rows(await self.fetch(statement, values))


class Writer(Protocol):
    """An object that can commit."""

    __slots__ = ()

    def turn(self, keys: Iterable[TurnKey]) -> AbstractAsyncContextManager[None]:
        """Wait without a connection for the turn to write the rows of `keys`, and hold it within the block.

        Writes to a row that other callers write too take a turn, so that a wait for the row's lock holds no connection.
        A turn does not guarantee anything: other processes write as well, and the lock decides. A writer without
        concurrent callers has no turns.
        """
        return nullcontext()

    async def write(self, work: Callable[[Reader], Awaitable[T]]) -> T:
        """Run `work` in one transaction and commit it. After any exception nothing of it has happened.

        `work` may run several times, each time from the start in a new transaction, so it must keep no state outside.
        """
        ...

    async def autocommit_write(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        """Try `statement` in autocommit, without BEGIN and COMMIT, and return its rows.

        The statement must either do the whole write and return a row, or do nothing. If no row is returned, nothing was
        written, for any reason: continue with `write`.
        """
        ...


@cache
def by_column(column: str) -> Callable[[Sequence[Record]], Mapping[int, Record]]:
    """Return a function that maps rows by `column`, which is unique; the same function for the same column."""
    key = itemgetter(column)

    def mapped_rows(rows: Sequence[Record]) -> Mapping[int, Record]:
        return dict(zip(map(key, rows), rows, strict=True))

    return mapped_rows
