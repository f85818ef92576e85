"""Account statements, compared with a ledger that is added up entry by entry, for any behaviour of the clock."""

import asyncio
import datetime
import itertools
import uuid
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from db.access import ANONYMOUS, Viewer
from db.connections.database import Database
from db.connections.statements import Reader
from db.ledger.batches import settle_batch
from db.query.pages import Page, PageRequest
from db.repositories.account_statements import (
    ENTRIES_ORDER,
    AccountStatement,
    entries_of_statements,
    statements_of_accounts,
)
from tests.db.support.books import ACCOUNTS, COLUMNS, Books, Entry, day
from tests.db.support.rows import ADMIN, deposit, move, new_account, new_user, transfer
from tests.running.amounts import examples

EVER = (datetime.datetime.min.replace(tzinfo=datetime.UTC), datetime.datetime.max.replace(tzinfo=datetime.UTC))


def change(entry: Entry, account: int) -> int:
    return entry.amount if entry.to_id == account else -entry.amount


def split(entries: Sequence[Entry], account: int, since: int, until: int) -> tuple[list[Entry], list[Entry]]:
    """Return the entries of an account before a statement and within it, found one by one."""
    own = [entry for entry in entries if account in (entry.from_id, entry.to_id)]
    ends = [
        next((index for index, entry in enumerate(own) if entry.created_at >= day(instant)), len(own))
        for instant in (since, until)
    ]
    return own[: ends[0]], own[ends[0] : ends[1]]


def expected(entries: Sequence[Entry], account: int, since: int, until: int) -> AccountStatement:
    before, within = split(entries, account, since, until)
    return AccountStatement(
        account,
        "EUR",
        sum(change(entry, account) for entry in before),
        sum(entry.amount for entry in within if entry.to_id == account),
        sum(entry.amount for entry in within if entry.from_id == account),
        within[0].id if within else 1,
        within[-1].id if within else 0,
        len(within),
    )


def entry_rows(statement: AccountStatement, entries: Sequence[Entry]) -> list[tuple[int, int, int]]:
    """Return id, amount and balance after each of a statement's entries, in order."""
    balance, rows = statement.opening, []
    for entry in entries:
        amount = change(entry, statement.account_id)
        balance += amount
        rows.append((entry.id, amount, balance))
    return rows


async def read(books: Books, since: int, until: int) -> list[AccountStatement]:
    found = await statements_of_accounts(books.database, ADMIN, day(since), day(until), books.accounts)
    assert None not in found
    return [with_comparable_bounds(one) for one in found if one is not None]


def with_comparable_bounds(statement: AccountStatement) -> AccountStatement:
    """Return the statement; one without entries ends directly before it begins, wherever that is."""
    if statement.entry_count:
        return statement
    assert statement.last_id < statement.first_id
    return statement._replace(first_id=1, last_id=0)


def rows_of(page: Page) -> list[tuple[int, int, int]]:
    columns = page.columns
    assert columns["currency_code"] == ["EUR"] * page.size
    return list(zip(columns["id"], columns["amount"], columns["balance_after"], strict=True))


async def read_page_by_page(
    reader: Reader, statements: Sequence[AccountStatement], limit: int, *, backward: bool
) -> list[list[tuple[int, int, int]]]:
    """Return the entries of each statement, read page by page; assert that each page reports rightly what is around."""
    whole: list[list[tuple[int, int, int]]] = []
    for statement in statements:
        found: list[tuple[int, int, int]] = []
        position: tuple[int] | None = None
        while True:
            request = PageRequest(ENTRIES_ORDER, limit, backward, position)
            [page] = await entries_of_statements(reader, COLUMNS, request, [statement])
            assert page.size <= limit
            assert page.total == statement.entry_count
            assert page.behind == bool(found)
            rows = rows_of(page)
            found = rows + found if backward else found + rows
            if not page.has_more:
                break
            position = (found[0 if backward else -1][0],)
        whole.append(found)
    return whole


# The clock jumps at random: days are not in order, and many entries share an instant.
MOVEMENTS = st.lists(
    st.tuples(
        st.integers(0, ACCOUNTS), st.integers(0, ACCOUNTS), st.sampled_from([1, 7, 500, 10**15]), st.integers(0, 5)
    ).filter(lambda one: one[0] != one[1]),
    max_size=12,
)
DAY = st.integers(-1, 7)


@settings(max_examples=examples(150))
@given(movements=MOVEMENTS, ends=st.tuples(DAY, DAY).map(sorted), limit=st.integers(1, 13), backward=st.booleans())
async def test_statement_is_the_sum_of_its_entries_whatever_the_clock_did(
    books: Books, movements: list[tuple[int, int, int, int]], ends: list[int], limit: int, backward: bool
) -> None:
    entries = await books.create_entries(movements)
    statements = await read(books, *ends)
    assert statements == [expected(entries, account, *ends) for account in books.accounts]
    lists = await read_page_by_page(books.database, statements, limit, backward=backward)
    for statement, rows in zip(statements, lists, strict=True):
        _, within = split(entries, statement.account_id, *ends)
        assert rows == entry_rows(statement, within)
        assert statement.opening + sum(amount for _, amount, _ in rows) == statement.closing
        assert [balance for *_, balance in rows][-1:] == [statement.closing] * bool(rows)


@settings(max_examples=examples(100))
@given(movements=MOVEMENTS, cuts=st.lists(DAY, min_size=2, max_size=5).map(sorted))
async def test_consecutive_statements_have_each_entry_once_and_carry_the_balance_over(
    books: Books, movements: list[tuple[int, int, int, int]], cuts: list[int]
) -> None:
    entries = await books.create_entries(movements)
    parts = [await read(books, *ends) for ends in itertools.pairwise(cuts)]
    whole = await read(books, cuts[0], cuts[-1])
    for number, all_of_it in enumerate(whole):
        own = [statements[number] for statements in parts]
        assert [one.closing for one in own] == [*(one.opening for one in own[1:]), all_of_it.closing]
        assert own[0].opening == all_of_it.opening
        assert sum(one.received for one in own) == all_of_it.received
        assert sum(one.sent for one in own) == all_of_it.sent
        lists = await read_page_by_page(books.database, own, 5, backward=False)
        assert [row for rows in lists for row in rows] == entry_rows(
            all_of_it, split(entries, all_of_it.account_id, cuts[0], cuts[-1])[1]
        )


@settings(max_examples=examples(100))
@given(movements=MOVEMENTS, ends=st.tuples(DAY, DAY).map(sorted), position=st.integers(-3, 15), backward=st.booleans())
async def test_any_position_is_only_a_position(
    books: Books, movements: list[tuple[int, int, int, int]], ends: list[int], position: int, backward: bool
) -> None:
    # A cursor of another account's or another period's statement, or an invented one.
    entries = await books.create_entries(movements)
    at = (entries[0].id if entries else 1) + position
    statements = await read(books, *ends)
    request = PageRequest(ENTRIES_ORDER, 4, backward, (at,))
    pages = await entries_of_statements(books.database, COLUMNS, request, statements)
    for statement, page in zip(statements, pages, strict=True):
        rows = entry_rows(statement, split(entries, statement.account_id, *ends)[1])
        ahead = [row for row in rows if (row[0] < at if backward else row[0] > at)]
        assert rows_of(page) == (ahead[-4:] if backward else ahead[:4])
        assert (page.has_more, page.behind) == (len(ahead) > 4, len(ahead) < len(rows))


async def test_statement_of_real_movements_ends_with_the_balance(database: Database) -> None:
    owner, other = await new_user(database), await new_user(database)
    mine, theirs = await new_account(database, owner, "JPY", holding="1000"), await new_account(database, other, "JPY")
    for amount in ("300", "50"):
        assert (await move(database, owner, transfer(mine, theirs, amount))).refusal is None
    assert (await move(database, other, transfer(theirs, mine, "5"))).refusal is None
    [statement] = await statements_of_accounts(database, owner, *EVER, [mine])
    assert statement is not None
    assert (statement.currency_code, statement.opening, statement.closing) == ("JPY", 0, 655)
    assert (statement.received, statement.sent, statement.entry_count) == (1005, 350, 4)
    [page] = await entries_of_statements(database, COLUMNS, PageRequest(ENTRIES_ORDER, 3), [statement])
    assert [(row["amount"], row["balance_after"]) for row in page.rows] == [(1000, 1000), (-300, 700), (-50, 650)]


async def test_paging_continues_at_its_position_while_entries_arrive(database: Database) -> None:
    owner = await new_user(database)
    mine, spare = await new_account(database, owner, holding="10.00"), await new_account(database, owner)
    [statement] = await statements_of_accounts(database, owner, *EVER, [mine])
    assert (await move(database, owner, transfer(mine, spare, "1.00"))).refusal is None
    [newer] = await statements_of_accounts(database, owner, *EVER, [mine])
    assert statement is not None
    assert newer is not None
    request = PageRequest(ENTRIES_ORDER, 5, position=(statement.last_id,))
    old, new = await entries_of_statements(database, COLUMNS, request, [statement, newer])
    assert rows_of(old) == []  # the entries of a statement that was read never change
    assert [row[1:] for row in rows_of(new)] == [(-100, 900)]
    assert (old.total, new.total) == (1, 2)


async def test_statement_is_visible_only_to_viewers_of_the_balance(database: Database) -> None:
    owner, other = await new_user(database), await new_user(database)
    account = await new_account(database, owner, holding="1.00")
    for viewer, is_seen in {owner: True, ADMIN: True, other: False, ANONYMOUS: False, Viewer(10**9): False}.items():
        found = await statements_of_accounts(database, viewer, *EVER, [account, 10**9])
        assert [one is not None for one in found] == [is_seen, False]


async def test_statements_of_any_number_of_accounts_are_one_statement_and_their_entries_another(
    books: Books,
) -> None:
    await books.create_entries([(number % 3, 3, 1, number) for number in range(9)])
    counters = books.database.counters
    for accounts in (books.accounts[:1], books.accounts):
        before = counters.statements
        statements = await statements_of_accounts(books.database, ADMIN, day(2), day(7), accounts)
        assert counters.statements == before + 1
        found = [one for one in statements if one is not None]
        await entries_of_statements(books.database, COLUMNS, PageRequest(ENTRIES_ORDER, 2), found)
        assert counters.statements == before + 2


async def test_entry_includes_columns_of_its_transaction(
    database: Database, payer_account: int, payee_account: int
) -> None:
    assert (await move(database, ADMIN, transfer(payer_account, payee_account, "2.00", memo="Lunch"))).refusal is None
    [statement] = await statements_of_accounts(database, ADMIN, *EVER, [payee_account])
    assert statement is not None
    columns = ("amount", "transaction.memo", "transaction.amount", "transaction.currency_code", "transaction.from_id")
    [page] = await entries_of_statements(database, columns, PageRequest(ENTRIES_ORDER, 5), [statement])
    assert [{name: row[name] for name in columns} for row in page.rows] == [
        {
            "amount": 200,
            "transaction.memo": "Lunch",
            "transaction.amount": 200,
            "transaction.currency_code": "EUR",
            "transaction.from_id": payer_account,
        }
    ]
    assert "balance_after" not in page.columns


async def test_statement_shows_a_list_of_transfers_in_its_order_and_no_overdraft(database: Database) -> None:
    owner = await new_user(database)
    first, second, third = [await new_account(database, owner, holding=held) for held in ("1.00", "0", "0")]
    # The same euro goes round: each transfer spends what the previous one brought.
    circle = [transfer(first, second, "1.00"), transfer(second, third, "1.00"), transfer(third, first, "1.00")] * 5
    transfers = [replace(one, key=uuid.uuid4()) for one in circle]
    outcomes = await settle_batch(database, owner, ("id",), transfers, is_one=True)
    assert [outcome.refusal for outcome in outcomes] == [None] * 15
    found = await statements_of_accounts(database, owner, *EVER, [first, second, third])
    statements = [one for one in found if one is not None]
    lists = await read_page_by_page(database, statements, 4, backward=True)
    assert [[after for *_, after in rows] for rows in lists] == [[100, *[0, 100] * 5], [100, 0] * 5, [100, 0] * 5]


async def test_sums_that_no_bigint_holds_are_exact(books: Books) -> None:
    # Ten thousand times there and back: the turnover is more than a bigint holds.
    once = [(0, 1, 10**15, 1), (1, 0, 10**15, 1)]
    await books.create_entries(once * 10_000)
    statement = (await read(books, 0, 2))[0]
    assert (statement.received, statement.sent, statement.closing) == (10**19, 10**19, 0)
    assert (await read(books, 2, 3))[0].opening == 0


async def test_nothing_is_read_for_no_accounts(database: Database) -> None:
    assert await statements_of_accounts(database, ADMIN, *EVER, []) == []
    assert await entries_of_statements(database, COLUMNS, PageRequest(ENTRIES_ORDER, 5), []) == []


async def test_entries_read_later_are_those_of_the_statement_while_transfers_race(database: Database) -> None:
    owner = await new_user(database)
    accounts = [await new_account(database, owner, holding="100.00") for _ in range(3)]
    finished = asyncio.Event()

    async def moved(source: int, target: int) -> None:
        while not finished.is_set():
            assert (await move(database, owner, transfer(source, target, "0.01"))).refusal is None

    async with asyncio.TaskGroup() as group:
        for source, target in itertools.permutations(accounts, 2):
            group.create_task(moved(source, target))
        counts = set()
        for _ in range(40):
            # No snapshot: each read is a separate transaction, and others commit in between.
            found = await statements_of_accounts(database, owner, *EVER, accounts)
            statements = [one for one in found if one is not None]
            for statement, rows in zip(
                statements, await read_page_by_page(database, statements, 500, backward=False), strict=True
            ):
                assert len(rows) == statement.entry_count
                assert rows[-1][2] == statement.closing
                counts.add(len(rows))
        finished.set()
    assert len(counts) > 10  # transfers were made


async def test_deposits_and_transfers_keep_their_order_of_ids_in_every_statement(database: Database) -> None:
    owner = await new_user(database)
    account = await new_account(database, owner)
    for amount in ("1.00", "2.00", "3.00"):
        assert (await move(database, ADMIN, deposit(account, amount))).refusal is None
    [statement] = await statements_of_accounts(database, owner, *EVER, [account])
    assert statement is not None
    [page] = await entries_of_statements(database, COLUMNS, PageRequest(ENTRIES_ORDER, 5), [statement])
    assert [row[1:] for row in rows_of(page)] == [(100, 100), (200, 300), (300, 600)]
