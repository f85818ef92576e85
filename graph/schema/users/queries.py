"""Users: the queries that read them."""

from typing import Annotated

import strawberry

from db.repositories import users as repository
from db.repositories.users import USERS
from graph.runtime.context import Info, columns_below
from graph.schema.connections import Connection
from graph.schema.fields import KEY, lookup_field, node_lookup
from graph.schema.ids import NodeKind
from graph.schema.prefetching import RowBinding, ViewerBinding
from graph.schema.users.filters import USERS as LISTS
from graph.schema.users.types import User


def _viewer(info: Info) -> ViewerBinding:
    return ViewerBinding(columns_below(info, "User", "id"))


def _by_username(
    info: Info,
    username: Annotated[str, strawberry.argument(description="The username, without regard to case.")] = KEY,
) -> RowBinding:
    return RowBinding("user_by_username", columns_below(info, "User", "id"), repository.username_key)


@strawberry.type
class UserQueries:
    """The queries that read users."""

    viewer: User | None = lookup_field(
        _viewer, "The signed-in user. Null for an anonymous request.", lambda row: User(row=row)
    )
    user: User | None = node_lookup(NodeKind.USER, "User", "The user with this id. Null if there is none.")
    user_by_username: User | None = lookup_field(
        _by_username,
        "The user with this username, who may be the system's user `treasury`. Null if there is none.",
        lambda row: User(row=row),
        keys=["username"],
    )
    users: Connection[User] = LISTS.query(USERS, "All users except the system's user `treasury`, who is not a person.")
