"""The reads of one operation, each with the field of the plan that requested it.

The engine and the loaders run unchanged. Their reader adds its statements to a `ReadLog`. To know the field, `observe`
wraps the declarations and resolvers of a plan that no other run uses. A loader keeps the reader that it received when a
field made it, so each reader remembers the field that was being resolved at that time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from time import perf_counter_ns
from typing import Any, TypeVar, cast, get_origin

from asyncpg import Record
from graphql import GraphQLAbstractType, GraphQLSchema

from db.access import Viewer
from db.connections.statements import KEYS, Reader, Statement
from graph.analysis.selection import Selection
from graph.execution import BoundEdge, Derived, EdgeBinding, Prefetch, RowEdge
from graph.execution.plan.levels import FieldPlan, Level, Place
from graph.operations.made_up_rows import NESTED, NUMBERS_ABOVE, made_up_rows
from graph.runtime.context import Context, Services
from graph.runtime.loaders import Loaders

T = TypeVar("T")

_requesting: ContextVar[FieldPlan | None] = ContextVar("requesting", default=None)


@dataclass(slots=True, eq=False)
class SentRead:
    """One statement that was sent.

    Attributes:
        plans: the fields that requested it: one, or several of which each would have sent the same statement. None
            stands for a field of the ordinary engine.
        rows: the number of rows; of a page those of its arrays, with the row after it where it looks ahead.
        elapsed_ns: how long it took; 0 without a database.
        answer: what the statement's rows were mapped to; the records where they were not mapped.
    """

    plans: list[FieldPlan | None]
    statement: Statement
    values: Mapping[str, Any]
    rows: int = 0
    elapsed_ns: int = 0
    answer: Any = None


class ReadLog:
    """What one run of an operation has read.

    Attributes:
        sent: its statements, in the order in which they were sent.
        bound: its edges, bound, by their plans.
    """

    def __init__(self, reader: Reader | None, *, is_coalesced: bool) -> None:
        """Read from `reader`; without one, made-up rows.

        With `is_coalesced`, equal reads that are requested together share one statement, as in the pool
        (`db.connections.coalescing`): there they differ in their keys at most. In a snapshot each is sent.
        """
        self.sent: list[SentRead] = []
        self.bound: dict[FieldPlan, BoundEdge] = {}
        self.observed: set[FieldPlan] = set()
        self._reader = reader
        self._is_coalesced = is_coalesced
        self._unsent: dict[Hashable, tuple[SentRead, asyncio.Future[None]]] = {}

    async def mapped(self, read: SentRead, map_rows: Callable[[Sequence[Record]], T]) -> T:
        """Send a statement and return its mapped rows, or join an equal one that is not sent yet."""
        values = read.values
        kind = (read.statement, map_rows, tuple([values[name] for name in read.statement.parameters_but_keys]))
        if self._is_coalesced and kind in self._unsent:
            other, is_read = self._unsent[kind]
            other.plans += read.plans
            other.values = {**values, KEYS: list(dict.fromkeys([*other.values[KEYS], *values[KEYS]]))}
            await is_read
            return cast("T", other.answer)
        is_read = asyncio.get_running_loop().create_future()
        self._unsent[kind] = read, is_read
        await asyncio.sleep(0)  # the pool sends a statement at the end of the turn of the event loop
        self._unsent.pop(kind, None)
        try:
            answer = read.answer = map_rows((await self.read(read)).answer)
        except BaseException as error:
            is_read.set_exception(error)
            is_read.exception()  # marks it as retrieved: possibly no field has joined
            raise
        is_read.set_result(None)
        return answer

    async def read(self, read: SentRead) -> SentRead:
        """Send a statement, and return it with its records as the answer."""
        statement, values = read.statement, read.values
        self.sent.append(read)
        started_ns = perf_counter_ns()
        if self._reader is None:
            read.answer = made_up_rows(statement, values, NUMBERS_ABOVE + len(self.sent))
        else:
            read.answer = await self._reader.fetch(statement, values)
            read.elapsed_ns = perf_counter_ns() - started_ns
        read.rows = _count(statement, read.answer)
        return read


def _count(statement: Statement, records: Sequence[Any]) -> int:
    arrays = [name for name, type_ in statement.results if get_origin(type_) is list and not name.startswith(NESTED)]
    return sum(len(record[arrays[0]] or ()) for record in records) if arrays else len(records)


class _LoggedReader(Reader):
    """A reader for the field that requested it."""

    __slots__ = ("_log", "_plan")

    def __init__(self, log: ReadLog) -> None:
        self._log = log
        self._plan = _requesting.get()

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        records: Sequence[Record] = (await self._log.read(SentRead([self._plan], statement, values))).answer
        return records

    async def mapped_rows(
        self,
        statement: Statement,
        values: Mapping[str, object],
        map_rows: Callable[[Sequence[Record]], T],
        keys: Sequence[int] = (),
    ) -> T:
        return await self._log.mapped(SentRead([self._plan], statement, {**values, KEYS: keys}), map_rows)


class _LoggedLoaders(Loaders):
    """Loaders with a separate reader for each."""

    def __init__(self, log: ReadLog, context: Context) -> None:
        self._log = log
        super().__init__(context.reader, context.viewer, context.running)

    @property
    def reader(self) -> Reader:
        """A reader for the field that requests a loader."""
        return _LoggedReader(self._log)

    @reader.setter
    def reader(self, reader: Reader) -> None:
        """Ignore the common reader."""


class LoggedContext(Context):
    """The context of a query whose reads are logged. It has no services: only mutations use them."""

    def __init__(self, viewer: Viewer, selection: Selection, log: ReadLog) -> None:
        self.log = log
        super().__init__(cast("Services", None), viewer, selection, _LoggedReader(log))
        self.loaders = _LoggedLoaders(log, self)

    @property
    def reader(self) -> Reader:
        """A reader for the field that requests it."""
        return _LoggedReader(self.log)


# ---------------------------------------------------------------- the plan


def observe(schema: GraphQLSchema, level: Level, log: ReadLog) -> None:
    """Wrap all fields of a level and below it, so that `log` knows the field of each read."""
    for plan in level.fields:
        if plan in log.observed:
            continue  # two places have equal levels
        log.observed.add(plan)
        declared = plan.declaration
        if isinstance(declared, RowEdge):
            plan.declaration = replace(declared, bind=_bind(plan, declared.bind, log))
        elif isinstance(declared, Derived) and not declared.bare:
            plan.declaration = replace(declared, of=_requested(plan, declared.of))
        elif plan.resolver is not None:
            plan.resolver = replace(plan.resolver, call=_requested(plan, plan.resolver.call))
        if plan.place is not None:
            for below in levels_of(schema, plan.place):
                observe(schema, below, log)


def levels_of(schema: GraphQLSchema, place: Place) -> Iterator[Level]:
    """Yield the level of each object type that a place may hold."""
    if place.only is not None:
        yield place.only
        return
    for type_ in schema.get_possible_types(cast("GraphQLAbstractType", place.named)):
        yield place.level(type_)


@contextmanager
def _requests(plan: FieldPlan) -> Iterator[None]:
    token = _requesting.set(plan)
    try:
        yield
    finally:
        _requesting.reset(token)


@dataclass(frozen=True, slots=True)
class _ObservedBinding:
    """A binding whose loader is made for a field."""

    binding: EdgeBinding
    plan: FieldPlan
    log: ReadLog

    def bound(self, context: Any, prefetch: Prefetch, **keys: Any) -> BoundEdge:
        with _requests(self.plan):
            found = self.log.bound[self.plan] = self.binding.bound(context, prefetch, **keys)
        return found


def _bind(
    plan: FieldPlan, bind: Callable[..., BoundEdge | EdgeBinding], log: ReadLog
) -> Callable[..., BoundEdge | EdgeBinding]:
    def bound(*arguments: Any, **named: Any) -> BoundEdge | EdgeBinding:
        with _requests(plan):
            found = bind(*arguments, **named)
        if isinstance(found, BoundEdge):
            log.bound[plan] = found
            return found
        return _ObservedBinding(found, plan, log)

    return bound


def _requested(plan: FieldPlan, call: Callable[..., Any]) -> Callable[..., Any]:
    def requested(*arguments: Any) -> Any:
        with _requests(plan):
            value = call(*arguments)
        return _awaited(plan, value) if isinstance(value, Awaitable) else value

    return requested


async def _awaited(plan: FieldPlan, value: Awaitable[Any]) -> Any:
    with _requests(plan):
        return await value
