"""Posts: the subscriptions that follow them."""

from typing import Annotated

import strawberry

from db.connections.statements import Row
from db.events import EventTopic, LoggedEvent, Subject
from db.events.topics import ALL
from db.repositories.posts import POSTS
from graph.runtime.context import Info
from graph.runtime.live_events import ROW_ID, LiveEvents
from graph.schema.fields import node_edge
from graph.schema.ids import NodeKind, parse
from graph.schema.nodes import row_backed
from graph.schema.posts.types import Post
from graph.schema.subscription_kit import After, cursor_field, live_events, subscription


@row_backed
@strawberry.type(description="Something happened to a post.")
class PostEvent:
    """An event of a post."""

    row: strawberry.Private[Row]

    cursor: str = cursor_field()
    post: Post | None = node_edge(
        ROW_ID, NodeKind.POST, Post, "The post as it is now; null where it is gone or no longer the viewer's to see."
    )


async def post_published(
    info: Info,
    author_id: Annotated[
        strawberry.ID | None, strawberry.argument(description="The author. Without it, the posts of all authors.")
    ] = None,
    after: After = None,
) -> LiveEvents:
    """Follow the posts that are published. A post that the viewer cannot see any more is left out."""
    context = info.context

    async def shows(event: LoggedEvent) -> bool:
        # The pool, not the context: a row that was read for an earlier event must not be reused.
        return event.row_id in await POSTS.by_ids(context.database, context.viewer, ("id",), [event.row_id])

    author = ALL if author_id is None else parse(author_id, NodeKind.USER, "authorId")
    return await live_events(info, Subject(EventTopic.PUBLISHED, author), after, "PostEvent", shows)


async def post_changed(
    info: Info,
    id_: Annotated[strawberry.ID, strawberry.argument(name="id", description="The id of the post.")],
    after: After = None,
) -> LiveEvents:
    """Follow a post. It need not exist, so that no caller learns whether a draft has the id."""
    return await live_events(info, Subject(EventTopic.CHANGED, parse(id_, NodeKind.POST, "id")), after, "PostEvent")


@strawberry.type
class PostSubscriptions:
    """The subscriptions that follow posts."""

    post_published: PostEvent = subscription(post_published, "A post was published, by anyone or by one author.")
    post_changed: PostEvent = subscription(
        post_changed, "A post that the viewer can see was changed, unpublished or deleted."
    )
