"""Accounts and transactions in the schema: the types, and the queries that read them.

What opens accounts and moves money is in `graph.money_mutations`.
"""

import datetime
import uuid
from decimal import Decimal
from typing import Annotated

import strawberry
from asyncpg import Record

from db import transactions as ledger
from db.money import from_minor
from db.transactions import TRANSACTIONS, TRANSACTIONS_ORDER
from graph.connections import After, Before, Connection, First, Last, PageArguments, list_of_parent
from graph.context import Info, columns_below
from graph.cost import PAGE
from graph.fields import column, computed, identity
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


async def _owner(root: "Account", info: Info) -> User:
    row = await info.context.loaders.user_by_id(columns_below(info, "User", "id")).load(root.row["owner_id"])
    # Never null: a user who owns an account is not deleted.
    assert row is not None
    return User(row=row)


def _balance(root: "Account") -> Money | None:
    balance = root.row["balance"]
    return None if balance is None else Money.of_minor(balance, root.row["currency_code"])


async def _transactions(
    root: "Account", info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection["Transaction"]:
    request = PageArguments(first, after, last, before).request(TRANSACTIONS_ORDER)
    needed = columns_below(info, "Transaction")
    return await list_of_parent(
        info.context, TRANSACTIONS, root.row["id"], needed, {}, request, lambda row: Transaction(row=row)
    )


@strawberry.type(description="Money of one currency that belongs to one user.")
class Account(Node):
    """A row of `accounts`."""

    row: strawberry.Private[Record]

    id: strawberry.ID = identity(Kind.ACCOUNT, "Globally unique and opaque; the same object always has the same id.")
    owner: User = computed(_owner, ("owner_id",), "Whose it is.")
    currency_code: CurrencyCode = column("currency_code", "The one currency that it holds.")
    balance: Money | None = computed(
        _balance, ("balance", "currency_code"), "Null unless the viewer owns this account or is an administrator."
    )
    created_at: datetime.datetime = column("created_at", "When it was opened.")
    transactions: Connection["Transaction"] = computed(
        _transactions,
        ("id",),
        "Transactions from or to this account, newest first. Empty unless the viewer may see the balance.",
        directives=[PAGE],
    )


async def _far_end(info: Info, account_id: int) -> Account:
    row = await info.context.loaders.far_end_by_id(columns_below(info, "Account", "id")).load(account_id)
    # Never null: an account with a transaction is not deleted.
    assert row is not None
    return Account(row=row)


async def _from(root: "Transaction", info: Info) -> Account:
    return await _far_end(info, root.row["from_id"])


async def _to(root: "Transaction", info: Info) -> Account:
    return await _far_end(info, root.row["to_id"])


def _amount(root: "Transaction") -> Money:
    return Money.of_minor(root.row["amount"], root.row["currency_code"])


@strawberry.type(
    description="One immutable row of the ledger: `amount` left `from` and arrived at `to`, both or neither."
)
class Transaction(Node):
    """A row of `transactions`."""

    row: strawberry.Private[Record]

    id: strawberry.ID = identity(
        Kind.TRANSACTION, "Globally unique and opaque; the same object always has the same id."
    )
    from_: Account = computed(
        _from, ("from_id",), "Where the money came from; its balance only for those who may see it.", name="from"
    )
    to: Account = computed(_to, ("to_id",), "Where it went; its balance only for those who may see it.")
    amount: Money = computed(_amount, ("amount", "currency_code"), "How much, in the currency of both accounts.")
    memo: str | None = column("memo", "What for, in the words of whoever made it.")
    created_at: datetime.datetime = column("created_at", "When it was made.")


# ---------------------------------------------------------------- queries


async def account_of_id(info: Info, account_id: int) -> Account | None:
    """Return the account with this row id where the viewer may see it, with the columns that the selection needs."""
    row = await info.context.loaders.account_by_id(columns_below(info, "Account", "id")).load(account_id)
    return None if row is None else Account(row=row)


async def account(
    info: Info, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The account's id.")]
) -> Account | None:
    """Return one account."""
    return await account_of_id(info, parse(id_, Kind.ACCOUNT, "id"))


async def transaction_of_id(info: Info, transaction_id: int) -> Transaction | None:
    """Return the transaction with this row id where the viewer may see it, with the columns that are needed."""
    columns = columns_below(info, "Transaction", "id")
    row = await info.context.loaders.transaction_by_id(columns).load(transaction_id)
    return None if row is None else Transaction(row=row)


async def transaction(
    info: Info, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The transaction's id.")]
) -> Transaction | None:
    """Return one transaction."""
    return await transaction_of_id(info, parse(id_, Kind.TRANSACTION, "id"))


async def transaction_by_idempotency_key(
    info: Info, key: Annotated[uuid.UUID, strawberry.argument(description="A key that the viewer has used.")]
) -> Transaction | None:
    """Return what was made under a key of the viewer's own."""
    context = info.context
    if context.viewer.user_id is None:
        return None
    columns = columns_below(info, "Transaction", "id")
    row = await ledger.transaction_by_key(context.database, context.viewer, columns, key)
    return None if row is None else Transaction(row=row)


@strawberry.type
class MoneyQueries:
    """The queries that read accounts and the ledger."""

    account: Account | None = strawberry.field(
        resolver=account, description="The account with this id; null where the viewer can see none."
    )
    transaction: Transaction | None = strawberry.field(
        resolver=transaction, description="The transaction with this id; null where the viewer can see none."
    )
    transaction_by_idempotency_key: Transaction | None = strawberry.field(
        resolver=transaction_by_idempotency_key,
        description="What became of a transfer whose answer was lost; looks only among the viewer's own keys.",
    )
