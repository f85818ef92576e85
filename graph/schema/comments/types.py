"""Comments: their type, and the query that reads one."""

import datetime
from typing import Annotated

import strawberry
from graphql import GraphQLError

from db.connections.statements import Row
from db.fields import BODY
from graph.analysis.cost import LONG_TEXT
from graph.execution import BoundEdge
from graph.runtime.context import Info, columns_below
from graph.schema.fields import column, edge, identity, lookup_field
from graph.schema.ids import NodeKind, parse
from graph.schema.nodes import Node, row_backed
from graph.schema.posts.types import STALE, Post
from graph.schema.users.types import User


def _gone() -> GraphQLError:
    # Deleted between two statements, and the comment with it.
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


def _comment(
    info: Info, id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The comment's id.")]
) -> BoundEdge:
    loader = info.context.loaders.comment_by_id(columns_below(info, "Comment", "id"))
    return BoundEdge(loader, key=parse(id_, NodeKind.COMMENT, "id"))


async def comment_of_id(info: Info, comment_id: int) -> Comment | None:
    """Return the comment with this row id where the viewer may see it."""
    row = await info.context.loaders.comment_by_id(columns_below(info, "Comment", "id")).load(comment_id)
    return None if row is None else Comment(row=row)


@strawberry.type
class CommentQueries:
    """The queries that read comments."""

    comment: Comment | None = lookup_field(
        _comment, "The comment with this id; null where the viewer can see none.", lambda row: Comment(row=row)
    )
