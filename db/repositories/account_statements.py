"""Statements of accounts: the entries within a time span, and the balance before, after and at each entry.

The ids of an account's entries ascend in the order in which they changed its balance. Their times do so only while no
clock is set back. A time span is therefore turned into a range of ids: from the first entry that was made at its
beginning or later, up to but without the first that was made at its end or later. Neighbouring spans are neighbouring
ranges, whatever the clock did: every entry is in exactly one of them, and the closing balance of one is the opening
balance of the next.

A range that was read never changes. An id is assigned while both accounts are locked. Therefore no entry is ever added
between two visible ones, and none is changed. A later read of a range returns the same entries.
"""

import datetime
from collections.abc import Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple

from asyncpg import Record
from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    SQLColumnExpression,
    any_,
    bindparam,
    column,
    func,
    literal_column,
    select,
    true,
)

from db.access import AccessLevel, Viewer
from db.connections.statements import KEYS, KEYS_ARRAY, Reader, Statement, bigint_array
from db.models.money import Account, Transaction
from db.query.cursors import BIGINT_MAX, Order
from db.query.list_statements import as_arrays, cut, hidden, merge
from db.query.pages import Columns, Page, PageRequest, PageShape, page_of
from db.query.statement_cache import statements
from db.repositories.accounts import balance_visible
from db.repositories.transactions import ID, project

ENTRIES_ORDER = Order("statement_entries", [(ID, False)])
TRANSACTION = "transaction."
"""The prefix of the columns of an entry's transaction: `transaction.memo`."""

BALANCE_AFTER = "balance_after"


class AccountStatement(NamedTuple):
    """One account over one time span. Amounts are in minor units of its currency.

    Attributes:
        received: the sum of the incoming amounts within the span.
        sent: the sum of the outgoing amounts within the span.
        first_id: the id of the first entry; if there is none, an id above `last_id`.
    """

    account_id: int
    currency_code: str
    opening: int
    received: int
    sent: int
    first_id: int
    last_id: int
    entry_count: int

    @property
    def closing(self) -> int:
        """The balance at the end of the span."""
        return self.opening + self.received - self.sent


async def statements_of_accounts(
    reader: Reader, viewer: Viewer, since: datetime.datetime, until: datetime.datetime, account_ids: Sequence[int]
) -> list[AccountStatement | None]:
    """Return the statement of each account from `since` up to but without `until`, with one SQL statement.

    They are in the order of `account_ids`. If the viewer may not see the balance of an account, its place holds None.
    `since` must not be after `until`.
    """
    values = {KEYS: account_ids, "since": since, "until": until, "viewer_id": viewer.user_id}
    rows = await reader.fetch(_statements_of_accounts(viewer.access_level), values)
    by_account = {row["account_id"]: _from_row(row) for row in rows}
    return [by_account.get(account_id) for account_id in account_ids]


def _from_row(row: Record) -> AccountStatement:
    return AccountStatement(
        account_id=row["account_id"],
        currency_code=row["currency_code"],
        # A sum of bigints is a numeric: the sum over all time may exceed a bigint.
        opening=int(row["ever_received"] - row["received"] - row["ever_sent"] + row["sent"]),
        received=int(row["received"]),
        sent=int(row["sent"]),
        first_id=row["first_id"],
        last_id=row["last_id"],
        entry_count=row["received_count"] + row["sent_count"],
    )


async def entries_of_statements(
    reader: Reader, columns: Columns, request: PageRequest, of: Sequence[AccountStatement]
) -> list[Page]:
    """Return a page of the entries of each statement, oldest first, in the order of `of`, with one SQL statement.

    Rights are not checked again: a viewer that has a statement may see its entries.

    Each page has the columns `id` (of the transaction), `amount` (negative if money left the account) and
    `currency_code`. If `columns` name them, it also has `balance_after` and columns of the transaction, with the prefix
    `TRANSACTION`. It contains the number of the statement's entries and whether entries lie behind the page.
    """
    kind, with_balance = request.kind, BALANCE_AFTER in columns
    read = ("id", "amount", *(name for name in columns if name.startswith(TRANSACTION)))
    values = {
        **request.parameters(),
        "account_ids": [one.account_id for one in of],
        "first_ids": [one.first_id for one in of],
        "last_ids": [one.last_id for one in of],
    }
    rows = await reader.fetch(_entries(read, kind.shape, with_balance), values)
    pages = []
    for statement, (_, passed, *arrays) in zip(of, sorted(rows, key=itemgetter("number")), strict=True):
        page = page_of(read, kind, arrays)
        page.total = statement.entry_count
        page.behind = _is_behind(statement, request)
        page.columns = {**page.columns, "currency_code": [statement.currency_code] * page.size}
        if with_balance:
            page.columns |= {BALANCE_AFTER: _balances(page.columns["amount"], statement, request, passed)}
        pages.append(page)
    return pages


def _is_behind(statement: AccountStatement, request: PageRequest) -> bool:
    """Return whether entries lie at the position of a page, or on the side of it that the page does not show."""
    if request.position is None or not statement.entry_count:
        return False
    (position,) = request.position
    assert isinstance(position, int)
    return position <= statement.last_id if request.backward else position >= statement.first_id


def _balances(
    amounts: Sequence[int], statement: AccountStatement, request: PageRequest, passed: int | None
) -> list[int]:
    """Return the balance after each entry of a page.

    `passed` is the sum of the statement's entries up to the position of the page; None without a position.
    """
    if passed is not None:
        edge = statement.opening + int(passed)
    else:
        edge = statement.closing if request.backward else statement.opening
    before = edge - sum(amounts) if request.backward else edge
    return list(accumulate(amounts, initial=before))[1:]


# ---------------------------------------------------------------- statements

_ENDS = (Transaction.from_id, Transaction.to_id)
_ZERO: ColumnElement[int] = literal_column("0", Integer)
_ONE: ColumnElement[int] = literal_column("1", Integer)


@statements
def _statements_of_accounts(access_level: AccessLevel) -> Statement:
    """Turn the span into a range of ids for each account, and add up the entries before the range and in it.

    Each step is materialized. Otherwise PostgreSQL copies the search for an end of the range to each place that refers
    to it, and searches again for each entry.
    """
    begun = (
        select(Account.id, Account.currency_code, _first_since("since", "accounts").label("first_id"))
        .where(Account.id == any_(KEYS_ARRAY), *map(hidden, balance_visible(access_level)))
        .cte("begun")
        .prefix_with("MATERIALIZED")
    )
    # The end of the span is not before its beginning, and so its range ends there or later: the search starts there.
    ended = (
        select(begun, _first_since("until", "begun", Transaction.id >= _of("begun", "first_id")).label("end_id"))
        .cte("runs")
        .prefix_with("MATERIALIZED")
    )
    sent, received = (_sums(end).lateral(name) for end, name in zip(_ENDS, ("sent", "received"), strict=True))
    return Statement(
        select(
            ended.c.id.label("account_id"),
            ended.c.currency_code,
            ended.c.first_id,
            func.coalesce(func.greatest(received.c.last_id, sent.c.last_id), _ZERO).label("last_id"),
            received.c.ever.label("ever_received"),
            sent.c.ever.label("ever_sent"),
            received.c.within.label("received"),
            sent.c.within.label("sent"),
            received.c.count.label("received_count"),
            sent.c.count.label("sent_count"),
        ).select_from(ended.join(sent, true()).join(received, true()))
    )


def _of(table: str, name: str) -> ColumnElement[Any]:
    """Return a column of an enclosing FROM as a literal name; a mapped column would be added to every subquery."""
    return literal_column(f"{table}.{name}", BigInteger)


def _first_since(instant: str, table: str, *others: ColumnElement[bool]) -> ColumnElement[Any]:
    """Return the id of the first entry that was made at an instant or later, or the maximum id if there is none."""
    since = Transaction.created_at >= bindparam(instant, type_=TIMESTAMP(timezone=True))
    candidates = [
        select(Transaction.id)
        .where(end == _of(table, "id"), since, *others)
        .order_by(Transaction.id)
        .limit(_ONE)
        .scalar_subquery()
        for end in _ENDS
    ]
    return func.coalesce(func.least(*candidates), literal_column(str(BIGINT_MAX), BigInteger))


def _sums(end: SQLColumnExpression[int]) -> Select[int, int, int, int]:
    """Return the sums of one side of the ledger: up to the end of a range, and within the range."""
    is_within = Transaction.id >= _of("runs", "first_id")
    total = func.sum(Transaction.amount)
    return select(
        func.coalesce(total, _ZERO).label("ever"),
        func.coalesce(total.filter(is_within), _ZERO).label("within"),
        func.count().filter(is_within).label("count"),
        func.max(Transaction.id).label("last_id"),
    ).where(end == _of("runs", "id"), Transaction.id < _of("runs", "end_id"))


@statements
def _entries(columns: Columns, shape: PageShape, with_balance: bool) -> Statement:
    """Return the statement of a page for each range: number, `_sum_before_page` or null, and arrays."""
    runs = (
        func.unnest(bigint_array("account_ids"), bigint_array("first_ids"), bigint_array("last_ids"))
        .table_valued(
            column("account_id", BigInteger),
            column("first_id", BigInteger),
            column("last_id", BigInteger),
            with_ordinality="number",
            name="runs",
        )
        .render_derived(name="runs")
    )
    in_run = Transaction.id.between(_of("runs", "first_id"), _of("runs", "last_id"))
    parts = []
    for end in _ENDS:
        amount = -Transaction.amount if end is Transaction.from_id else Transaction.amount
        joined = tuple(name.removeprefix(TRANSACTION) for name in columns if name.startswith(TRANSACTION))
        rows = select(ID.expression, amount.label("amount"), *project(joined, AccessLevel.ADMIN, TRANSACTION))
        parts.append(cut(rows.where(end == _of("runs", "account_id"), in_run), shape))
    page = as_arrays(merge(parts, shape), columns).lateral("page")
    passed = _sum_before_page(in_run, shape) if with_balance and shape.continues else literal_column("NULL")
    return Statement(select(runs.c.number, passed, page).select_from(runs.join(page, true())))


def _sum_before_page(in_run: ColumnElement[bool], shape: PageShape) -> ColumnElement[Any]:
    """Return the sum of a range's entries up to the position of a page."""
    position = bindparam("position_0", type_=BigInteger)
    is_ahead = Transaction.id < position if shape.backward else Transaction.id <= position
    sent, received = (
        select(func.coalesce(func.sum(Transaction.amount), _ZERO))
        .where(end == _of("runs", "account_id"), in_run, is_ahead)
        .scalar_subquery()
        for end in _ENDS
    )
    return received - sent
