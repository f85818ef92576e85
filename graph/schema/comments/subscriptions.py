"""Comments: the subscription that follows those on a post."""

from typing import Annotated

import strawberry

from db.connections.statements import Row
from db.events import EventTopic, Subject
from graph.runtime.context import Info
from graph.runtime.live_events import ROW_ID, LiveEvents
from graph.schema.comments.types import Comment
from graph.schema.fields import node_edge
from graph.schema.ids import NodeKind, parse
from graph.schema.nodes import row_backed
from graph.schema.subscription_kit import After, cursor_field, live_events, subscription


@row_backed
@strawberry.type(description="Something happened to a comment.")
class CommentEvent:
    """An event of a comment."""

    row: strawberry.Private[Row]

    cursor: str = cursor_field()
    comment: Comment | None = node_edge(
        ROW_ID,
        NodeKind.COMMENT,
        Comment,
        "The comment as it is now; null where it is gone or no longer the viewer's to see.",
    )


async def comment_added(
    info: Info,
    post_id: Annotated[strawberry.ID, strawberry.argument(description="The id of the post.")],
    after: After = None,
) -> LiveEvents:
    """Follow the comments on a post. It need not exist, so that no caller learns whether a draft has the id."""
    subject = Subject(EventTopic.COMMENTED, parse(post_id, NodeKind.POST, "postId"))
    return await live_events(info, subject, after, "CommentEvent")


@strawberry.type
class CommentSubscriptions:
    """The subscription that follows comments."""

    comment_added: CommentEvent = subscription(comment_added, "A comment was added to a post that the viewer can see.")
