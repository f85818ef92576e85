"""The filters and orders of lists of comments, and the edges from posts and users to their lists."""

import strawberry

from db.query.pages import Filter
from db.repositories import comments as repository
from graph.analysis.cost import SEARCH as COST_OF_SEARCH
from graph.schema.nodes import DateTimeRange, given
from graph.schema.row_lists import row_orders, rows_of_parent
from graph.schema.searches import searched


@strawberry.input(
    description=(
        "Conditions on comments. A comment must meet all conditions that are given. A condition that is "
        "null is ignored."
    )
)
class CommentFilter:
    """Conditions on comments."""

    search: str | None = strawberry.field(
        default=None,
        description="Full-text search in the body, with the syntax of `PostFilter.search`.",
        directives=[COST_OF_SEARCH],
    )
    created_at: DateTimeRange | None = strawberry.field(default=None, description="When the comment was created.")


def _conditions(filter_: CommentFilter | None) -> Filter:
    if filter_ is None:
        return {}
    created_at = filter_.created_at or DateTimeRange()
    return given(search=searched(filter_.search), created_at_gte=created_at.gte, created_at_lt=created_at.lt)


_ORDERS = row_orders("comment", {"CREATED_AT": (repository.CREATED_AT, "When the comment was created.")}, repository.ID)

comments_of = rows_of_parent("Comment", CommentFilter, _conditions, _ORDERS)
"""Makes the resolver of an edge to a list of comments."""
