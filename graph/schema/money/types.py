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
)
from graph.schema.fields import column, computed, edge, identity, node_edge
from graph.schema.ids import NodeKind
from graph.schema.list_bindings import PageArguments, list_of_entries
from graph.schema.nodes import Node, row_backed
from graph.schema.row_lists import plain_edge
from graph.schema.scalars import CurrencyCode
from graph.schema.users.types import User


@strawberry.type(description="An amount of money in one currency.")
class Money:
    """A decimal amount, with the number of fraction digits of its currency."""

    amount: Decimal = strawberry.field(
        description=("The amount in the major unit of the currency, with all of its fraction digits.")
    )
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
        strawberry.argument(name="from", description="The start of the period, inclusive."),
    ],
    to: Annotated[
        datetime.datetime,
        strawberry.argument(
            description="The end of the period, exclusive. It must not be before `from`, and may be in the future."
        ),
    ],
) -> BoundEdge:
    if from_ > to:
        raise BadInput("from should be before to or equal to it; exchange the two")
    return BoundEdge(info.context.loaders.statement_by_account(from_, to))


@row_backed
@strawberry.type(description="An account of one user in one currency.")
class Account(Node):
    """A row of `accounts`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(NodeKind.ACCOUNT)
    # Never missing: a user who owns an account is not deleted.
    owner: User = node_edge("owner_id", NodeKind.USER, User, "The user who owns the account.")
    currency_code: CurrencyCode = column("currency_code", "The currency of the account.")
    balance: Money | None = computed(
        _balance,
        ("balance", "currency_code"),
        (
            "The current balance. It is never below zero, except on the system accounts, from which deposits "
            "come. One query reads all balances and transactions from the same snapshot. Null unless the "
            "viewer owns this account or is an administrator."
        ),
    )
    created_at: datetime.datetime = column("created_at", "When the account was opened.")
    transactions: Connection["Transaction"] = plain_edge(
        TRANSACTIONS,
        "Transaction",
        TRANSACTIONS_ORDER,
        "Transactions from or to this account, newest first. Empty unless the viewer may see the balance.",
    )
    statement: "AccountStatement | None" = edge(
        "id",
        _statement,
        (
            "The transactions between two instants, with the balance before and after the period and after "
            "each entry. Null unless the viewer may see the balance."
        ),
        made=lambda row: AccountStatement(row=row),
        directives=[STATEMENT],
    )


def _counterparty(info: Info) -> BoundEdge:
    # Never missing: an account with a transaction is not deleted.
    return BoundEdge(info.context.loaders.rows("counterparty_by_id", columns_below(info, "Account", "id")))


def _amount(row: Row) -> Money:
    return Money.of_minor(row["amount"], row["currency_code"])


@row_backed
@strawberry.type(
    description=(
        "One row of the ledger: the movement of `amount` from `from` to `to`. A transaction never changes "
        "and is never deleted. The balance of an account is the sum of its transactions."
    )
)
class Transaction(Node):
    """A row of `transactions`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(NodeKind.TRANSACTION)
    from_: Account = edge(
        "from_id",
        _counterparty,
        "The sending account. Its balance is null unless the viewer may see it.",
        made=lambda row: Account(row=row),
        name="from",
    )
    to: Account = edge(
        "to_id",
        _counterparty,
        "The receiving account. Its balance is null unless the viewer may see it.",
        made=lambda row: Account(row=row),
    )
    amount: Money = computed(_amount, ("amount", "currency_code"), "The amount, in the currency of both accounts.")
    memo: str | None = column("memo", "The purpose, as the sender wrote it.", longest=MEMO.length_max)
    created_at: datetime.datetime = column("created_at", "When the transaction was made.")


# ---------------------------------------------------------------- statements


def _of_statement(minor: Callable[[bookkeeping.AccountStatement], int]) -> Callable[[Row], Money]:
    def money(row: Row) -> Money:
        statement: bookkeeping.AccountStatement = row["statement"]
        return Money.of_minor(minor(statement), statement.currency_code)

    return money


def _entries(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> BoundEdge:
    loaded, order = info.context.loaders.entries_by_statement, bookkeeping.ENTRIES_ORDER
    return list_of_entries(info, loaded, "StatementEntry", order, PageArguments(first, after, last, before))


@row_backed
@strawberry.type(
    description=(
        "The transactions of one account between two instants. `openingBalance` plus the amounts of all "
        "`entries` is `closingBalance`. The entries are in the order in which they changed the balance. "
        "The statement begins with the first entry that was made at `from` or later, and ends before the "
        "first entry that was made at `to` or later. Statements of adjacent periods therefore contain "
        "each entry once. The closing balance of one is the opening balance of the next, even if the "
        "server's clock was set back in between."
    )
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
        _of_statement(lambda one: one.received),
        ("statement",),
        ("The sum of the incoming amounts. Zero if there are none."),
    )
    sent: Money = computed(
        _of_statement(lambda one: one.sent),
        ("statement",),
        "The sum of the outgoing amounts, as a positive amount. Zero if there are none.",
    )
    entries: Connection["StatementEntry"] = edge(
        "statement",
        _entries,
        "The transactions from and to the account, oldest first.",
        joins=True,
        directives=[PAGE, COUNT],
    )


def _transaction_of_entry(info: Info) -> BoundEdge:
    # Never missing: a viewer who may see a statement may see its transactions, and transactions are never deleted.
    return BoundEdge(info.context.loaders.rows("transaction_by_id", columns_below(info, "Transaction", "id")))


def _balance_after(row: Row) -> Money:
    return Money.of_minor(row[bookkeeping.BALANCE_AFTER], row["currency_code"])


@row_backed
@strawberry.type(description="One transaction from or to an account, as the account's statement shows it.")
class StatementEntry:
    """A transaction seen from one of its accounts."""

    row: strawberry.Private[Row]

    transaction: Transaction = edge(
        "id",
        _transaction_of_entry,
        "The transaction.",
        made=lambda row: Transaction(row=row),
        joined=bookkeeping.TRANSACTION,
    )
    amount: Money = computed(
        _amount, ("amount", "currency_code"), "The change of the balance. Negative if the account is the sender."
    )
    balance_after: Money = computed(
        _balance_after, (bookkeeping.BALANCE_AFTER, "currency_code"), "The balance after the transaction."
    )
