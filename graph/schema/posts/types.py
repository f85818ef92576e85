"""Posts: their type."""

import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from db.connections.statements import Row
from db.fields import CONTENT, TITLE
from db.repositories import posts as repository
from db.repositories.comments import COMMENTS_OF_POST
from graph.analysis.cost import LONG_TEXT
from graph.schema.comments.filters import COMMENTS as LISTS_OF_COMMENTS
from graph.schema.connections import Connection
from graph.schema.fields import column, identity, node_edge
from graph.schema.ids import NodeKind
from graph.schema.nodes import Node, row_backed
from graph.schema.users.types import User

if TYPE_CHECKING:
    from graph.schema.comments.types import Comment


@row_backed
@strawberry.type(description="A text by one user: a draft until it is published.")
class Post(Node):
    """A row of `posts`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(NodeKind.POST)
    title: str = column("title", f"{TITLE.limit}.")
    content: str = column("content", CONTENT.description, longest=CONTENT.length_max, directives=[LONG_TEXT])
    published: bool = column(
        "published", ("Whether the post is published. A draft is visible only to its author and to administrators.")
    )
    views: int = column("views", "The number of recorded views.")
    author: User = node_edge(
        "author_id",
        NodeKind.USER,
        User,
        "The author.",
        missing="the author was deleted a moment ago, and this post too; send the query again",
        joined=repository.AUTHOR,
    )
    comments: Connection[Annotated["Comment", strawberry.lazy("graph.schema.comments.types")]] = LISTS_OF_COMMENTS.edge(
        COMMENTS_OF_POST, "The comments on the post, oldest first."
    )
    created_at: datetime.datetime = column("created_at", "When the post was created, as a draft or published.")
    updated_at: datetime.datetime = column("updated_at", "When the post was last changed. A view is not a change.")
    version: int = column(
        "version", "Increases with every change. Send it as `expectedVersion` to detect a concurrent change."
    )
