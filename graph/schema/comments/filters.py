"""The filters and orders of lists of comments."""

import strawberry

from db.repositories import comments as repository
from graph.schema.nodes import DateTimeRange
from graph.schema.row_lists import RowLists, row_filter, row_orders, search


@row_filter("comments")
class CommentFilter:
    """Conditions on comments."""

    search: str | None = search("Full-text search in the body, with the syntax of `PostFilter.search`.")
    created_at: DateTimeRange | None = strawberry.field(default=None, description="When the comment was created.")


_ORDERS = row_orders("comment", {"CREATED_AT": (repository.CREATED_AT, "When the comment was created.")}, repository.ID)
COMMENTS = RowLists("Comment", CommentFilter, _ORDERS)
