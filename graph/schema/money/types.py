"""Accounts, transactions and account statements: the types."""

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated

import strawberry

from db.connections.statements import Row
from db.fields import MEMO
from db.money import from_minor
from db.repositories import account_statements as bookkeeping
from db.repositories.transactions import TRANSACTIONS, TRANSACTIONS_ORDER
from graph.analysis.cost import COUNT, PAGE, STATEMENT
from graph.errors import BadInput
from graph.execution import BoundEdge
from graph.runtime.context import Info, columns_below
from graph.schema.connections import (
    After,
    Before,
    Connection,
    First,
    Last,
    PageArguments,
    list_of_entries,
)
from graph.schema.fields import column, computed, edge, identity, node_edge
from graph.schema.ids import NodeKind
from graph.schema.nodes import Node, row_backed
from graph.schema.row_lists import plain_edge
from graph.schema.scalars import CurrencyCode
from graph.schema.users.types import User


@strawberry.type(description="An amount of money of one currency.")
class Money:
    """A decimal amount, with the number of fraction digits of its currency."""

    amount: Decimal = strawberry.field(description="In major units, with the currency's fraction digits.")
    currency_code: CurrencyCode = strawberry.field(description="The currency.")

    @classmethod
    def of_minor(cls, minor: int, currency_code: str) -> "Money":
        """Return the money for a number of minor units."""
        return cls(amount=from_minor(minor, currency_code), currency_code=CurrencyCode(currency_code))


def _balance(row: Row) -> Money | None:
    balance = row["balance"]
    return None if balance is None else Money.of_minor(balance, row["currency_code"])


def _statement(
    info: Info,
    from_: Annotated[
        datetime.datetime,
        strawberry.argument(name="from", description="When it begins: what was made at this instant is in it."),
    ],
    to: Annotated[
        datetime.datetime,
        strawberry.argument(
            description="When it ends: what was made at this instant is not in it. Not before `from`; it may lie "
            "in the future."
        ),
    ],
) -> BoundEdge:
    if from_ > to:
        raise BadInput("from should be before to or equal to it; exchange the two")
    return BoundEdge(info.context.loaders.statement_by_account(from_, to))


@row_backed
@strawberry.type(description="Money of one currency that belongs to one user.")
class Account(Node):
    """A row of `accounts`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(NodeKind.ACCOUNT)
    # Never missing: a user who owns an account is not deleted.
    owner: User = node_edge("owner_id", NodeKind.USER, User, "Whose it is.")
    currency_code: CurrencyCode = column("currency_code", "The one currency that it holds.")
    balance: Money | None = computed(
        _balance,
        ("balance", "currency_code"),
        "Never below zero, but for the accounts that money comes in from. All that one operation reads of accounts is "
        "of one moment. Null unless the viewer owns this account or is an administrator.",
    )
    created_at: datetime.datetime = column("created_at", "When it was opened.")
    transactions: Connection["Transaction"] = plain_edge(
        TRANSACTIONS,
        "Transaction",
        TRANSACTIONS_ORDER,
        "Transactions from or to this account, newest first. Empty unless the viewer may see the balance.",
    )
    statement: "AccountStatement | None" = edge(
        "id",
        _statement,
        "What was received and sent between two instants, with the balance before, after and at each entry. Null "
        "unless the viewer may see the balance.",
        made=lambda row: AccountStatement(row=row),
        directives=[STATEMENT],
    )


def _counterparty(info: Info) -> BoundEdge:
    # Never missing: an account with a transaction is not deleted.
    return BoundEdge(info.context.loaders.counterparty_by_id(columns_below(info, "Account", "id")))


def _amount(row: Row) -> Money:
    return Money.of_minor(row["amount"], row["currency_code"])


@row_backed
@strawberry.type(
    description="One row of the ledger: `amount` left `from` and arrived at `to`, both or neither. It never changes "
    "and is never deleted; the balance of an account is what its transactions add up to."
)
class Transaction(Node):
    """A row of `transactions`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(NodeKind.TRANSACTION)
    from_: Account = edge(
        "from_id",
        _counterparty,
        "Where the money came from; its balance only for those who may see it.",
        made=lambda row: Account(row=row),
        name="from",
    )
    to: Account = edge(
        "to_id",
        _counterparty,
        "Where it went; its balance only for those who may see it.",
        made=lambda row: Account(row=row),
    )
    amount: Money = computed(_amount, ("amount", "currency_code"), "How much, in the currency of both accounts.")
    memo: str | None = column("memo", "What it is for, as the sender wrote it.", longest=MEMO.length_max)
    created_at: datetime.datetime = column("created_at", "When it was made.")


# ---------------------------------------------------------------- statements


def _of_statement(minor: Callable[[bookkeeping.AccountStatement], int]) -> Callable[[Row], Money]:
    def money(row: Row) -> Money:
        statement: bookkeeping.AccountStatement = row["statement"]
        return Money.of_minor(minor(statement), statement.currency_code)

    return money


def _entries(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> BoundEdge:
    request = PageArguments(first, after, last, before).request(info, bookkeeping.ENTRIES_ORDER)
    loaded = info.context.loaders.entries_by_statement
    return list_of_entries(info, loaded, "StatementEntry", request)


@row_backed
@strawberry.type(
    description="What happened on one account between two instants. `openingBalance` and the amounts of all `entries` "
    "add up to `closingBalance`. Entries stand in the order in which they changed the balance. The statement begins "
    "with the first entry that was made at `from` or later, and ends before the first that was made at `to` or later. "
    "So statements of neighbouring times have each entry once, and one closes with the balance that the next opens "
    "with, even if the server's clock was put back in between."
)
class AccountStatement:
    """An account statement for a span of time, in the column `statement` (`db.repositories.account_statements`)."""

    row: strawberry.Private[Row]

    opening_balance: Money = computed(
        _of_statement(lambda one: one.opening), ("statement",), "The balance before the first entry."
    )
    closing_balance: Money = computed(
        _of_statement(lambda one: one.closing), ("statement",), "The balance after the last entry."
    )
    received: Money = computed(
        _of_statement(lambda one: one.received), ("statement",), "The sum of what came in; zero where nothing did."
    )
    sent: Money = computed(
        _of_statement(lambda one: one.sent),
        ("statement",),
        "The sum of what went out, as a positive amount; zero where nothing did.",
    )
    entries: Connection["StatementEntry"] = edge(
        "statement",
        _entries,
        "What came in and went out, oldest first.",
        joins=True,
        directives=[PAGE, COUNT],
    )


def _transaction_of_entry(info: Info) -> BoundEdge:
    # Never missing: a viewer who may see a statement may see its transactions, and transactions are never deleted.
    return BoundEdge(info.context.loaders.transaction_by_id(columns_below(info, "Transaction", "id")))


def _balance_after(row: Row) -> Money:
    return Money.of_minor(row[bookkeeping.BALANCE_AFTER], row["currency_code"])


@row_backed
@strawberry.type(description="A transaction from or to an account, as its statement shows it.")
class StatementEntry:
    """A transaction seen from one of its accounts."""

    row: strawberry.Private[Row]

    transaction: Transaction = edge(
        "id",
        _transaction_of_entry,
        "The transaction itself.",
        made=lambda row: Transaction(row=row),
        joined=bookkeeping.TRANSACTION,
    )
    amount: Money = computed(
        _amount, ("amount", "currency_code"), "What it changed the balance by: negative where money left the account."
    )
    balance_after: Money = computed(
        _balance_after, (bookkeeping.BALANCE_AFTER, "currency_code"), "What the account held after it."
    )
