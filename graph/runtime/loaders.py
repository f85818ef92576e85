"""Loaders: one per edge, with one statement for all keys of a level, on both engines.

The compiled engine loads a whole level by one call. An ordinary resolver loads one key, and aiodataloader makes the
batches. A loader belongs to one operation. Its identity is the edge and everything else that the statement depends on,
except the keys (columns, page, filter). So the same edge with the same arguments at two places of an operation shares
one loader and its cache. Batches have no size limit, so that a level is always one statement; pages limit its width.
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import Any, Generic, TypeVar

from aiodataloader import DataLoader
from asyncpg import Record

from db.access import Viewer
from db.connections.coalescing import PendingRead
from db.connections.statements import Reader, Row
from db.errors import copy_of
from db.query.keyset_lists import KeysetList
from db.query.nested_pages import Nested
from db.query.pages import Columns, Filter, Page, PageRequest
from db.repositories.account_statements import AccountStatement, entries_of_statements, statements_of_accounts
from db.repositories.accounts import accounts_by_ids, counterparties_by_ids
from db.repositories.comments import COMMENTS_OF_POST
from db.repositories.posts import POSTS
from db.repositories.profiles import profiles_by_user_ids
from db.repositories.transactions import transactions_by_ids
from db.repositories.users import users_by_ids
from graph.telemetry.current import batch_observed

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
LoadBatch = Callable[[Sequence[K]], Awaitable[Sequence[T]]]
RowsBatch = Callable[[Sequence[int]], Awaitable[Mapping[int, Record]]]


class EdgeLoader(Generic[K, T]):
    """Loads values by key: a whole level by one call, or single keys, which aiodataloader combines to batches.

    Both methods share one cache. A loader belongs to one operation.

    Attributes:
        name: the name of the edge.
    """

    __slots__ = ("_batch", "_by_one", "_known", "_running", "name")

    def __init__(self, name: str, batch: Callable[[Sequence[K]], Awaitable[Any]], running: "Running") -> None:
        self.name = name
        self._batch = batch
        self._running = running
        self._known: dict[K, T] = {}
        self._by_one: DataLoader[K, T] | None = None

    async def load_level(self, keys: Sequence[K]) -> list[T]:
        """Return the value of each of `keys`, which are distinct. Keys that are not cached are loaded as one batch."""
        known = self._known
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
        self._known.update(zip(keys, values, strict=True))

    def prime(self, values: Mapping[K, T]) -> None:
        """Cache values that another statement has loaded."""
        self._known.update(values)

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


class RowLoader(EdgeLoader[int, Record | None]):
    """Loads rows by key. A batch maps keys to rows; it may contain further keys, and lacks keys without a row."""

    __slots__ = ()

    def pending_read(self, key: int) -> PendingRead | None:
        """Return the pending read of one row, for a callback; None where the reader does not coalesce reads."""
        reading = self._batch([key])
        if isinstance(reading, PendingRead):
            return reading
        if isinstance(reading, Coroutine):
            reading.close()
        return None

    def _learn(self, keys: Sequence[int], values: Mapping[int, Record]) -> None:
        known = self._known
        for key in keys:
            known[key] = values.get(key)


class PageLoader(EdgeLoader[int, Page]):
    """Loads, for each key, the same page of its list.

    Attributes:
        identity: everything that the pages depend on, except their keys and the viewer.
        nested: returns the same pages as a part of their parents' statement, given the key's column; None where the
            list cannot be nested.
    """

    __slots__ = ("identity", "nested")

    def __init__(
        self,
        name: str,
        batch: LoadBatch[int, Page],
        running: "Running",
        identity: Hashable,
        nested: Callable[[str], Nested] | None,
    ) -> None:
        super().__init__(name, batch, running)
        self.identity = identity
        self.nested = nested


class Running:
    """The tasks that read for one operation. They end with it, before its connection serves another operation."""

    __slots__ = ("_is_over", "_tasks")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_over = False

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
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)
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
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def is_at_rest(self) -> bool:
        """Refuse new tasks from now on, and return whether no task is left that `end` would cancel."""
        self._is_over = True
        return not self._tasks

    async def end(self) -> None:
        """Cancel the remaining tasks and their statements, and wait until all have ended."""
        self._is_over = True
        while self._tasks:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


class Loaders:
    """All loaders of one operation, made at first use.

    No batch function refers to the object that holds it: reference counts free an operation when it ends, without the
    cycle collector.
    """

    def __init__(self, reader: Reader, viewer: Viewer, running: Running) -> None:
        self._reader = reader
        self._viewer = viewer
        self._running = running
        self._made: dict[Hashable, Any] = {}
        self._counts: dict[Hashable, asyncio.Future[int]] = {}

    def clear(self) -> None:
        """Drop all loaders and everything that they have cached."""
        self._made.clear()
        self._counts.clear()

    def user_by_id(self, columns: Columns) -> RowLoader:
        """Load a user."""
        reader, viewer = self._reader, self._viewer
        return self._rows(("user_by_id", columns), lambda ids: users_by_ids(reader, viewer, columns, ids))

    def profile_by_user(self, columns: Columns) -> RowLoader:
        """Load the profile of a user."""
        reader = self._reader
        return self._rows(("profile_by_user", columns), lambda ids: profiles_by_user_ids(reader, columns, ids))

    def post_by_id(self, columns: Columns) -> RowLoader:
        """Load a post that the viewer may see."""
        reader, viewer = self._reader, self._viewer
        return self._rows(("post_by_id", columns), lambda ids: POSTS.by_ids(reader, viewer, columns, ids))

    def comment_by_id(self, columns: Columns) -> RowLoader:
        """Load a comment that the viewer may see."""
        reader, viewer = self._reader, self._viewer
        return self._rows(("comment_by_id", columns), lambda ids: COMMENTS_OF_POST.by_ids(reader, viewer, columns, ids))

    def account_by_id(self, columns: Columns) -> RowLoader:
        """Load an account that the viewer may see."""
        reader, viewer = self._reader, self._viewer
        return self._rows(("account_by_id", columns), lambda ids: accounts_by_ids(reader, viewer, columns, ids))

    def counterparty_by_id(self, columns: Columns) -> RowLoader:
        """Load the account at either end of a transaction that the viewer may see."""
        reader, viewer = self._reader, self._viewer
        return self._rows(
            ("counterparty_by_id", columns), lambda ids: counterparties_by_ids(reader, viewer, columns, ids)
        )

    def transaction_by_id(self, columns: Columns) -> RowLoader:
        """Load a transaction that the viewer may see."""
        reader, viewer = self._reader, self._viewer
        return self._rows(("transaction_by_id", columns), lambda ids: transactions_by_ids(reader, viewer, columns, ids))

    def page_by_parent(self, of: KeysetList, columns: Columns, given: Filter, request: PageRequest) -> PageLoader:
        """Load the same page of the list of a parent."""
        reader, viewer = self._reader, self._viewer
        key = (of, columns, _key(given), request)
        loader: PageLoader | None = self._made.get(key)
        if loader is None:
            loader = self._made[key] = PageLoader(
                of.edge,
                lambda ids: of.pages_by_parent(reader, viewer, columns, given, request, ids),
                self._running,
                key,
                partial(Nested, of, columns, given, request) if of.can_be_nested else None,
            )
        return loader

    def count_by_parent(self, of: KeysetList, given: Filter) -> EdgeLoader[int, int]:
        """Load how many rows the list of a parent has."""
        reader, viewer = self._reader, self._viewer
        return self._loader(
            (f"{of.edge}_count", of, _key(given)),
            lambda ids: of.counts_by_parent(reader, viewer, given, ids),
        )

    def behind_by_parent(self, of: KeysetList, given: Filter, request: PageRequest) -> EdgeLoader[int, bool]:
        """Load whether the list of a parent has rows after the page."""
        reader, viewer = self._reader, self._viewer
        return self._loader(
            (f"{of.edge}_behind", of, _key(given), request),
            lambda ids: of.behind_by_parent(reader, viewer, given, request, ids),
        )

    def statement_by_account(self, since: datetime.datetime, until: datetime.datetime) -> EdgeLoader[int, Row | None]:
        """Load an account's statement for a span of time, as the column `statement` of a row.

        The row is None where the viewer may not see the account's balance.
        """
        reader, viewer = self._reader, self._viewer

        async def batch(ids: Sequence[int]) -> list[Row | None]:
            found = await statements_of_accounts(reader, viewer, since, until, ids)
            return [None if one is None else {"statement": one} for one in found]

        return self._loader(("statement_by_account", since, until), batch)

    def entries_by_statement(self, columns: Columns, request: PageRequest) -> EdgeLoader[AccountStatement, Page]:
        """Load the same page of the entries of a statement that was loaded for the viewer."""
        reader = self._reader
        return self._loader(
            ("entries_by_statement", columns, request),
            lambda statements: entries_of_statements(reader, columns, request, statements),
        )

    def counted(self, of: KeysetList, given: Filter) -> asyncio.Future[int] | None:
        """Return the future that must receive the number of rows of a list; None where another field counts it."""
        key = (of, _key(given))
        if key in self._counts:
            return None
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._counts[key] = future
        return future

    def count_instead(self, of: KeysetList, given: Filter, future: asyncio.Future[int]) -> None:
        """Count the rows of a list for `future`, after the field that should have counted them was cancelled."""

        async def count() -> None:
            try:
                future.set_result(await of.count(self._reader, self._viewer, given))
            except Exception as error:  # noqa: BLE001 - any exception is the error of the waiting fields
                future.set_exception(copy_of(error))
                future.exception()  # marks it as retrieved: possibly no field awaits it

        self._running.start(count())

    def count(self, of: KeysetList, given: Filter) -> Awaitable[int]:
        """Return the number of rows of a list. All fields of the operation share one count."""
        key = (of, _key(given))
        if key not in self._counts:
            self._counts[key] = self._running.start(of.count(self._reader, self._viewer, given))
        return asyncio.shield(self._counts[key])

    def _rows(self, key: tuple[str, Columns], batch: RowsBatch) -> RowLoader:
        loader: RowLoader | None = self._made.get(key)
        if loader is None:
            loader = self._made[key] = RowLoader(key[0], batch, self._running)
        return loader

    def _loader(self, key: tuple[str, *tuple[Hashable, ...]], batch: LoadBatch[K, T]) -> EdgeLoader[K, T]:
        loader: EdgeLoader[K, T] | None = self._made.get(key)
        if loader is None:
            loader = self._made[key] = EdgeLoader(key[0], batch, self._running)
        return loader


def _key(given: Filter) -> Hashable:
    return tuple(sorted(given.items()))


def _one_of_many(shared: asyncio.Future[T]) -> asyncio.Future[T]:
    """Return a separate future for one field, so that cancelling it does not cancel the shared one.

    It works like `asyncio.shield`, but without its cycle: there the traceback of an error, with all rows, holds the
    future that holds the error.
    """
    own: asyncio.Future[T] = shared.get_loop().create_future()

    def take(done: asyncio.Future[T]) -> None:
        if own.done():
            if not done.cancelled():
                done.exception()  # marks it as retrieved
        elif done.cancelled():
            own.cancel()
        else:
            try:
                own.set_result(done.result())  # `result` removes the traceback from the shared future
            except Exception as error:  # noqa: BLE001 - any exception is the field's error
                own.set_exception(error)

    shared.add_done_callback(take)
    return own
