"""Keyset pages against a plain model: a sorted Python list that is sliced.

The rows have few distinct values, so that ties are the rule.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.access import ANONYMOUS, Viewer
from db.connections.database import Database, OpenTransaction
from db.query.cursors import Order
from db.query.pages import PageRequest
from db.repositories.posts import ID, POSTS, VIEWS
from db.repositories.transactions import TRANSACTIONS, TRANSACTIONS_ORDER
from tests.db.support.listed_posts import (
    COLUMNS,
    INSTANTS,
    NEWEST_FIRST,
    VALUES,
    Row,
    filters,
    ids,
    keep,
    listed,
    orders,
    position_of,
    positions,
    posts_of,
    rank,
    some_posts,
    viewers_of,
)
from tests.db.support.rows import ADMIN, new_account, new_user, new_users
from tests.running.amounts import examples

# ---------------------------------------------------------------- pages


@settings(max_examples=examples(60))
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
    # A position need not belong to a row: rows are deleted, and clients invent cursors.
    made_up = st.fixed_dictionaries({"id": st.integers(0, 21), **{n: st.sampled_from(v) for n, v in VALUES.items()}})
    position = data.draw(st.sampled_from(rows) | made_up if rows else made_up)
    await keep(database, rows)
    whole = listed(rows, viewer, given_filter, order)
    before = [row for row in whole if rank(order, row) < rank(order, position)]
    after = [row for row in whole if rank(order, row) > rank(order, position)]
    following = before[::-1] if backward else after

    request = PageRequest(order, limit, backward, position_of(order, position))
    page = await POSTS.page(database, viewer, COLUMNS, given_filter, request)
    expected = following[:limit][::-1] if backward else following[:limit]
    assert [dict(row) for row in page.rows] == expected
    assert page.has_more == (len(following) > limit)
    unaware = await POSTS.page(database, viewer, COLUMNS, given_filter, request._replace(looks_ahead=False))
    assert (unaware.columns, unaware.size) == (page.columns, page.size)
    counted = await POSTS.page(database, viewer, COLUMNS, given_filter, request, counted=True)
    assert (counted.columns, counted.size, counted.has_more) == (page.columns, page.size, page.has_more)
    assert (page.total, counted.total) == (None, len(whole))
    assert await POSTS.behind(database, viewer, given_filter, request) == (len(following) < len(whole))
    assert await POSTS.count(database, viewer, given_filter) == len(whole)


async def test_page_without_look_ahead_does_not_report_whether_more_rows_follow(
    database: Database, authors: list[int]
) -> None:
    await keep(database, some_posts(authors, 9))
    for limit in (3, 5):  # planned for more rows, and for exactly this number
        request = PageRequest(NEWEST_FIRST, limit, looks_ahead=False)
        parts = [
            await POSTS.page(database, ADMIN, COLUMNS, {}, request),
            *(await POSTS.pages_by_parent(database, ADMIN, COLUMNS, {}, request, authors[:1])),
            await POSTS.page(database, ADMIN, COLUMNS, {}, request, counted=True),
        ]
        for page in parts:
            with pytest.raises(AssertionError, match="did not look ahead"):
                _ = page.has_more


async def test_row_at_the_position_is_excluded(database: Database, authors: list[int]) -> None:
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


@settings(max_examples=examples(40))
@given(data=st.data(), order=orders, backward=st.booleans(), limit=st.integers(1, 7))
async def test_pages_one_after_the_other_are_the_whole_sorted_list(
    database: Database, authors: list[int], data: st.DataObject, order: Order, backward: bool, limit: int
) -> None:
    rows = data.draw(posts_of(authors))
    await keep(database, rows)
    whole = ids(listed(rows, ADMIN, {}, order))
    read_page_by_page: list[int] = []
    position = None
    while True:
        columns = tuple({*COLUMNS, *order.columns})
        page = await POSTS.page(database, ADMIN, columns, {}, PageRequest(order, limit, backward, position))
        read_page_by_page = [*ids(page.rows), *read_page_by_page] if backward else [*read_page_by_page, *ids(page.rows)]
        assert page.has_more == (len(read_page_by_page) < len(whole))
        if not page.has_more:
            break
        assert len(page.rows) == limit
        position = order.position(order.cursor(page.rows[0 if backward else -1]))
    assert read_page_by_page == whole


@settings(max_examples=examples(30))
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
    position = data.draw(positions(order))
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

    async def work(transaction: OpenTransaction) -> None:
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


# ---------------------------------------------------------------- visibility


async def test_draft_is_listed_and_counted_only_for_its_author_and_administrators(
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


async def test_transactions_of_an_account_are_listed_only_for_its_owner_and_administrators(
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

    await keep(database, [row for row in rows if row["id"] not in {16, 18, 20}])  # the cursor's row is deleted, too
    assert (await POSTS.page(database, ADMIN, COLUMNS, {}, request)).rows == untouched.rows
    await keep(database, [*rows, *({**rows[0], "id": number} for number in range(21, 40))])
    assert (await POSTS.page(database, ADMIN, COLUMNS, {}, request)).rows == untouched.rows
