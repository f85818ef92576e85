"""Pages with a nested page for each row: the same rows as the two statements that they replace."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from asyncpg import Record
from hypothesis import given, settings
from hypothesis import strategies as st

from db.access import ANONYMOUS, Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.connections.statements import Reader, Statement
from db.query.cursors import Order
from db.query.nested_pages import Nested, NestedPages, RowsWithPages
from db.query.pages import Page, PageRequest
from db.repositories.accounts import ACCOUNTS, ACCOUNTS_ORDER
from db.repositories.posts import ID as POST_ID
from db.repositories.posts import POSTS, VIEWS
from db.repositories.transactions import TRANSACTIONS
from db.repositories.users import CREATED_AT, ID, USERNAME, USERS, users_by_ids
from tests.db.support.listed_posts import (
    COLUMNS,
    NEWEST_FIRST,
    filters,
    ids,
    keep,
    orders,
    positions,
    posts_of,
    some_posts,
)
from tests.db.support.rows import ADMIN, new_account, new_user, new_users
from tests.running.amounts import examples

NEWEST_USERS = Order("users", [(CREATED_AT, True), (ID, True)])
BY_NAME = Order("users", [(USERNAME, False), (ID, False)])
MOST_VIEWED = Order("posts", [(VIEWS, True), (POST_ID, True)])


def shown(page: Page, *, looks_ahead: bool = True) -> tuple[list[dict[str, Any]], bool | None]:
    return [dict(row) for row in page.rows], page.has_more if looks_ahead else None


def requests(position: st.SearchStrategy[tuple[Any, ...]], order: Order) -> st.SearchStrategy[PageRequest]:
    at = st.one_of(st.none(), position)
    return st.builds(PageRequest, st.just(order), st.integers(1, 5), st.booleans(), at, looks_ahead=st.booleans())


@settings(max_examples=examples(80))
@given(data=st.data(), outer=orders, inner=orders, given_filter=filters, inner_filter=filters)
async def test_page_with_nested_pages_equals_the_page_and_the_pages_by_parent(
    database: Database,
    authors: list[int],
    data: st.DataObject,
    outer: Order,
    inner: Order,
    given_filter: dict[str, Any],
    inner_filter: dict[str, Any],
) -> None:
    # Posts, with the posts of their authors: the same author occurs more than once.
    await keep(database, data.draw(posts_of(authors, max_size=30)))
    viewer = data.draw(st.sampled_from([ANONYMOUS, Viewer(user_id=authors[0]), ADMIN]))
    request = data.draw(requests(positions(outer), outer))
    requested = data.draw(requests(positions(inner), inner))
    nested = Nested(POSTS, ("id", "title"), inner_filter, requested, "author_id")

    page = await POSTS.page(database, viewer, COLUMNS, given_filter, request, [nested])
    alone = await POSTS.page(database, viewer, COLUMNS, given_filter, request)
    parents = list(dict.fromkeys(alone.columns["author_id"]))
    of_each = await POSTS.pages_by_parent(database, viewer, ("id", "title"), inner_filter, requested, parents)
    assert shown(page, looks_ahead=request.looks_ahead) == shown(alone, looks_ahead=request.looks_ahead)
    (brought,) = page.nested
    assert {parent: shown(one, looks_ahead=requested.looks_ahead) for parent, one in brought.items()} == {
        parent: shown(one, looks_ahead=requested.looks_ahead) for parent, one in zip(parents, of_each, strict=True)
    }


@settings(max_examples=examples(40))
@given(data=st.data(), backward=st.booleans(), order=st.sampled_from([NEWEST_USERS, BY_NAME]))
async def test_page_of_users_includes_several_lists_of_each_user(
    database: Database, authors: list[int], data: st.DataObject, backward: bool, order: Order
) -> None:
    await keep(database, data.draw(posts_of(authors, max_size=30)))
    request = PageRequest(order, data.draw(st.integers(1, 4)), backward)
    nested = [
        Nested(POSTS, ("id",), {"views_gte": 1}, PageRequest(NEWEST_FIRST, 2), "id"),
        Nested(POSTS, ("id",), {"views_gte": 2}, PageRequest(MOST_VIEWED, 1, backward=True), "id"),
        Nested(ACCOUNTS, ("id", "currency_code"), {}, PageRequest(ACCOUNTS_ORDER, 3), "id"),
    ]
    columns = ("id", "username")
    page = await USERS.page(database, ADMIN, columns, {}, request, nested)
    alone = await USERS.page(database, ADMIN, columns, {}, request)
    assert shown(page) == shown(alone)
    for of, one, brought in zip((POSTS, POSTS, ACCOUNTS), nested, page.nested, strict=True):
        parents = alone.columns["id"]
        of_each = await of.pages_by_parent(database, ADMIN, one.columns, one.given, one.request, parents)
        assert {parent: shown(pages) for parent, pages in brought.items()} == {
            parent: shown(pages) for parent, pages in zip(parents, of_each, strict=True)
        }


async def test_one_statement_reads_it_all(database: Database, authors: list[int]) -> None:
    await keep(database, some_posts(authors, 40))
    nested = Nested(POSTS, ("id",), {}, PageRequest(NEWEST_FIRST, 2), "id")
    before = database.counters.statements
    page = await USERS.page(database, ADMIN, ("id",), {}, PageRequest(NEWEST_USERS, 3), [nested])
    assert database.counters.statements == before + 1
    assert [len(one) for one in page.nested[0].values()] == [2, 2, 2]


async def test_page_without_a_row_has_nothing_nested(database: Database, authors: list[int]) -> None:
    await keep(database, [])
    nested = Nested(POSTS, ("id",), {}, PageRequest(NEWEST_FIRST, 2), "author_id")
    page = await POSTS.page(database, ADMIN, COLUMNS, {}, PageRequest(NEWEST_FIRST, 3), [nested])
    assert shown(page) == ([], False)
    assert page.nested == [{}]


async def test_nested_accounts_are_those_that_the_viewer_may_see(database: Database) -> None:
    owner, other = await new_user(database), await new_user(database)
    mine, theirs = await new_account(database, owner), await new_account(database, other)
    nested = Nested(ACCOUNTS, ("id",), {}, PageRequest(ACCOUNTS_ORDER, 5), "id")
    seen = {}
    for viewer in (ANONYMOUS, owner, other, ADMIN):
        page = await USERS.page(database, viewer, ("id",), {}, PageRequest(NEWEST_USERS, 2), [nested])
        seen[viewer] = {user: ids(accounts.rows) for user, accounts in page.nested[0].items()}
    both = {owner.user_id: [mine], other.user_id: [theirs]}
    assert seen == {
        ANONYMOUS: {owner.user_id: [], other.user_id: []},
        owner: {owner.user_id: [mine], other.user_id: []},
        other: {owner.user_id: [], other.user_id: [theirs]},
        ADMIN: both,
    }


async def test_nested_drafts_are_visible_only_to_their_author(database: Database, authors: list[int]) -> None:
    rows = some_posts(authors, 9)
    await keep(database, rows)
    nested = Nested(POSTS, ("id",), {}, PageRequest(NEWEST_FIRST, 9), "author_id")
    drafts = {row["id"] for row in rows if not row["published"]}
    own = {row["id"] for row in rows if row["author_id"] == authors[0]}
    for viewer, hidden in ((ANONYMOUS, drafts), (Viewer(user_id=authors[0]), drafts - own), (ADMIN, set[int]())):
        page = await POSTS.page(database, viewer, COLUMNS, {}, PageRequest(NEWEST_FIRST, 9), [nested])
        found = {post for one in page.nested[0].values() for post in ids(one.rows)}
        assert found == {row["id"] for row in rows} - hidden


def test_a_list_by_two_columns_is_not_nested() -> None:
    assert (POSTS.can_be_nested, ACCOUNTS.can_be_nested) == (True, True)
    assert (TRANSACTIONS.can_be_nested, USERS.can_be_nested) == (False, False)


# ---------------------------------------------------------------- plans


class ExplainingReader(Reader):
    """A reader that keeps the plan of each statement, with the number of executions of each node."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.plan: list[str] = []
        self.custom_plans = 0

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        arguments = statement.arguments(values)
        options = "ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF"
        lines = await self._driver.fetch(f"EXPLAIN ({options}) {statement.sql}", *arguments)
        self.plan = [re.sub(r"'[^']*'::[a-z ]+", "?", line[0]).strip() for line in lines]
        prepared = await self._driver.prepare(statement.sql)
        answers = [await prepared.fetch(*arguments) for _ in range(12)]
        self.custom_plans = await self._driver.fetchval(
            "SELECT custom_plans FROM pg_prepared_statements WHERE name = $1", prepared.get_name()
        )
        return answers[-1]


@pytest.fixture
async def explaining(database: Database, superuser: Driver, authors: list[int]) -> ExplainingReader:
    """A reader of four thousand posts by three authors."""
    await keep(database, some_posts(authors, 4000))
    await superuser.execute("ANALYZE posts")
    await superuser.execute("ANALYZE users")
    return ExplainingReader(superuser)


@pytest.mark.parametrize("viewer", [ANONYMOUS, Viewer(7), ADMIN])
async def test_nested_pages_are_ranges_of_an_index_and_planned_once(
    explaining: ExplainingReader, viewer: Viewer
) -> None:
    nested = Nested(POSTS, ("id", "title"), {}, PageRequest(NEWEST_FIRST, 10), "author_id")
    await POSTS.page(explaining, viewer, COLUMNS, {}, PageRequest(NEWEST_FIRST, 20), [nested])
    scans = [line for line in explaining.plan if "Scan" in line and "on posts" in line]
    assert len(scans) == 2
    assert all("Index Scan Backward using ix_posts_" in line for line in scans)
    assert explaining.custom_plans <= 5


async def test_nested_page_of_a_parent_that_occurs_often_is_read_once(
    explaining: ExplainingReader, superuser: Driver
) -> None:
    # Disabled, because PostgreSQL itself may memoize the rows of a parent if it expects few parents.
    await superuser.execute("SET enable_memoize = off")
    nested = Nested(POSTS, ("id", "title"), {}, PageRequest(NEWEST_FIRST, 10), "author_id")
    await POSTS.page(explaining, ADMIN, COLUMNS, {}, PageRequest(NEWEST_FIRST, 20), [nested])
    # Twenty-one rows by three authors: eleven posts for each author; repeated authors start no further scan.
    (scan,) = [line for line in explaining.plan if "ix_posts_author_id" in line]
    assert re.search(r"rows=11\.00 loops=3\)", scan)


# ---------------------------------------------------------------- below rows by their ids


@settings(max_examples=examples(40))
@given(data=st.data(), inner=orders, inner_filter=filters)
async def test_rows_by_ids_include_the_pages_that_their_parents_have(
    database: Database, authors: list[int], data: st.DataObject, inner: Order, inner_filter: dict[str, Any]
) -> None:
    rows = data.draw(posts_of(authors, max_size=20))
    await keep(database, rows)
    viewer = data.draw(st.sampled_from([ANONYMOUS, Viewer(user_id=authors[0]), ADMIN]))
    requested = data.draw(requests(positions(inner), inner))
    pages = NestedPages(
        [
            Nested(POSTS, ("id", "title"), inner_filter, requested, "author_id"),
            Nested(POSTS, ("id",), {}, PageRequest(NEWEST_FIRST, 2), "author_id"),
        ]
    )
    wanted = [*(row["id"] for row in rows), 999_999]
    alone = await POSTS.by_ids(database, viewer, ("id", "author_id"), wanted)
    found = await POSTS.by_ids(database, viewer, ("id", "author_id"), wanted, pages)
    assert isinstance(found, RowsWithPages)
    assert {key: (row["id"], row["author_id"]) for key, row in found.items()} == {
        key: tuple(row) for key, row in alone.items()
    }
    parents = list({row["author_id"] for row in alone.values()})
    for index, (columns, given_filter, request) in enumerate(
        [(("id", "title"), inner_filter, requested), (("id",), {}, PageRequest(NEWEST_FIRST, 2))]
    ):
        of_each = await POSTS.pages_by_parent(database, viewer, columns, given_filter, request, parents)
        assert {parent: shown(one, looks_ahead=request.looks_ahead) for parent, one in found.nested[index].items()} == {
            parent: shown(one, looks_ahead=request.looks_ahead) for parent, one in zip(parents, of_each, strict=True)
        }


@pytest.mark.parametrize("viewer", [ANONYMOUS, Viewer(7), ADMIN])
async def test_pages_below_rows_by_ids_are_ranges_of_an_index_and_planned_once(
    database: Database, superuser: Driver, viewer: Viewer
) -> None:
    # So many authors that the index by author is cheaper than the index of all posts.
    authors = await new_users(database, 21)
    rows = some_posts(authors, 4000)
    await keep(database, rows)
    await superuser.execute("ANALYZE posts")
    await superuser.execute("ANALYZE users")
    explaining = ExplainingReader(superuser)
    nested = NestedPages([Nested(POSTS, ("title",), {}, PageRequest(NEWEST_FIRST, 5), "author.id")])
    await POSTS.by_ids(explaining, viewer, ("author.id", "author.username", "id"), [rows[0]["id"]], nested)
    scans = [line for line in explaining.plan if "Scan" in line and "on posts" in line]
    assert len(scans) == 2, explaining.plan
    assert all(re.search(r"Index Scan (Backward )?using (pk|ix)_posts", line) for line in scans), explaining.plan
    assert any("ix_posts_author_id" in line for line in scans), explaining.plan
    assert not any("Sort" in line for line in explaining.plan), explaining.plan
    assert explaining.custom_plans <= 5
    nested = NestedPages([Nested(POSTS, ("title",), {}, PageRequest(NEWEST_FIRST, 15), "id")])
    await users_by_ids(explaining, viewer, ("id", "username"), authors[:1], nested)
    (scan,) = [line for line in explaining.plan if "Scan" in line and "on posts" in line]
    assert "Index Scan Backward using ix_posts_author_id" in scan, explaining.plan
    assert explaining.custom_plans <= 5


async def test_pages_of_concurrent_reads_by_ids_share_one_statement(database: Database, authors: list[int]) -> None:
    await keep(database, some_posts(authors, 40))
    nested = NestedPages([Nested(POSTS, ("id",), {}, PageRequest(NEWEST_FIRST, 2), "id")])
    before = database.counters.statements

    async def read(author: int) -> Any:
        return await users_by_ids(database, ADMIN, ("id",), [author], nested)

    found = await asyncio.gather(*map(read, authors))
    assert database.counters.statements == before + 1
    assert [len(one.nested[0][author]) for one, author in zip(found, authors, strict=True)] == [2, 2, 2]
