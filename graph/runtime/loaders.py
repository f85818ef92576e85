"""Loaders: one per edge, with one statement for all keys of a level, on both engines.

The compiled engine loads a whole level by one call. An ordinary resolver loads one key, and aiodataloader makes the
batches. A loader belongs to one operation. Its identity is the edge and everything else that the statement depends on,
except the keys (columns, page, filter). So the same edge with the same arguments at two places of an operation shares
one loader and its cache. Batches have no size limit, so that a level is always one statement; pages limit its width.
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

from db.access import Viewer
from db.connections.statements import Reader, Row, RowsByKey
from db.errors import copy_of
from db.query.keyset_lists import KeysetList
from db.query.nested_pages import NestedPages
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
    Running,
    T,
)

_READS: Mapping[str, Callable[..., RowsByKey]] = {
    "user_by_id": users_by_ids,
    "user_by_username": users_by_usernames,  # a key is a username in the form of `username_key`
    "profile_by_user": profiles_by_user_ids,
    "post_by_id": POSTS.by_ids,
    "comment_by_id": COMMENTS_OF_POST.by_ids,
    "account_by_id": accounts_by_ids,
    "counterparty_by_id": counterparties_by_ids,  # the account at either end of a transaction that the viewer may see
    "transaction_by_id": transactions_by_ids,
}
"""The functions that read rows by key, by the names of their loaders. Those of rows with lists take nested pages."""


class Loaders:
    """All loaders of one operation, made at first use.

    No batch function refers to the object that holds it: reference counts free an operation when it ends, without the
    cycle collector.

    Attributes:
        reader: what the loaders read through; read whenever a loader is made.
    """

    def __init__(self, reader: Reader, viewer: Viewer, running: Running) -> None:
        self.reader = reader
        self.viewer = viewer
        self.running = running
        self._made: dict[Hashable, Any] = {}
        self._counts: dict[Hashable, asyncio.Future[int]] = {}

    def clear(self) -> None:
        """Drop all loaders and everything that they have cached."""
        self._made.clear()
        self._counts.clear()

    def rows(self, name: str, columns: Columns, nested: NestedLoaders = NOTHING_BELOW) -> RowLoader:
        """Load rows that the viewer may see, and the `nested` pages of each; `name` is a key of `_READS`."""
        key = (name, columns, *nested.keys)
        loader: RowLoader | None = self._made.get(key)
        if loader is None:
            batch = partial(_READS[name], self.reader, self.viewer, columns)
            if nested.lists:
                batch = partial(batch, nested=NestedPages.of(nested.lists))
            loader = self._made[key] = RowLoader(name, batch, self.running, nested)
        return loader

    def page_by_parent(self, page: RequestedPage) -> PageLoader:
        """Load the same page of the list of a parent."""
        loader: PageLoader | None = self._made.get(page.key)
        if loader is None:
            read, reader, viewer = page.of.pages_by_parent, self.reader, self.viewer
            batch = partial(read, reader, viewer, page.columns, page.given, page.request)
            loader = self._made[page.key] = PageLoader(page, batch, self.running)
        return loader

    def count_by_parent(self, of: KeysetList, given: Filter) -> EdgeLoader[int, int]:
        """Load how many rows the list of a parent has."""
        reader, viewer = self.reader, self.viewer
        return self._loader(
            (f"{of.edge}_count", of, _key(given)),
            lambda ids: of.counts_by_parent(reader, viewer, given, ids),
        )

    def behind_by_parent(self, of: KeysetList, given: Filter, request: PageRequest) -> EdgeLoader[int, bool]:
        """Load whether the list of a parent has rows after the page."""
        reader, viewer = self.reader, self.viewer
        return self._loader(
            (f"{of.edge}_behind", of, _key(given), request),
            lambda ids: of.behind_by_parent(reader, viewer, given, request, ids),
        )

    def statement_by_account(self, since: datetime.datetime, until: datetime.datetime) -> EdgeLoader[int, Row | None]:
        """Load an account's statement for a span of time, as the column `statement` of a row.

        The row is None if the viewer may not see the account's balance.
        """
        reader, viewer = self.reader, self.viewer

        async def batch(ids: Sequence[int]) -> list[Row | None]:
            found = await statements_of_accounts(reader, viewer, since, until, ids)
            return [None if one is None else {"statement": one} for one in found]

        return self._loader(("statement_by_account", since, until), batch)

    def entries_by_statement(self, columns: Columns, request: PageRequest) -> EdgeLoader[AccountStatement, Page]:
        """Load the same page of the entries of a statement that was loaded for the viewer."""
        reader = self.reader
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
                future.set_result(await of.count(self.reader, self.viewer, given))
            except Exception as error:  # noqa: BLE001 - any exception is the error of the waiting fields
                future.set_exception(copy_of(error))
                future.exception()  # marks it as retrieved: possibly no field awaits it

        self.running.start(count())

    def count(self, of: KeysetList, given: Filter) -> Awaitable[int]:
        """Return the number of rows of a list. All fields of the operation share one count."""
        key = (of, _key(given))
        if key not in self._counts:
            self._counts[key] = self.running.start(of.count(self.reader, self.viewer, given))
        return asyncio.shield(self._counts[key])

    def _loader(self, key: tuple[str, *tuple[Hashable, ...]], batch: LoadBatch[K, T]) -> EdgeLoader[K, T]:
        loader: EdgeLoader[K, T] | None = self._made.get(key)
        if loader is None:
            loader = self._made[key] = EdgeLoader(key[0], batch, self.running)
        return loader


def _key(given: Filter) -> Hashable:
    return tuple(sorted(given.items()))
