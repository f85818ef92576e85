"""Filters and orders of lists of posts, as clients write them."""

import strawberry

from db.repositories import posts as repository
from graph.schema.ids import NodeKind, parse
from graph.schema.nodes import DateTimeRange, IntRange
from graph.schema.row_lists import RowLists, row_filter, row_orders, search


@row_filter("posts", author_id=lambda text: parse(text, NodeKind.USER, "filter.authorId"))
class PostFilter:
    """Conditions on posts."""

    published: bool | None = strawberry.field(default=None, description="Published posts, or drafts.")
    author_id: strawberry.ID | None = strawberry.field(default=None, description="Posts by this user.")
    search: str | None = search(
        'Full-text search over title and content, in web-search syntax: all words, "a phrase", `or`, '
        "-without beside another word. Case, accents and word endings make no difference. Without any word it is no "
        "filter."
    )
    views: IntRange | None = strawberry.field(default=None, description="How often a view was recorded.")
    created_at: DateTimeRange | None = strawberry.field(default=None, description="When the post was created.")


_TERMS = {
    "CREATED_AT": (repository.CREATED_AT, "When the post was created."),
    "VIEWS": (repository.VIEWS, "How often a view was recorded."),
    "TITLE": (
        repository.TITLE,
        "The title in the alphabet, whatever its case and accents; digits stand before letters.",
    ),
    "RELEVANCE": (
        repository.RELEVANCE,
        "How well a post matches `filter.search`, best first with DESC; without a search all match alike.",
    ),
}
POSTS = RowLists("Post", PostFilter, row_orders("post", _TERMS, repository.ID, newest_first=True))
NEWEST_FIRST = POSTS.orders.default
