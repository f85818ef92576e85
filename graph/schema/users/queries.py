"""Users: the queries that read them."""

from typing import Annotated

import strawberry

from db.repositories import users as repository
from db.repositories.users import USERS
from graph.analysis.cost import PAGE
from graph.execution import JOINS, BoundEdge
from graph.runtime.context import Info, columns_below
from graph.schema.connections import (
    After,
    Before,
    Connection,
    First,
    Last,
    PageArguments,
    whole_list,
)
from graph.schema.fields import loader_by_id, lookup_field, node_lookup
from graph.schema.ids import NodeKind
from graph.schema.users.filters import UserFilter, UserOrder, user_conditions, user_order
from graph.schema.users.types import User


def _viewer(info: Info) -> BoundEdge:
    return BoundEdge(loader_by_id(info, NodeKind.USER, "User"), key=info.context.viewer.user_id)


async def user_by_username(
    info: Info, username: Annotated[str, strawberry.argument(description="The username, without regard to case.")]
) -> User | None:
    """Return the user of this name."""
    context = info.context
    columns = columns_below(info, "User", "id")
    row = await repository.user_by_username(context.reader, context.viewer, columns, username)
    return None if row is None else User(row=row)


async def users(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    filter_: Annotated[
        UserFilter | None,
        strawberry.argument(name="filter", description="Return only the users that meet these conditions."),
    ] = None,
    order_by: Annotated[
        list[UserOrder] | None,
        strawberry.argument(description="The sort keys, the most significant one first. The default is newest first."),
    ] = None,
) -> Connection[User]:
    """Return a page of all users."""
    request = PageArguments(first, after, last, before).request(info, user_order(order_by))
    return await whole_list(info, USERS, "User", user_conditions(filter_), request)


@strawberry.type
class UserQueries:
    """The queries that read users."""

    viewer: User | None = lookup_field(
        _viewer, "The signed-in user. Null for an anonymous request.", lambda row: User(row=row)
    )
    user: User | None = node_lookup(NodeKind.USER, "User", "The user with this id. Null if there is none.")
    user_by_username: User | None = strawberry.field(
        resolver=user_by_username,
        description="The user with this username, who may be the system's user `treasury`. Null if there is none.",
    )
    users: Connection[User] = strawberry.field(
        resolver=users,
        description="All users except the system's user `treasury`, who is not a person.",
        directives=[PAGE],
        metadata={JOINS: True},
    )
