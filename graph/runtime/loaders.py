"""Loaders: one per edge, with one statement for all keys of a level, on both engines.

The compiled engine loads a whole level by one call. An ordinary resolver loads one key, and aiodataloader makes the
batches. A loader belongs to one operation. Its identity is the edge and everything else that the statement depends on,
except the keys (columns, page, filter). So the same edge with the same arguments at two places of an operation shares
one loader and its cache. Batches have no size limit, so that a level is always one statement; pages limit its width.
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any

from db.access import Viewer
from db.connections.statements import Reader, Row, RowsByKey
from db.errors import copy_of
from db.query.keyset_lists import KeysetList
from db.query.nested_pages import NOTHING_NESTED, NestedPages
from db.query.pages import Columns, Filter, Page, PageRequest
from db.repositories.account_statements import AccountStatement, entries_of_statements, statements_of_accounts
from db.repositories.accounts import accounts_by_ids, counterparties_by_ids
from db.repositories.comments import COMMENTS_OF_POST
from db.repositories.posts import POSTS
from db.repositories.profiles import profiles_by_user_ids
from db.repositories.transactions import transactions_by_ids
from db.repositories.users import users_by_ids, users_by_usernames
from graph.runtime.edge_loaders import (
    NOTHING_BELOW,
    EdgeLoader,
    K,
    LoadBatch,
    NestedLoaders,
    PageLoader,
    RequestedPage,
    RowLoader,
    RowsBatch,
    Running,
    T,
)


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

    def user_by_id(self, columns: Columns, nested: NestedLoaders = NOTHING_BELOW) -> RowLoader:
        """Load a user, and the `nested` pages of the user."""
        return self._with_pages("user_by_id", users_by_ids, columns, nested)

    def user_by_username(self, columns: Columns, nested: NestedLoaders = NOTHING_BELOW) -> RowLoader:
        """Load a user by the username, in the form of `username_key`, and the `nested` pages of the user."""
        return self._with_pages("user_by_username", users_by_usernames, columns, nested)

    def profile_by_user(self, columns: Columns) -> RowLoader:
        """Load the profile of a user."""
        reader = self._reader
        return self._rows("profile_by_user", columns, lambda ids: profiles_by_user_ids(reader, columns, ids))

    def post_by_id(self, columns: Columns, nested: NestedLoaders = NOTHING_BELOW) -> RowLoader:
        """Load a post that the viewer may see, and its `nested` pages."""
        return self._with_pages("post_by_id", POSTS.by_ids, columns, nested)

    def comment_by_id(self, columns: Columns, nested: NestedLoaders = NOTHING_BELOW) -> RowLoader:
        """Load a comment that the viewer may see, and its `nested` pages."""
        return self._with_pages("comment_by_id", COMMENTS_OF_POST.by_ids, columns, nested)

    def account_by_id(self, columns: Columns, nested: NestedLoaders = NOTHING_BELOW) -> RowLoader:
        """Load an account that the viewer may see. Pages are loaded separately: none of its lists can be nested."""
        reader, viewer = self._reader, self._viewer
        return self._rows("account_by_id", columns, lambda ids: accounts_by_ids(reader, viewer, columns, ids))

    def counterparty_by_id(self, columns: Columns) -> RowLoader:
        """Load the account at either end of a transaction that the viewer may see."""
        reader, viewer = self._reader, self._viewer
        return self._rows(
            "counterparty_by_id", columns, lambda ids: counterparties_by_ids(reader, viewer, columns, ids)
        )

    def transaction_by_id(self, columns: Columns, nested: NestedLoaders = NOTHING_BELOW) -> RowLoader:
        """Load a transaction that the viewer may see. A transaction has no lists."""
        reader, viewer = self._reader, self._viewer
        return self._rows("transaction_by_id", columns, lambda ids: transactions_by_ids(reader, viewer, columns, ids))

    def page_by_parent(self, page: RequestedPage) -> PageLoader:
        """Load the same page of the list of a parent."""
        loader: PageLoader | None = self._made.get(page.key)
        if loader is None:
            read, reader, viewer = page.of.pages_by_parent, self._reader, self._viewer
            batch = partial(read, reader, viewer, page.columns, page.given, page.request)
            loader = self._made[page.key] = PageLoader(page, batch, self._running)
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

        The row is None if the viewer may not see the account's balance.
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
        """Return the future that must receive the number of rows of a list; None if another field counts it."""
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

    def _with_pages(
        self, name: str, read: Callable[..., RowsByKey], columns: Columns, nested: NestedLoaders
    ) -> RowLoader:
        pages = NestedPages.of(nested.lists) if nested.lists else NOTHING_NESTED
        return self._rows(name, columns, partial(read, self._reader, self._viewer, columns, nested=pages), nested)

    def _rows(self, name: str, columns: Columns, batch: RowsBatch, nested: NestedLoaders = NOTHING_BELOW) -> RowLoader:
        key = (name, columns, *nested.keys)
        loader: RowLoader | None = self._made.get(key)
        if loader is None:
            loader = self._made[key] = RowLoader(name, batch, self._running, nested)
        return loader

    def _loader(self, key: tuple[str, *tuple[Hashable, ...]], batch: LoadBatch[K, T]) -> EdgeLoader[K, T]:
        loader: EdgeLoader[K, T] | None = self._made.get(key)
        if loader is None:
            loader = self._made[key] = EdgeLoader(key[0], batch, self._running)
        return loader


def _key(given: Filter) -> Hashable:
    return tuple(sorted(given.items()))
