"""The loaders of edges, and the tasks in which they read. One operation makes them (`graph.runtime.loaders`)."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiodataloader import DataLoader
from asyncpg import Record

from db.connections.coalescing import PendingRead
from db.query.keyset_lists import KeysetList
from db.query.nested_pages import Nested, RowsWithPages
from db.query.pages import Columns, Filter, Page, PageRequest
from graph.telemetry.current import batch_observed

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
LoadBatch = Callable[[Sequence[K]], Awaitable[Sequence[T]]]
RowsBatch = Callable[[Sequence[Any]], Awaitable[Mapping[Any, Record]]]


class EdgeLoader(Generic[K, T]):
    """Loads values by key: a whole level by one call, or single keys, which aiodataloader combines to batches.

    Both methods share one cache. A loader belongs to one operation.

    Attributes:
        name: the name of the edge.
        known: the cached values. Another statement may have loaded them.
    """

    __slots__ = ("_batch", "_by_one", "_running", "known", "name")

    def __init__(self, name: str, batch: Callable[[Sequence[K]], Awaitable[Any]], running: "Running") -> None:
        self.name = name
        self._batch = batch
        self._running = running
        self.known: dict[K, T] = {}
        self._by_one: DataLoader[K, T] | None = None

    async def load_level(self, keys: Sequence[K]) -> list[T]:
        """Return the value of each of `keys`, which are distinct. Keys that are not cached are loaded as one batch."""
        known = self.known
        missing = [key for key in keys if key not in known] if known else keys
        if missing:
            span = batch_observed(self.name, len(missing))
            if span is None:
                self._learn(missing, await self._batch(missing))
            else:
                with span:
                    self._learn(missing, await self._batch(missing))
        return list(map(known.__getitem__, keys))

    def _learn(self, keys: Sequence[K], values: Any) -> None:
        """Cache the values of a batch: one for each key, in their order."""
        self.known.update(zip(keys, values, strict=True))

    def held(self, keys: Sequence[K]) -> list[T]:
        """Return the values of `keys`, which are loaded already.

        Raises:
            KeyError: one of them is not.
        """
        return list(map(self.known.__getitem__, keys))

    def load(self, key: K) -> Awaitable[T]:
        """Return the value of one key. aiodataloader sends the batch when no other coroutine can run."""
        if self._by_one is None:
            # A copy, which shares the cache: a batch function that refers to this loader would form a cycle.
            self._by_one = DataLoader(copy(self)._load_batch)  # noqa: SLF001 - the same class
        return _one_of_many(self._by_one.load(key))

    async def _load_batch(self, keys: list[K]) -> list[T]:
        # aiodataloader runs each batch in a separate task, which can outlive the field that requested it.
        with self._running.current():
            return await self.load_level(keys)


class RequestedPage:
    """A page of a list as a field requests it: of a whole list, or of the list of each parent.

    Attributes:
        key: everything that the page depends on, except the parent and the viewer.
    """

    __slots__ = ("_nested", "columns", "given", "key", "of", "request")

    def __init__(self, of: KeysetList, columns: Columns, given: Filter, request: PageRequest) -> None:
        self.of = of
        self.columns = columns
        self.given = given
        self.request = request
        self.key: Hashable = (of, columns, tuple(sorted(given.items())), request)
        self._nested: dict[str, Nested] = {}

    def nested(self, key: str) -> Nested | None:
        """Return the page as a part of its parents' statement; None if the list cannot be nested.

        `key` is the column of the parents' rows that holds their id.
        """
        known = self._nested.get(key)
        if known is None and self.of.can_be_nested:
            known = self._nested[key] = Nested(self.of, self.columns, self.given, self.request, key)
        return known


class PageLoader(EdgeLoader[int, Page]):
    """Loads, for each key, the same page of its list.

    Attributes:
        page: the page.
    """

    __slots__ = ("page",)

    def __init__(self, page: RequestedPage, batch: LoadBatch[int, Page], running: "Running") -> None:
        self.name = page.of.edge  # as in `RowLoader`
        self._batch = batch
        self._running = running
        self.known = {}
        self._by_one = None
        self.page = page

    @property
    def identity(self) -> Hashable:
        """Everything that the pages depend on, except their keys and the viewer."""
        return self.page.key


@dataclass(slots=True, eq=False)
class NestedLoaders:
    """The pages that a statement includes for each of its rows.

    Attributes:
        lists: the pages of each list.
        brings: for each list the loader that would read the pages later, and that has them afterwards.
        keys: what the pages depend on, except the viewer.
    """

    lists: list[Nested]
    brings: list[PageLoader]
    keys: list[Hashable]


NOTHING_BELOW = NestedLoaders([], [], [])


class RowLoader(EdgeLoader[Any, Record | None]):
    """Loads rows by key. A batch maps keys to rows; it may contain further keys, and lacks keys without a row.

    Where the statement of the rows includes `nested` pages, their loaders then have these pages.

    Attributes:
        brings: these loaders.
    """

    __slots__ = ("_lists", "brings")

    def __init__(self, name: str, batch: RowsBatch, running: "Running", nested: NestedLoaders) -> None:
        # Without a call of the class above: many operations make this one loader and read one row.
        self.name = name
        self._batch = batch
        self._running = running
        self.known = {}
        self._by_one = None
        self._lists = nested.lists
        self.brings = nested.brings

    def pending_read(self, key: Any) -> PendingRead | None:
        """Return the pending read of one row, for a callback; None if the reader does not coalesce reads."""
        reading = self._batch([key])
        if isinstance(reading, PendingRead):
            return reading
        if isinstance(reading, Coroutine):
            reading.close()
        return None

    def take(self, answer: Mapping[Any, Record], key: Any) -> tuple[Record | None, int]:
        """Return the row of `key` in an answer to `pending_read`, and how many rows that is.

        The loaders of nested pages receive the pages of the row.
        """
        row = self.known[key] = answer.get(key)
        if row is None:
            return None, 0
        if isinstance(answer, RowsWithPages):
            self._learn_pages([row], answer)
        return row, 1

    def _learn(self, keys: Sequence[Any], values: Mapping[Any, Record]) -> None:
        rows = list(map(values.get, keys))
        self.known.update(zip(keys, rows, strict=True))
        if isinstance(values, RowsWithPages):
            self._learn_pages([row for row in rows if row is not None], values)

    def _learn_pages(self, rows: Sequence[Record], values: RowsWithPages) -> None:
        for nested, loader, pages in zip(self._lists, self.brings, values.nested, strict=True):
            for row in rows:
                parent_id = row[nested.key]
                loader.known[parent_id] = pages[parent_id]


class Running(set[asyncio.Task[Any]]):
    """The tasks that read for one operation. They end with it, before its connection serves another operation."""

    _is_over = False

    @contextmanager
    def current(self) -> Iterator[None]:
        """Register the current task, which other code has started, while it reads.

        Raises:
            asyncio.CancelledError: the operation has ended.
        """
        if self._is_over:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        self.add(task)
        try:
            yield
        finally:
            self.discard(task)
            del task  # the traceback of a cancellation holds this frame, and the task holds the cancellation: a cycle

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a reading task.

        Raises:
            asyncio.CancelledError: the operation has ended.
        """
        if self._is_over:
            work.close()
            raise asyncio.CancelledError
        task = asyncio.get_running_loop().create_task(work)
        self.add(task)
        task.add_done_callback(self.discard)
        return task

    def is_at_rest(self) -> bool:
        """Refuse new tasks from now on, and return whether no task is left that `end` would cancel."""
        self._is_over = True
        return not self

    async def end(self) -> None:
        """Cancel the remaining tasks and their statements, and wait until all have ended."""
        self._is_over = True
        while self:
            tasks = list(self)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def _one_of_many(shared: asyncio.Future[T]) -> asyncio.Future[T]:
    """Return a separate future for one field, so that cancelling it does not cancel the shared one.

    It works like `asyncio.shield`, but without its cycle: there the traceback of an error, with all rows, holds the
    future that holds the error.
    """
    own: asyncio.Future[T] = shared.get_loop().create_future()

    def take(done: asyncio.Future[T]) -> None:
        if own.done():
            if not done.cancelled():
                _forget_error(done)
        elif done.cancelled():
            own.cancel()
        else:
            try:
                own.set_result(done.result())  # `result` removes the traceback from the shared future
            except Exception as error:  # noqa: BLE001 - any exception is the field's error
                own.set_exception(error)

    shared.add_done_callback(take)
    return own


def _forget_error(done: asyncio.Future[Any]) -> None:
    """Mark the error of a future as retrieved, if it has one, and remove its trace, which holds the future."""
    try:
        done.result()
    except Exception as error:  # noqa: BLE001 - no field waits for it
        error.__traceback__ = None
