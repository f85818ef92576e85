"""Users and their profiles: the types."""

import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from db.connections.statements import Row
from db.fields import BIO, USERNAME, WEBSITE_URL
from db.repositories.accounts import ACCOUNTS, ACCOUNTS_ORDER
from db.repositories.comments import COMMENTS_OF_AUTHOR
from db.repositories.posts import POSTS
from graph.execution import BoundEdge
from graph.runtime.context import Info, columns_below
from graph.schema.comments.filters import COMMENTS as LISTS_OF_COMMENTS
from graph.schema.connections import Connection
from graph.schema.fields import column, edge, identity
from graph.schema.ids import NodeKind
from graph.schema.nodes import Node, row_backed
from graph.schema.posts.filters import POSTS as LISTS_OF_POSTS
from graph.schema.row_lists import plain_edge

if TYPE_CHECKING:
    from graph.schema.comments.types import Comment
    from graph.schema.money.types import Account
    from graph.schema.posts.types import Post


@row_backed
@strawberry.type(description="The profile of a user.")
class Profile:
    """A row of `profiles`."""

    row: strawberry.Private[Row]

    display_name: str | None = column("display_name", "The name to show instead of the username.")
    bio: str | None = column("bio", "A few sentences about the user.", longest=BIO.length_max)
    website_url: str | None = column("website_url", "An http or https URL.", longest=WEBSITE_URL.length_max)


def _profile(info: Info) -> BoundEdge:
    return BoundEdge(info.context.loaders.rows("profile_by_user", columns_below(info, "Profile", "user_id")))


@row_backed
@strawberry.type(
    description=(
        "A person who may sign in, or the system's user `treasury`, who owns the accounts from which "
        "deposits come. The system's user is returned for its id, for its username and as an owner. Lists "
        "and counts of users do not include it."
    )
)
class User(Node):
    """A row of `users`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(NodeKind.USER)
    username: str = column("username", f"Unique without regard to case: {USERNAME.length} letters, digits and _.")
    email: str | None = column("email", "Null unless the viewer is this user or an administrator.")
    is_active: bool = column("is_active", "Whether the user may sign in.")
    created_at: datetime.datetime = column("created_at", "When the user was created.")
    updated_at: datetime.datetime = column("updated_at", "When the user was last changed.")
    version: int = column(
        "version",
        (
            "Increases with every change of the user or the profile. Send it as `expectedVersion` to detect a "
            "concurrent change."
        ),
    )
    profile: Profile | None = edge(
        "id",
        _profile,
        "The profile of the user. Null if there is none.",
        made=lambda row: Profile(row=row),
    )
    posts: Connection[Annotated["Post", strawberry.lazy("graph.schema.posts.types")]] = LISTS_OF_POSTS.edge(
        POSTS,
        "The published posts of the user. Drafts are included if the viewer is this user or an administrator.",
        joins=True,
    )
    comments: Connection[Annotated["Comment", strawberry.lazy("graph.schema.comments.types")]] = LISTS_OF_COMMENTS.edge(
        COMMENTS_OF_AUTHOR, "The comments of the user on posts that the viewer may see, oldest first."
    )
    accounts: Connection[Annotated["Account", strawberry.lazy("graph.schema.money.types")]] = plain_edge(
        ACCOUNTS,
        "Account",
        ACCOUNTS_ORDER,
        "The accounts of the user, oldest first. Empty unless the viewer is this user or an administrator.",
    )
