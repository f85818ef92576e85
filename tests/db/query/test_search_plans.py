"""Searches of two hundred thousand posts: the indexes that PostgreSQL reads, and how many posts it reads."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from asyncpg import Record

from db.access import ANONYMOUS
from db.connections.database import Database
from db.connections.leases import Driver
from db.connections.statements import Reader, Statement
from db.query.cursors import Order
from db.query.pages import PageRequest
from db.query.text_search import search_query
from db.repositories.posts import CREATED_AT, ID, POSTS, RELEVANCE, TITLE
from tests.db.support.rows import ADMIN, new_user
from tests.db.support.vacuum import vacuum

# Every post contains the word "common", one in ten "frequent", forty "rare", and one "once".
FILL = """
    INSERT INTO posts (title, content, published, author_id, views)
    SELECT 'Title ' || number % 1000, 'common words of post ' || number
            || CASE WHEN number % 10 = 0 THEN ' frequent' ELSE '' END
            || CASE WHEN number % 5000 = 0 THEN ' rare' ELSE '' END
            || CASE WHEN number = 77777 THEN ' once' ELSE '' END,
        number % 7 <> 0, (SELECT max(id) FROM users), number % 1000
    FROM generate_series(1, 200000) AS number
"""
NEWEST = Order("posts", [(CREATED_AT, True), (ID, True)])
BY_TITLE = Order("posts", [(TITLE, False), (ID, False)])
BEST = Order("posts", [(RELEVANCE, True), (ID, True)])
# Posts found by the words are sorted; a word that many posts have is found early in the order of the list.
BY_WORDS, BY_ORDER = "Bitmap Heap Scan", "Index Scan"
READ: Sequence[tuple[str, Order, str, int]] = [
    # The search, the order, how the posts are found, and the maximum number of posts read.
    *(
        (search, order, BY_WORDS, 40)
        for search in ("once", "rare", "frequent rare")
        for order in (NEWEST, BY_TITLE, BEST)
    ),
    *((search, order, BY_WORDS, 0) for search in ("absent", "common absent") for order in (NEWEST, BY_TITLE, BEST)),
    *(
        (search, order, BY_ORDER, 400)
        for search in ("frequent", "common", '"common words"')
        for order in (NEWEST, BY_TITLE)
    ),
    ("frequent", BEST, BY_WORDS, 20_000),
]


class MeasuringReader(Reader):
    """A reader that keeps how the posts of its last statement were found, and how many were read."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.found_by: list[str] = []
        self.rows_read = 0

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        arguments = statement.arguments(values)
        plan = await self._driver.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", *arguments)
        scans = [node for node in _nodes(json.loads(plan)[0]["Plan"]) if node.get("Relation Name") == "posts"]
        self.found_by = [node["Node Type"] for node in scans]
        self.rows_read = sum(
            round(node["Actual Rows"] * node["Actual Loops"]) + node.get("Rows Removed by Filter", 0) for node in scans
        )
        return await self._driver.fetch(statement.sql, *arguments)


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


@pytest.mark.long("200,000 posts")
async def test_searches_read_indexes_and_few_posts(superuser: Driver, database: Database) -> None:
    await new_user(database)
    await superuser.execute(FILL)
    await vacuum(superuser, "posts")
    measuring = MeasuringReader(superuser)
    unexpected = []
    for viewer in (ANONYMOUS, ADMIN):
        for search, order, found_by, most in READ:
            conditions = {"search": search_query(search)}
            page = await POSTS.page(measuring, viewer, order.columns, conditions, PageRequest(order, 20))
            if measuring.found_by != [found_by] or measuring.rows_read > most:
                unexpected.append((search, order.columns, measuring.found_by, measuring.rows_read))
            if page.has_more:  # the next page obeys the same bound
                position = order.position(order.cursor(page.row(-1)))
                following = await POSTS.page(
                    measuring, viewer, ("id",), conditions, PageRequest(order, 20, position=position)
                )
                assert not {row["id"] for row in page.rows} & {row["id"] for row in following.rows}
                if measuring.found_by != [found_by] or measuring.rows_read > most:
                    unexpected.append((search, order.columns, measuring.found_by, measuring.rows_read))
    assert unexpected == []
