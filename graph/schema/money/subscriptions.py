"""Money: the subscription that follows an account."""

from typing import Annotated

import strawberry
from graphql import GraphQLError

from db.connections.statements import Row
from db.events import EventTopic, Subject
from db.repositories.accounts import accounts_by_ids
from graph.runtime.context import Info
from graph.runtime.live_events import ROW_ID, LiveEvents
from graph.schema.fields import node_edge
from graph.schema.ids import NodeKind, parse
from graph.schema.money.types import Transaction
from graph.schema.nodes import row_backed
from graph.schema.permissions import signed_in
from graph.schema.subscription_kit import After, cursor_field, live_events, subscription


@row_backed
@strawberry.type(description="Something happened on an account.")
class TransactionEvent:
    """An event of an account."""

    row: strawberry.Private[Row]

    cursor: str = cursor_field()
    transaction: Transaction = node_edge(
        ROW_ID,
        NodeKind.TRANSACTION,
        Transaction,
        "The transaction.",
        missing="the transaction is not the viewer's to see any more; subscribe again",
    )


async def account_activity(
    info: Info,
    account_id: Annotated[strawberry.ID, strawberry.argument(description="The id of the account.")],
    after: After = None,
) -> LiveEvents:
    """Follow the transactions of an account.

    Raises:
        Unauthenticated: the caller is anonymous.
        GraphQLError: NOT_FOUND: there is no account with this id whose balance the viewer may see.
    """
    context, number = info.context, parse(account_id, NodeKind.ACCOUNT, "accountId")
    signed_in(context.viewer)
    # An account that the viewer may see by its id is one whose balance they may see.
    if number not in await accounts_by_ids(context.database, context.viewer, ("id",), [number]):
        raise GraphQLError("accountId is the id of no account of the viewer", extensions={"code": "NOT_FOUND"})
    return await live_events(info, Subject(EventTopic.ENTRY, number), after, "TransactionEvent")


@strawberry.type
class MoneySubscriptions:
    """The subscription that follows an account."""

    account_activity: TransactionEvent = subscription(
        account_activity, "A transaction touched the account; only for those who may see its balance."
    )
