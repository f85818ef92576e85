"""Comments: their type, and the query that reads one."""

import datetime

import strawberry

from db.connections.statements import Row
from db.fields import BODY
from graph.analysis.cost import LONG_TEXT
from graph.schema.fields import column, identity, node_edge, node_lookup
from graph.schema.ids import NodeKind
from graph.schema.nodes import Node, row_backed
from graph.schema.posts.types import Post
from graph.schema.users.types import User

_GONE = "the comment was deleted a moment ago; send the query again"


@row_backed
@strawberry.type(description="A text by one user on a post. It is visible to all viewers of the post.")
class Comment(Node):
    """A row of `comments`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(NodeKind.COMMENT)
    body: str = column("body", f"{BODY.limit}.", longest=BODY.length_max, directives=[LONG_TEXT])
    author: User = node_edge("author_id", NodeKind.USER, User, "The author.", missing=_GONE)
    post: Post = node_edge("post_id", NodeKind.POST, Post, "The post that the comment is on.", missing=_GONE)
    created_at: datetime.datetime = column("created_at", "When the comment was created.")
    updated_at: datetime.datetime = column("updated_at", "When the comment was last changed.")
    version: int = column(
        "version", ("Increases with every change. Send it as `expectedVersion` to detect a concurrent change.")
    )


@strawberry.type
class CommentQueries:
    """The queries that read comments."""

    comment: Comment | None = node_lookup(NodeKind.COMMENT, "Comment")
