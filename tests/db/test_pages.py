"""Keyset pages against a plain model: a sorted Python list that is sliced.

Few values for many rows, so that ties are the rule.
"""

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from asyncpg import Record
from hypothesis import given, settings
from hypothesis import strategies as st

from db.cursors import Order
from db.engine import Database, Driver, Transaction
from db.pages import PageRequest
from db.posts import CREATED_AT, ID, POSTS, TITLE, VIEWS
from db.statements import Statement
from db.transactions import TRANSACTIONS, TRANSACTIONS_ORDER
from db.viewer import ANONYMOUS, Viewer
from tests.db.rows import ADMIN, new_account, new_user, new_users

Row = Mapping[str, Any]

COLUMNS = ("id", "author_id", "published", "views", "title", "created_at")
INSTANTS = [datetime.datetime(2026, 11, day, 9, 30, 0, day, tzinfo=datetime.UTC) for day in (1, 2, 3)]
VALUES: Mapping[str, Sequence[Any]] = {"created_at": INSTANTS, "views": [0, 1, 2], "title": ["A", "a", "aa", "é"]}
NEWEST_FIRST = Order("posts", [(CREATED_AT, True), (ID, True)])


# ---------------------------------------------------------------- the model


def rank(order: Order, values: Row) -> tuple[int, ...]:
    """Return where `values` stand in `order`, as something that Python compares."""
    ranks = []
    for term, descending in order.terms:
        value = values[term.name]
        place = VALUES[term.name].index(value) if term.name in VALUES else value
        ranks.append(-place if descending else place)
    return tuple(ranks)


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


# ---------------------------------------------------------------- what is drawn

orders = st.builds(
    lambda terms, id_descending: Order("posts", [*terms, (ID, id_descending)]),
    st.lists(
        st.tuples(st.sampled_from([CREATED_AT, VIEWS, TITLE]), st.booleans()), max_size=3, unique_by=lambda t: t[0]
    ),
    st.booleans(),
)
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
    """Make `rows` all the posts there are."""

    async def work(transaction: Transaction) -> None:
        await transaction.driver.execute("DELETE FROM posts")
        await transaction.driver.copy_records_to_table(
            "posts",
            columns=[*COLUMNS, "content"],
            records=[(*(row[name] for name in COLUMNS), "some words") for row in rows],
        )

    await database.write(work)


@pytest.fixture
async def authors(database: Database) -> list[int]:
    return await new_users(database, 3)


def viewers_of(author_ids: Sequence[int]) -> st.SearchStrategy[Viewer]:
    return st.sampled_from([ANONYMOUS, Viewer(user_id=author_ids[0]), ADMIN])


# ---------------------------------------------------------------- pages


@settings(max_examples=60)
@given(data=st.data(), order=orders, given_filter=filters, backward=st.booleans(), limit=st.integers(0, 6))
async def test_page_at_any_position_is_a_slice_of_the_sorted_list(
    database: Database,
    authors: list[int],
    data: st.DataObject,
    order: Order,
    given_filter: dict[str, Any],
    backward: bool,
    limit: int,
) -> None:
    rows = data.draw(posts_of(authors))
    viewer = data.draw(viewers_of(authors))
    # A position may be of no row: rows are deleted, and cursors made up.
    made_up = st.fixed_dictionaries({"id": st.integers(0, 21), **{n: st.sampled_from(v) for n, v in VALUES.items()}})
    position = data.draw(st.sampled_from(rows) | made_up if rows else made_up)
    await keep(database, rows)
    whole = listed(rows, viewer, given_filter, order)
    before = [row for row in whole if rank(order, row) < rank(order, position)]
    after = [row for row in whole if rank(order, row) > rank(order, position)]
    following = before[::-1] if backward else after

    request = PageRequest(order, limit, backward, tuple(position[name] for name in order.columns))
    page = await POSTS.page(database, viewer, COLUMNS, given_filter, request)
    expected = following[:limit][::-1] if backward else following[:limit]
    assert [dict(row) for row in page.rows] == expected
    assert page.has_more == (len(following) > limit)
    assert await POSTS.behind(database, viewer, given_filter, request) == (len(following) < len(whole))
    assert await POSTS.count(database, viewer, given_filter) == len(whole)


async def test_row_at_the_position_is_behind_it(database: Database, authors: list[int]) -> None:
    [row] = some_posts(authors, 1)
    descending = Order("posts", [(VIEWS, True), (ID, True)])
    ascending = Order("posts", [(VIEWS, False), (ID, False)])
    mixed = Order("posts", [(VIEWS, True), (ID, False)])
    for order in (descending, ascending, mixed):
        for backward in (False, True):
            request = PageRequest(order, 1, backward, (row["views"], row["id"]))
            await keep(database, [row])
            assert await POSTS.behind(database, ADMIN, {}, request) is True
            await keep(database, [])
            assert await POSTS.behind(database, ADMIN, {}, request) is False


@settings(max_examples=40)
@given(data=st.data(), order=orders, backward=st.booleans(), limit=st.integers(1, 7))
async def test_pages_one_after_the_other_are_the_whole_sorted_list(
    database: Database, authors: list[int], data: st.DataObject, order: Order, backward: bool, limit: int
) -> None:
    rows = data.draw(posts_of(authors))
    await keep(database, rows)
    whole = ids(listed(rows, ADMIN, {}, order))
    walked: list[int] = []
    position = None
    while True:
        page = await POSTS.page(database, ADMIN, COLUMNS, {}, PageRequest(order, limit, backward, position))
        walked = [*ids(page.rows), *walked] if backward else [*walked, *ids(page.rows)]
        assert page.has_more == (len(walked) < len(whole))
        if not page.has_more:
            break
        assert len(page.rows) == limit
        position = order.position(order.cursor(page.rows[0 if backward else -1]))
    assert walked == whole


@settings(max_examples=30)
@given(data=st.data(), order=orders, given_filter=filters, backward=st.booleans(), limit=st.integers(0, 4))
async def test_page_by_parent_is_the_page_of_each_parent(
    database: Database,
    authors: list[int],
    data: st.DataObject,
    order: Order,
    given_filter: dict[str, Any],
    backward: bool,
    limit: int,
) -> None:
    rows = data.draw(posts_of(authors, max_size=30))
    viewer = data.draw(viewers_of(authors))
    parents = data.draw(st.lists(st.sampled_from([*authors, 0]), max_size=6))
    continues = data.draw(st.booleans())
    position = tuple(data.draw(st.sampled_from(VALUES.get(name, range(20)))) for name in order.columns)
    request = PageRequest(order, limit, backward, position if continues else None)
    await keep(database, rows)

    pages = await POSTS.pages_by_parent(database, viewer, COLUMNS, given_filter, request, parents)
    counts = await POSTS.counts_by_parent(database, viewer, given_filter, parents)
    of_each = [{**given_filter, "author_id": parent} for parent in parents]
    singly = [await POSTS.page(database, viewer, COLUMNS, each, request) for each in of_each]
    assert [(ids(page.rows), page.has_more) for page in pages] == [(ids(page.rows), page.has_more) for page in singly]
    assert counts == [await POSTS.count(database, viewer, each) for each in of_each]
    if continues:
        behind = await POSTS.behind_by_parent(database, viewer, given_filter, request, parents)
        assert behind == [await POSTS.behind(database, viewer, each, request) for each in of_each]


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


@pytest.mark.parametrize("parents", [1, 3, 10])
async def test_lists_of_any_number_of_parents_are_one_statement(database: Database, parents: int) -> None:
    author_ids = await new_users(database, parents)
    rows = some_posts(author_ids, 6 * parents)
    await keep(database, rows)
    position = (INSTANTS[1], 1)
    request = PageRequest(NEWEST_FIRST, 4, position=position)

    database.counters.statements = 0
    pages = await POSTS.pages_by_parent(database, ADMIN, COLUMNS, {}, PageRequest(NEWEST_FIRST, 4), author_ids)
    assert database.counters.statements == 1
    counts = await POSTS.counts_by_parent(database, ADMIN, {}, author_ids)
    assert database.counters.statements == 2
    behind = await POSTS.behind_by_parent(database, ADMIN, {}, request, author_ids)
    assert database.counters.statements == 3

    own = [sorted((row for row in rows if row["author_id"] == author), key=newest_first) for author in author_ids]
    assert [ids(page.rows) for page in pages] == [ids(mine[:4]) for mine in own]
    assert [page.has_more for page in pages] == [True] * parents
    assert counts == [6] * parents
    assert behind == [any((row["created_at"], row["id"]) >= position for row in mine) for mine in own]


def newest_first(row: Row) -> tuple[float, int]:
    return (-row["created_at"].timestamp(), -row["id"])


@pytest.mark.parametrize("parents", [1, 3, 10])
async def test_transactions_of_any_number_of_accounts_are_one_statement_by_both_ends(
    database: Database, parents: int
) -> None:
    owner = await new_user(database)
    accounts = [await new_account(database, owner) for _ in range(parents)]
    others = [await new_account(database, owner) for _ in range(2)]
    ends = [*accounts, *others]
    movements = [(number, ends[number % len(ends)], ends[(number + 1) % len(ends)], number) for number in range(1, 41)]

    async def work(transaction: Transaction) -> None:
        columns = ["id", "from_id", "to_id", "amount"]
        await transaction.driver.copy_records_to_table("transactions", columns=columns, records=movements)

    await database.write(work)
    whole = [[number for number, *both, _ in reversed(movements) if account in both] for account in accounts]
    columns = ("id", "from_id", "to_id", "amount", "currency_code")
    database.counters.statements = 0

    request = PageRequest(TRANSACTIONS_ORDER, 3)
    pages = await TRANSACTIONS.pages_by_parent(database, owner, columns, {}, request, accounts)
    assert [(ids(page.rows), page.has_more) for page in pages] == [(mine[:3], len(mine) > 3) for mine in whole]
    request = PageRequest(TRANSACTIONS_ORDER, 3, position=(20,))
    pages = await TRANSACTIONS.pages_by_parent(database, owner, columns, {}, request, accounts)
    assert [ids(page.rows) for page in pages] == [[number for number in mine if number < 20][:3] for mine in whole]
    behind = await TRANSACTIONS.behind_by_parent(database, owner, {}, request, accounts)
    assert behind == [any(number >= 20 for number in mine) for mine in whole]
    request = PageRequest(TRANSACTIONS_ORDER, 3, backward=True, position=(20,))
    pages = await TRANSACTIONS.pages_by_parent(database, owner, columns, {}, request, accounts)
    assert [ids(page.rows) for page in pages] == [[number for number in mine if number > 20][-3:] for mine in whole]
    assert await TRANSACTIONS.counts_by_parent(database, owner, {}, accounts) == [len(mine) for mine in whole]
    assert database.counters.statements == 5


async def test_no_parents_have_no_pages(database: Database) -> None:
    request = PageRequest(NEWEST_FIRST, 3)
    assert await POSTS.pages_by_parent(database, ADMIN, COLUMNS, {}, request, []) == []
    assert await POSTS.counts_by_parent(database, ADMIN, {}, []) == []


# ---------------------------------------------------------------- who sees what


async def test_draft_is_listed_and_counted_for_its_author_and_administrators_alone(
    database: Database, authors: list[int]
) -> None:
    mine, others, third = authors
    rows = [
        {**row, "author_id": author, "published": published}
        for row, (author, published) in zip(
            some_posts(authors, 5),
            [(mine, True), (mine, False), (others, True), (others, False), (others, False)],
            strict=True,
        )
    ]
    await keep(database, rows)
    order = Order("posts", [(ID, False)])
    seen = {ANONYMOUS: [1, 3], Viewer(user_id=third): [1, 3], Viewer(user_id=mine): [1, 2, 3], ADMIN: [1, 2, 3, 4, 5]}
    for viewer, visible in seen.items():
        page = await POSTS.page(database, viewer, COLUMNS, {}, PageRequest(order, 10))
        assert ids(page.rows) == visible
        assert await POSTS.count(database, viewer, {}) == len(visible)
        by_author = await POSTS.pages_by_parent(database, viewer, COLUMNS, {}, PageRequest(order, 10), [mine, others])
        assert [post for page in by_author for post in ids(page.rows)] == visible
        counts = await POSTS.counts_by_parent(database, viewer, {}, [mine, others])
        assert counts == [len(page.rows) for page in by_author]
        drafts = await POSTS.count(database, viewer, {"published": False})
        assert drafts == len([post for post in visible if not rows[post - 1]["published"]])
        behind = await POSTS.behind(database, viewer, {}, PageRequest(order, 10, backward=True, position=(4,)))
        assert behind == (viewer is ADMIN)


async def test_transactions_of_an_account_are_listed_for_its_owner_and_administrators_alone(
    database: Database,
) -> None:
    owner, other = await new_user(database), await new_user(database)
    account = await new_account(database, owner, holding="10.00")
    request = PageRequest(TRANSACTIONS_ORDER, 10, position=(10**9,))
    for viewer, count in {owner: 1, ADMIN: 1, other: 0, ANONYMOUS: 0}.items():
        [page] = await TRANSACTIONS.pages_by_parent(database, viewer, ("id", "amount"), {}, request, [account])
        assert [row["amount"] for row in page.rows] == [1000] * count
        assert await TRANSACTIONS.counts_by_parent(database, viewer, {}, [account]) == [count]
        turned = PageRequest(TRANSACTIONS_ORDER, 10, position=(0,))
        assert await TRANSACTIONS.behind_by_parent(database, viewer, {}, turned, [account]) == [count == 1]


# ---------------------------------------------------------------- stability and cost


async def test_rows_that_come_and_go_before_the_cursor_do_not_shift_the_next_page(
    database: Database, authors: list[int]
) -> None:
    rows = some_posts(authors, 20)
    await keep(database, rows)
    order = Order("posts", [(ID, True)])
    first = await POSTS.page(database, ADMIN, COLUMNS, {}, PageRequest(order, 5))
    assert ids(first.rows) == [20, 19, 18, 17, 16]
    position = order.position(order.cursor(first.rows[-1]))
    request = PageRequest(order, 5, position=position)
    untouched = await POSTS.page(database, ADMIN, COLUMNS, {}, request)
    assert ids(untouched.rows) == [15, 14, 13, 12, 11]

    await keep(database, [row for row in rows if row["id"] not in {16, 18, 20}])  # the row of the cursor is gone, too
    assert await POSTS.page(database, ADMIN, COLUMNS, {}, request) == untouched
    await keep(database, [*rows, *({**rows[0], "id": number} for number in range(21, 40))])
    assert await POSTS.page(database, ADMIN, COLUMNS, {}, request) == untouched


class Explaining:
    """A reader that keeps the plan of each statement that it runs, the values in it as question marks."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.plan: list[str] = []

    async def fetch(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Record]:
        arguments = statement.arguments(values)
        lines = await self._driver.fetch(f"EXPLAIN (COSTS OFF) {statement.sql}", *arguments)
        self.plan = [re.sub(r"'[^']*'::[a-z ]+", "?", line[0]).strip() for line in lines]
        return await self._driver.fetch(statement.sql, *arguments)


@pytest.fixture
async def explaining(database: Database, superuser: Driver, authors: list[int]) -> Explaining:
    """A reader of four thousand posts."""
    await keep(database, some_posts(authors, 4000))
    await superuser.execute("ANALYZE posts")
    return Explaining(superuser)


HALFWAY = (INSTANTS[0] + datetime.timedelta(minutes=500), 2000)


async def test_deep_page_is_a_range_of_an_index_without_a_sort(explaining: Explaining) -> None:
    for term in (CREATED_AT, VIEWS, TITLE):
        rows = sorted(some_posts([1], 4000), key=lambda row: (row[term.name], row["id"]), reverse=True)
        deep = rows[2000]
        order = Order("posts", [(term, True), (ID, True)])
        for backward, way, sign, expected in (
            (False, " Backward", "<", rows[2001:2011]),
            (True, "", ">", rows[1990:2000]),
        ):
            request = PageRequest(order, 10, backward, (deep[term.name], deep["id"]))
            page = await POSTS.page(explaining, ADMIN, COLUMNS, {}, request)
            assert ids(page.rows) == ids(expected)
            assert explaining.plan == [
                "Limit",
                f"->  Index Scan{way} using ix_posts_{term.name}_id on posts",
                f"Index Cond: (ROW({term.name}, id) {sign} ROW(?, ?))",
            ]


async def test_deep_page_of_published_posts_is_a_range_of_an_index_without_a_sort(explaining: Explaining) -> None:
    page = await POSTS.page(explaining, ANONYMOUS, COLUMNS, {}, PageRequest(NEWEST_FIRST, 10, position=HALFWAY))
    assert len(page.rows) == 10
    assert explaining.plan == [
        "Limit",
        "->  Index Scan Backward using ix_posts_published_created_at_id on posts",
        "Index Cond: ((published = true) AND (ROW(created_at, id) < ROW(?, ?)))",
    ]


async def test_deep_pages_by_author_are_ranges_of_an_index_without_a_sort(
    explaining: Explaining, authors: list[int]
) -> None:
    request = PageRequest(NEWEST_FIRST, 10, position=HALFWAY)
    pages = await POSTS.pages_by_parent(explaining, ADMIN, COLUMNS, {}, request, authors)
    assert [len(page.rows) for page in pages] == [10, 10, 10]
    assert explaining.plan == [
        "Nested Loop",
        "->  Function Scan on unnest parents",
        "->  Limit",
        "->  Index Scan Backward using ix_posts_author_id_created_at_id on posts",
        "Index Cond: ((author_id = parents.id) AND (ROW(created_at, id) < ROW(?, ?)))",
    ]


async def test_deep_page_in_mixed_directions_begins_at_its_first_term_in_the_index(explaining: Explaining) -> None:
    order = Order("posts", [(CREATED_AT, True), (VIEWS, False), (ID, True)])
    request = PageRequest(order, 10, position=(HALFWAY[0], 3, HALFWAY[1]))
    page = await POSTS.page(explaining, ADMIN, COLUMNS, {}, request)
    assert len(page.rows) == 10
    assert explaining.plan[4:6] == [
        "->  Index Scan Backward using ix_posts_created_at_id on posts",
        "Index Cond: (created_at <= ?)",
    ]
