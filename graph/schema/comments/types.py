"""Comments: their type, and the query that reads one."""

import datetime

import strawberry
from graphql import GraphQLError

from db.connections.statements import Row
from db.fields import BODY
from graph.analysis.cost import LONG_TEXT
from graph.execution import BoundEdge
from graph.runtime.context import Info, columns_below
from graph.schema.fields import column, edge, identity, node_lookup
from graph.schema.ids import NodeKind
from graph.schema.nodes import Node, row_backed
from graph.schema.posts.types import STALE, Post
from graph.schema.users.types import User


def _gone() -> GraphQLError:
    # The row was deleted between two statements, with the comment.
    return GraphQLError("the comment was deleted a moment ago; ask again", extensions=STALE)


def _author(info: Info) -> BoundEdge:
    return BoundEdge(info.context.loaders.user_by_id(columns_below(info, "User", "id")))


def _post(info: Info) -> BoundEdge:
    return BoundEdge(info.context.loaders.post_by_id(columns_below(info, "Post", "id")))


@row_backed
@strawberry.type(description="A text by one user on a post, visible to all who see the post.")
class Comment(Node):
    """A row of `comments`."""

    row: strawberry.Private[Row]

    id: strawberry.ID = identity(
        NodeKind.COMMENT, "Globally unique and opaque; the same object always has the same id."
    )
    body: str = column("body", f"{BODY.limit}.", longest=BODY.length_max, directives=[LONG_TEXT])
    author: User = edge("author_id", _author, "Who wrote it.", made=lambda row: User(row=row), missing=_gone)
    post: Post = edge("post_id", _post, "What it is about.", made=lambda row: Post(row=row), missing=_gone)
    created_at: datetime.datetime = column("created_at", "When it was created.")
    updated_at: datetime.datetime = column("updated_at", "When it was last changed.")
    version: int = column("version", "Rises with every change; give it back as `expectedVersion`.")


@strawberry.type
class CommentQueries:
    """The queries that read comments."""

    comment: Comment | None = node_lookup(NodeKind.COMMENT, "Comment")
