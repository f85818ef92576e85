"""A page at any depth is a range scan of an index: the plans that PostgreSQL makes for the statements."""

import datetime
import re
from collections.abc import Mapping, Sequence
from functools import partial

import pytest
from asyncpg import Record

from db.access import ANONYMOUS, Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.connections.statements import Reader, Statement
from db.query.cursors import Order
from db.query.nested_pages import Nested
from db.query.pages import PageRequest
from db.repositories.posts import CREATED_AT, ID, POSTS, TITLE, VIEWS
from db.repositories.users import users_by_ids
from tests.db.support.listed_posts import (
    COLUMNS,
    INSTANTS,
    NEWEST_FIRST,
    ids,
    keep,
    position_of,
    some_posts,
)
from tests.db.support.rows import ADMIN, new_users


class ExplainingReader(Reader):
    """A reader that keeps the plan of each statement that it runs, with the values replaced by question marks."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.plan: list[str] = []

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        arguments = statement.arguments(values)
        lines = await self._driver.fetch(f"EXPLAIN (COSTS OFF) {statement.sql}", *arguments)
        self.plan = [re.sub(r"'[^']*'::[a-z ]+", "?", line[0]).strip() for line in lines]
        return await self._driver.fetch(statement.sql, *arguments)


@pytest.fixture
async def explaining(database: Database, superuser: Driver, authors: list[int]) -> ExplainingReader:
    """A reader of four thousand posts."""
    await keep(database, some_posts(authors, 4000))
    await superuser.execute("ANALYZE posts")
    return ExplainingReader(superuser)


class RepeatingReader(Reader):
    """A reader that runs each statement many times, and counts how often PostgreSQL planned it for its arguments."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.planned: list[int] = []

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        prepared = await self._driver.prepare(statement.sql)
        arguments = statement.arguments(values)
        answers = [await prepared.fetch(*arguments) for _ in range(12)]
        self.planned.append(
            await self._driver.fetchval(
                "SELECT custom_plans FROM pg_prepared_statements WHERE name = $1", prepared.get_name()
            )
        )
        return answers[-1]


LATE = INSTANTS[1] + datetime.timedelta(minutes=990)
HALFWAY = (INSTANTS[0] + datetime.timedelta(minutes=500), 2000)


async def test_deep_page_is_a_range_of_an_index_without_a_sort(explaining: ExplainingReader) -> None:
    for term in (CREATED_AT, VIEWS, TITLE):
        order = Order("posts", [(term, True), (ID, True)])
        rows = sorted(some_posts([1], 4000), key=partial(position_of, order), reverse=True)
        deep = rows[2000]
        for backward, way, sign, expected in (
            (False, " Backward", "<", rows[2001:2011]),
            (True, "", ">", rows[1990:2000]),
        ):
            request = PageRequest(order, 10, backward, position_of(order, deep))
            page = await POSTS.page(explaining, ADMIN, COLUMNS, {}, request)
            assert ids(page.rows) == ids(expected)
            assert explaining.plan == [
                "Aggregate",
                "->  Limit",
                f"->  Index Scan{way} using ix_posts_{term.name}_id on posts",
                f"Index Cond: (ROW({term.name}, id) {sign} ROW(?, ?))",
            ]


async def test_deep_page_of_published_posts_is_a_range_of_an_index_without_a_sort(explaining: ExplainingReader) -> None:
    page = await POSTS.page(explaining, ANONYMOUS, COLUMNS, {}, PageRequest(NEWEST_FIRST, 10, position=HALFWAY))
    assert len(page.rows) == 10
    assert explaining.plan == [
        "Aggregate",
        "->  Limit",
        "->  Index Scan Backward using ix_posts_published_created_at_id on posts",
        "Index Cond: ((published = true) AND (ROW(created_at, id) < ROW(?, ?)))",
    ]


async def test_sorted_page_joins_the_authors_of_its_own_rows_alone(database: Database, superuser: Driver) -> None:
    await keep(database, some_posts(await new_users(database, 2000), 4000))
    await superuser.execute("ANALYZE posts, users")
    explaining = ExplainingReader(superuser)
    most_viewed = Order("posts", [(VIEWS, True), (CREATED_AT, False), (ID, False)])  # which no index has
    columns, given = ("id", "title", "author.username"), {"created_at_gte": LATE}
    for nested in ((), (Nested(POSTS, ("id",), {}, PageRequest(NEWEST_FIRST, 2), "id"),)):
        page = await POSTS.page(explaining, ADMIN, columns, given, PageRequest(most_viewed, 10), nested)
        assert len(page.rows) == 10
        assert [line for line in explaining.plan if "on users author" in line] == [
            "->  Index Scan using pk_users on users author"
        ]


async def test_deep_pages_by_author_are_ranges_of_an_index_without_a_sort(
    database: Database, superuser: Driver
) -> None:
    # So many authors that the index by author is cheaper than the index of all posts.
    authors = await new_users(database, 21)
    await keep(database, some_posts(authors, 4000))
    await superuser.execute("ANALYZE posts")
    explaining = ExplainingReader(superuser)
    request = PageRequest(NEWEST_FIRST, 10, position=HALFWAY)
    pages = await POSTS.pages_by_parent(explaining, ADMIN, COLUMNS, {}, request, authors[:3])
    assert [len(page.rows) for page in pages] == [10, 10, 10]
    assert explaining.plan == [
        "Nested Loop",
        "InitPlan 1",
        "->  Result",
        "->  Function Scan on unnest parents",
        "->  Aggregate",
        "->  Limit",
        "->  Index Scan Backward using ix_posts_author_id_created_at_id on posts",
        "Index Cond: ((author_id = parents.id) AND (ROW(created_at, id) < ROW(?, ?)))",
    ]


async def test_deep_page_in_mixed_directions_begins_at_its_first_term_in_the_index(
    explaining: ExplainingReader,
) -> None:
    order = Order("posts", [(CREATED_AT, True), (VIEWS, False), (ID, True)])
    request = PageRequest(order, 10, position=(HALFWAY[0], 3, HALFWAY[1]))
    page = await POSTS.page(explaining, ADMIN, COLUMNS, {}, request)
    assert len(page.rows) == 10
    assert explaining.plan[5:7] == [
        "->  Index Scan Backward using ix_posts_created_at_id on posts",
        "Index Cond: (created_at <= ?)",
    ]


@pytest.mark.parametrize("viewer", [ANONYMOUS, Viewer(7), ADMIN])
async def test_reads_are_not_planned_at_each_execution(
    explaining: ExplainingReader, superuser: Driver, authors: list[int], viewer: Viewer
) -> None:
    # PostgreSQL plans the first five executions to compare (documentation of PREPARE), then keeps one generic plan.
    repeating = RepeatingReader(superuser)
    for request in (PageRequest(NEWEST_FIRST, 3), PageRequest(NEWEST_FIRST, 20, position=HALFWAY)):
        await POSTS.page(repeating, viewer, COLUMNS, {}, request)
        await POSTS.page(repeating, viewer, COLUMNS, {"views_gte": 3}, request, counted=True)
        await POSTS.pages_by_parent(repeating, viewer, COLUMNS, {}, request, authors[:1])
    await POSTS.by_ids(repeating, viewer, COLUMNS, [1])
    await users_by_ids(repeating, viewer, ("id", "username"), authors[:1])
    assert len(repeating.planned) == 8
    assert max(repeating.planned) <= 5


@pytest.mark.parametrize(
    "given", [{"views_gte": 4}, {"views_lte": 0}, {"created_at_gte": LATE}, {"created_at_lt": INSTANTS[0]}, {}]
)
async def test_counts_of_a_part_of_a_list_are_not_planned_at_each_execution(
    explaining: ExplainingReader, superuser: Driver, given: dict[str, object]
) -> None:
    repeating = RepeatingReader(superuser)
    request = PageRequest(NEWEST_FIRST, 3)
    page = await POSTS.page(repeating, ANONYMOUS, COLUMNS, given, request, counted=True)
    assert page.total == await POSTS.count(repeating, ANONYMOUS, given)
    assert max(repeating.planned) <= 5


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9, 10, 29, 60, 99, 100, 150])
async def test_page_has_its_length_however_many_rows_are_fetched(
    database: Database, authors: list[int], limit: int
) -> None:
    await keep(database, some_posts(authors, 160))
    whole = await POSTS.page(database, ADMIN, COLUMNS, {}, PageRequest(NEWEST_FIRST, 160))
    assert (whole.size, whole.has_more) == (160, False)
    forward = await POSTS.page(database, ADMIN, COLUMNS, {}, PageRequest(NEWEST_FIRST, limit))
    backward = await POSTS.page(database, ADMIN, COLUMNS, {}, PageRequest(NEWEST_FIRST, limit, backward=True))
    assert (ids(forward.rows), forward.size, forward.has_more) == (ids(whole.rows)[:limit], limit, True)
    assert (ids(backward.rows), backward.size, backward.has_more) == (ids(whole.rows)[-limit:], limit, True)
