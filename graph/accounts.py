"""Accounts and transactions in the schema: the types, and the queries that read them.

What opens accounts and moves money is in `graph.money_mutations`.
"""

import datetime
import uuid
from decimal import Decimal
from typing import Annotated

import strawberry

from db import transactions as ledger
from db.money import from_minor
from db.statements import Row
from db.transactions import MEMO_LENGTH_MAX, TRANSACTIONS, TRANSACTIONS_ORDER
from graph.connections import After, Before, Connection, First, Last, PageArguments, list_of_parent
from graph.context import Info, columns_below
from graph.cost import PAGE
from graph.execution import Loading
from graph.fields import column, computed, edge, found, identity
from graph.ids import Kind, parse
from graph.nodes import Node
from graph.scalars import CurrencyCode
from graph.users import User


@strawberry.type(description="An amount of money of one currency.")
class Money:
    """A decimal amount, in the currency's own number of fraction digits."""

    amount: Decimal = strawberry.field(description="In major units, with the currency's fraction digits.")
    currency_code: CurrencyCode = strawberry.field(description="The currency.")

    @classmethod
    def of_minor(cls, minor: int, currency_code: str) -> "Money":
        """Make the money that so many minor units are."""
        return cls(amount=from_minor(minor, currency_code), currency_code=CurrencyCode(currency_code))


def _owner(info: Info) -> Loading:
    # Never missing: a user who owns an account is not deleted.
    return Loading(info.context.loaders.user_by_id(columns_below(info, "User", "id")))


def _balance(row: Row) -> Money | None:
    balance = row["balance"]
    return None if balance is None else Money.of_minor(balance, row["currency_code"])


def _transactions(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Loading:
    request = PageArguments(first, after, last, before).request(info, TRANSACTIONS_ORDER)
    return list_of_parent(info, TRANSACTIONS, "Transaction", {}, request, lambda row: Transaction(row=row))


@strawberry.type(description="Money of one currency that belongs to one user.")
class Account(Node):
    """A row of `accounts`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(Kind.ACCOUNT, "Globally unique and opaque; the same object always has the same id.")
    owner: User = edge("owner_id", _owner, "Whose it is.", made=lambda row: User(row=row))
    currency_code: CurrencyCode = column("currency_code", "The one currency that it holds.")
    balance: Money | None = computed(
        _balance, ("balance", "currency_code"), "Null unless the viewer owns this account or is an administrator."
    )
    created_at: datetime.datetime = column("created_at", "When it was opened.")
    transactions: Connection["Transaction"] = edge(
        "id",
        _transactions,
        "Transactions from or to this account, newest first. Empty unless the viewer may see the balance.",
        directives=[PAGE],
    )


def _far_end(info: Info) -> Loading:
    # Never missing: an account with a transaction is not deleted.
    return Loading(info.context.loaders.far_end_by_id(columns_below(info, "Account", "id")))


def _amount(row: Row) -> Money:
    return Money.of_minor(row["amount"], row["currency_code"])


@strawberry.type(
    description="One immutable row of the ledger: `amount` left `from` and arrived at `to`, both or neither."
)
class Transaction(Node):
    """A row of `transactions`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(
        Kind.TRANSACTION, "Globally unique and opaque; the same object always has the same id."
    )
    from_: Account = edge(
        "from_id",
        _far_end,
        "Where the money came from; its balance only for those who may see it.",
        made=lambda row: Account(row=row),
        name="from",
    )
    to: Account = edge(
        "to_id",
        _far_end,
        "Where it went; its balance only for those who may see it.",
        made=lambda row: Account(row=row),
    )
    amount: Money = computed(_amount, ("amount", "currency_code"), "How much, in the currency of both accounts.")
    memo: str | None = column("memo", "What it is for, as the sender wrote it.", longest=MEMO_LENGTH_MAX)
    created_at: datetime.datetime = column("created_at", "When it was made.")


# ---------------------------------------------------------------- queries


async def account_of_id(info: Info, account_id: int) -> Account | None:
    """Return the account with this row id where the viewer may see it, with the columns that the selection needs."""
    row = await info.context.loaders.account_by_id(columns_below(info, "Account", "id")).load(account_id)
    return None if row is None else Account(row=row)


def _account(
    info: Info, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The account's id.")]
) -> Loading:
    loader = info.context.loaders.account_by_id(columns_below(info, "Account", "id"))
    return Loading(loader, key=parse(id_, Kind.ACCOUNT, "id"))


async def transaction_of_id(info: Info, transaction_id: int) -> Transaction | None:
    """Return the transaction with this row id where the viewer may see it, with the columns that are needed."""
    columns = columns_below(info, "Transaction", "id")
    row = await info.context.loaders.transaction_by_id(columns).load(transaction_id)
    return None if row is None else Transaction(row=row)


def _transaction(
    info: Info, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The transaction's id.")]
) -> Loading:
    loader = info.context.loaders.transaction_by_id(columns_below(info, "Transaction", "id"))
    return Loading(loader, key=parse(id_, Kind.TRANSACTION, "id"))


async def transaction_by_idempotency_key(
    info: Info, key: Annotated[uuid.UUID, strawberry.argument(description="A key that the viewer has used.")]
) -> Transaction | None:
    """Return what was made under a key of the viewer's own."""
    context = info.context
    if context.viewer.user_id is None:
        return None
    columns = columns_below(info, "Transaction", "id")
    row = await ledger.transaction_by_key(context.reader, context.viewer, columns, key)
    return None if row is None else Transaction(row=row)


@strawberry.type
class MoneyQueries:
    """The queries that read accounts and the ledger."""

    account: Account | None = found(
        _account, "The account with this id; null where the viewer can see none.", lambda row: Account(row=row)
    )
    transaction: Transaction | None = found(
        _transaction,
        "The transaction with this id; null where the viewer can see none.",
        lambda row: Transaction(row=row),
    )
    transaction_by_idempotency_key: Transaction | None = strawberry.field(
        resolver=transaction_by_idempotency_key,
        description="What became of a transfer whose answer was lost; looks only among the viewer's own keys.",
    )
