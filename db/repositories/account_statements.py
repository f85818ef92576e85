"""Statements of accounts: what came and went within a span of time, with the balance before, after and at each entry.

The ids of an account's entries rise in the order in which they changed its balance; their instants do so only as long
as nobody puts the clock back. A span of time is therefore turned into a run of ids: from the first entry that was made
at its beginning or later, up to but without the first that was made at its end or later. Neighbouring spans are
neighbouring runs, whatever the clock did: no entry is in both or in neither, and the closing balance of the one is the
opening balance of the other.

A run that was read stays as it is. An id is drawn while both accounts are locked, so no entry is ever added between two
that others can see, and none is changed. The entries of a run are the same at each later read.
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
"""What heads the columns of an entry's transaction: `transaction.memo`."""

BALANCE_AFTER = "balance_after"


class AccountStatement(NamedTuple):
    """One account over one span of time; money is in minor units of its currency.

    Attributes:
        received: what came in within the span, together.
        sent: what went out.
        first_id: the first entry; where there is none, an id behind `last_id`.
        last_id: the last entry.
        entry_count: how many entries there are.
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
    """Return the statement of each account from `since` up to but without `until`, by one SQL statement.

    They are in the order of `account_ids`; None stands for an account whose balance the viewer may not see. `since` is
    not after `until`.
    """
    values = {KEYS: account_ids, "since": since, "until": until, "viewer_id": viewer.user_id}
    rows = await reader.fetch(_statements_of_accounts(viewer.access_level), values)
    found = {row["account_id"]: _of_row(row) for row in rows}
    return [found.get(account_id) for account_id in account_ids]


def _of_row(row: Record) -> AccountStatement:
    return AccountStatement(
        account_id=row["account_id"],
        currency_code=row["currency_code"],
        # A sum of bigints is a numeric: all that ever came and went may be more than a bigint holds.
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
    """Return a page of the entries of each statement, oldest first, in the order of `of`, by one SQL statement.

    Rights are not checked again: a viewer who has a statement may see its entries.

    Each page has the columns `id` (of the transaction), `amount` (negative where money left the account) and
    `currency_code`. Where `columns` name them, it also has `balance_after` and columns of the transaction, headed by
    `TRANSACTION`. It knows how many entries the statement has and whether any lie behind the page.
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
    """Say whether entries lie at the position of a page or on the side of it that the page does not show."""
    if request.position is None or not statement.entry_count:
        return False
    (position,) = request.position
    assert isinstance(position, int)
    return position <= statement.last_id if request.backward else position >= statement.first_id


def _balances(
    amounts: Sequence[int], statement: AccountStatement, request: PageRequest, passed: int | None
) -> list[int]:
    """Return the balance after each entry of a page.

    `passed` is what the entries of the statement up to the position of the page add up to; None without a position.
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
    """Turn the span into a run of ids for each account, and add up what lies before the run and in it.

    Each step is materialized. Otherwise PostgreSQL copies the search for an end of the run to each place that refers to
    it, and searches again for each entry.
    """
    begun = (
        select(Account.id, Account.currency_code, _first_since("since", "accounts").label("first_id"))
        .where(Account.id == any_(KEYS_ARRAY), *map(hidden, balance_visible(access_level)))
        .cte("begun")
        .prefix_with("MATERIALIZED")
    )
    # The end is at or after the beginning in time, and so in the ledger: the search goes on from there.
    ended = (
        select(begun, _first_since("until", "begun", Transaction.id >= _of("begun", "first_id")).label("end_id"))
        .cte("runs")
        .prefix_with("MATERIALIZED")
    )
    sent, received = (_added_up(end).lateral(name) for end, name in zip(_ENDS, ("sent", "received"), strict=True))
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
    """Return a column of an enclosing FROM, by its name: as the alias's column it would be added to every subquery."""
    return literal_column(f"{table}.{name}", BigInteger)


def _first_since(instant: str, table: str, *others: ColumnElement[bool]) -> ColumnElement[Any]:
    """Return the id of the first entry that was made at an instant or later; behind all ids where there is none."""
    since = Transaction.created_at >= bindparam(instant, type_=TIMESTAMP(timezone=True))
    found = [
        select(Transaction.id)
        .where(end == _of(table, "id"), since, *others)
        .order_by(Transaction.id)
        .limit(_ONE)
        .scalar_subquery()
        for end in _ENDS
    ]
    return func.coalesce(func.least(*found), literal_column(str(BIGINT_MAX), BigInteger))


def _added_up(end: SQLColumnExpression[int]) -> Select[int, int, int, int]:
    """Return what one side of the ledger adds up to until the end of a run, and of that what lies in the run."""
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
    """Return the statement of a page for each run: a record of its number, what `_passed` says or null, and arrays."""
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
    passed = _passed(in_run, shape) if with_balance and shape.continues else literal_column("NULL")
    return Statement(select(runs.c.number, passed, page).select_from(runs.join(page, true())))


def _passed(in_run: ColumnElement[bool], shape: PageShape) -> ColumnElement[Any]:
    """Return what the entries of a run up to the position of a page add up to."""
    position = bindparam("position_0", type_=BigInteger)
    is_ahead = Transaction.id < position if shape.backward else Transaction.id <= position
    sent, received = (
        select(func.coalesce(func.sum(Transaction.amount), _ZERO))
        .where(end == _of("runs", "account_id"), in_run, is_ahead)
        .scalar_subquery()
        for end in _ENDS
    )
    return received - sent
