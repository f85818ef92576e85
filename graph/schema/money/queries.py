"""Accounts and transactions: the queries that read them."""

import uuid
from typing import Annotated

import strawberry

from db.repositories import transactions as ledger
from graph.runtime.context import Info, columns_below
from graph.schema.fields import node_lookup
from graph.schema.ids import NodeKind
from graph.schema.money.types import Account, Transaction


async def transaction_by_idempotency_key(
    info: Info,
    key: Annotated[uuid.UUID, strawberry.argument(description="An idempotency key that the viewer has used.")],
) -> Transaction | None:
    """Return the transaction that the viewer made with an idempotency key."""
    context = info.context
    if context.viewer.user_id is None:
        return None
    columns = columns_below(info, "Transaction", "id")
    row = await ledger.transaction_by_key(context.reader, context.viewer, columns, key)
    return None if row is None else Transaction(row=row)


@strawberry.type
class MoneyQueries:
    """The queries that read accounts and the ledger."""

    account: Account | None = node_lookup(NodeKind.ACCOUNT, "Account")
    transaction: Transaction | None = node_lookup(NodeKind.TRANSACTION, "Transaction")
    transaction_by_idempotency_key: Transaction | None = strawberry.field(
        resolver=transaction_by_idempotency_key,
        description=(
            "The transaction that was made under an idempotency key of the viewer. Null if there is none. Use "
            "it when the response to a transfer was lost."
        ),
    )
