"""A plain model of the list of posts, and strategies that draw rows for both the model and the table."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from asyncpg import Record
from hypothesis import strategies as st

from db.access import ANONYMOUS, Viewer
from db.connections.database import Database, OpenTransaction
from db.query.cursors import Order
from db.query.text_search import folded
from db.repositories.posts import CREATED_AT, ID, TITLE, VIEWS
from tests.db.support.rows import ADMIN

Row = Mapping[str, Any]

COLUMNS = ("id", "author_id", "published", "views", "title", "created_at")
INSTANTS = [datetime.datetime(2026, 11, day, 9, 30, 0, day, tzinfo=datetime.UTC) for day in (1, 2, 3)]
VALUES: Mapping[str, Sequence[Any]] = {
    "created_at": INSTANTS,
    "views": [0, 1, 2],
    "title": ["aa", "É", "e\u0301", "9", "A", "é", "10", "E", "a"],
}
# The alphabetical position of each title.
PLACES = {"10": 0, "9": 1, "A": 2, "a": 2, "aa": 3, "E": 4, "É": 4, "é": 4, "e\u0301": 4}
NEWEST_FIRST = Order("posts", [(CREATED_AT, True), (ID, True)])


# ---------------------------------------------------------------- the model


def rank(order: Order, values: Row) -> tuple[int, ...]:
    """Return the place of `values` in `order`, as a tuple that Python can compare."""
    ranks = []
    for term, descending in order.terms:
        if term is TITLE:
            place = PLACES[values["title"]]
        else:
            value = values[term.name]
            place = VALUES[term.name].index(value) if term.name in VALUES else value
        ranks.append(-place if descending else place)
    return tuple(ranks)


def position_of(order: Order, values: Row) -> tuple[Any, ...]:
    """Return the position of `values` in `order`."""
    return tuple(folded(values["title"]) if term is TITLE else values[term.name] for term, _ in order.terms)


MEANINGS: Mapping[str, Callable[[Row, Any], bool]] = {
    "published": lambda row, value: bool(row["published"] == value),
    "author_id": lambda row, value: bool(row["author_id"] == value),
    "views_gte": lambda row, value: bool(row["views"] >= value),
    "views_lte": lambda row, value: bool(row["views"] <= value),
    "created_at_gte": lambda row, value: bool(row["created_at"] >= value),
    "created_at_lt": lambda row, value: bool(row["created_at"] < value),
}


def is_visible(row: Row, viewer: Viewer) -> bool:
    return viewer.is_admin or bool(row["published"]) or row["author_id"] == viewer.user_id


def listed(rows: Sequence[Row], viewer: Viewer, given_filter: Row, order: Order) -> list[Row]:
    """Return the whole list, in order."""
    chosen = [
        row
        for row in rows
        if is_visible(row, viewer) and all(MEANINGS[name](row, value) for name, value in given_filter.items())
    ]
    return sorted(chosen, key=lambda row: rank(order, row))


def ids(rows: Sequence[Row] | Sequence[Record]) -> list[int]:
    return [row["id"] for row in rows]


# ---------------------------------------------------------------- strategies

orders = st.builds(
    lambda terms, id_descending: Order("posts", [*terms, (ID, id_descending)]),
    st.lists(
        st.tuples(st.sampled_from([CREATED_AT, VIEWS, TITLE]), st.booleans()), max_size=3, unique_by=lambda t: t[0]
    ),
    st.booleans(),
)


def positions(order: Order) -> st.SearchStrategy[tuple[Any, ...]]:
    """Draw positions, most of which belong to no row: rows are deleted, and clients invent cursors."""
    values = {name: st.sampled_from(values) for name, values in VALUES.items()}
    return st.fixed_dictionaries({"id": st.integers(0, 21), **values}).map(partial(position_of, order))


filters: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "published": st.booleans(),
        "views_gte": st.integers(0, 2),
        "views_lte": st.integers(0, 2),
        "created_at_gte": st.sampled_from(INSTANTS),
        "created_at_lt": st.sampled_from(INSTANTS),
    },
)


def posts_of(author_ids: Sequence[int], *, max_size: int = 20) -> st.SearchStrategy[list[dict[str, Any]]]:
    values = {name: st.sampled_from(values) for name, values in VALUES.items()}
    author = {"author_id": st.sampled_from(author_ids), "published": st.booleans()}
    rows = st.lists(st.fixed_dictionaries({**author, **values}), max_size=max_size)
    return rows.map(lambda drawn: [{"id": number, **row} for number, row in enumerate(drawn, 1)])


async def keep(database: Database, rows: Sequence[Row]) -> None:
    """Replace all posts by `rows`."""

    async def work(transaction: OpenTransaction) -> None:
        await transaction.driver.execute("DELETE FROM posts")
        await transaction.driver.copy_records_to_table(
            "posts",
            columns=[*COLUMNS, "content"],
            records=[(*(row[name] for name in COLUMNS), "some words") for row in rows],
        )

    await database.write(work)


def viewers_of(author_ids: Sequence[int]) -> st.SearchStrategy[Viewer]:
    return st.sampled_from([ANONYMOUS, Viewer(user_id=author_ids[0]), ADMIN])


def some_posts(author_ids: Sequence[int], count: int) -> list[dict[str, Any]]:
    """Return posts of all authors in turn, every third a draft."""
    return [
        {
            "id": number,
            "author_id": author_ids[number % len(author_ids)],
            "published": number % 3 != 0,
            "views": number % 5,
            "title": f"Title {number % 7}",
            "created_at": INSTANTS[number % 2] + datetime.timedelta(minutes=number // 4),
        }
        for number in range(1, count + 1)
    ]
