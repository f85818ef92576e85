"""Filters and orders of lists of posts, as clients write them."""

import strawberry

from db.repositories import posts as repository
from graph.schema.ids import NodeKind, parse
from graph.schema.nodes import DateTimeRange, IntRange
from graph.schema.row_lists import RowLists, row_filter, row_orders, search


@row_filter("posts", author_id=lambda text: parse(text, NodeKind.USER, "filter.authorId"))
class PostFilter:
    """Conditions on posts."""

    published: bool | None = strawberry.field(default=None, description="True for published posts, false for drafts.")
    author_id: strawberry.ID | None = strawberry.field(default=None, description="The id of the author.")
    search: str | None = search(
        'Full-text search in title and content, with the syntax of web searches: all words, "a phrase", '
        "`or`, and -without together with another word. Case, accents and word endings make no "
        "difference. A search without a word is ignored."
    )
    views: IntRange | None = strawberry.field(default=None, description="The number of recorded views.")
    created_at: DateTimeRange | None = strawberry.field(default=None, description="When the post was created.")


_TERMS = {
    "CREATED_AT": (repository.CREATED_AT, "When the post was created."),
    "VIEWS": (repository.VIEWS, "The number of recorded views."),
    "TITLE": (
        repository.TITLE,
        "The title in alphabetical order, without regard to case and accents. Digits come before letters.",
    ),
    "RELEVANCE": (
        repository.RELEVANCE,
        (
            "How well a post matches `filter.search`. With DESC the best match is first. Without a search all "
            "posts match equally."
        ),
    ),
}
POSTS = RowLists("Post", PostFilter, row_orders("post", _TERMS, repository.ID, newest_first=True))
NEWEST_FIRST = POSTS.orders.default
