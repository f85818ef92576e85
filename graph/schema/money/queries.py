"""Accounts and transactions: the queries that read them."""

import uuid
from typing import Annotated

import strawberry

from db.repositories import transactions as ledger
from graph.execution import BoundEdge
from graph.runtime.context import Info, columns_below
from graph.schema.fields import lookup_field
from graph.schema.ids import NodeKind, parse
from graph.schema.money.types import Account, Transaction


async def account_of_id(info: Info, account_id: int) -> Account | None:
    """Return the account with this row id where the viewer may see it, with the columns that the selection needs."""
    row = await info.context.loaders.account_by_id(columns_below(info, "Account", "id")).load(account_id)
    return None if row is None else Account(row=row)


def _account(
    info: Info, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The account's id.")]
) -> BoundEdge:
    loader = info.context.loaders.account_by_id(columns_below(info, "Account", "id"))
    return BoundEdge(loader, key=parse(id_, NodeKind.ACCOUNT, "id"))


async def transaction_of_id(info: Info, transaction_id: int) -> Transaction | None:
    """Return the transaction with this row id where the viewer may see it, with the columns that are needed."""
    columns = columns_below(info, "Transaction", "id")
    row = await info.context.loaders.transaction_by_id(columns).load(transaction_id)
    return None if row is None else Transaction(row=row)


def _transaction(
    info: Info, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The transaction's id.")]
) -> BoundEdge:
    loader = info.context.loaders.transaction_by_id(columns_below(info, "Transaction", "id"))
    return BoundEdge(loader, key=parse(id_, NodeKind.TRANSACTION, "id"))


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

    account: Account | None = lookup_field(
        _account, "The account with this id; null where the viewer can see none.", lambda row: Account(row=row)
    )
    transaction: Transaction | None = lookup_field(
        _transaction,
        "The transaction with this id; null where the viewer can see none.",
        lambda row: Transaction(row=row),
    )
    transaction_by_idempotency_key: Transaction | None = strawberry.field(
        resolver=transaction_by_idempotency_key,
        description="What became of a transfer whose answer was lost; looks only among the viewer's own keys.",
    )
