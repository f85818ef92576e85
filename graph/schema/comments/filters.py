"""Filters and orders of lists of comments, and the edges from posts and users to such lists."""

from collections.abc import Callable
from enum import Enum
from typing import Annotated

import strawberry

from db.query.cursors import Order
from db.query.keyset_lists import KeysetList
from db.query.pages import Filter
from db.repositories import comments as repository
from graph.analysis.cost import SEARCH as COST_OF_SEARCH
from graph.execution import BoundEdge
from graph.runtime.context import Info
from graph.schema.connections import (
    After,
    Before,
    First,
    Last,
    OrderDirection,
    PageArguments,
    chosen_order,
    list_of_parent,
    order_of,
)
from graph.schema.nodes import DateTimeRange, given
from graph.schema.searches import searched


@strawberry.input(description="Which comments; all parts given must hold, and a null part is as good as none.")
class CommentFilter:
    """Conditions on comments."""

    search: str | None = strawberry.field(
        default=None,
        description="Full-text search over the body, as in `PostFilter.search`.",
        directives=[COST_OF_SEARCH],
    )
    created_at: DateTimeRange | None = strawberry.field(default=None, description="When the comment was created.")


@strawberry.enum(description="What comments can be ordered by.")
class CommentOrderField(Enum):
    """The order terms of comments."""

    CREATED_AT = strawberry.enum_value("CREATED_AT", description="When the comment was created.")


@strawberry.input(description="One term of an order of comments.")
class CommentOrder:
    """A field and a direction."""

    field: CommentOrderField = strawberry.field(description="What to order by.")
    direction: OrderDirection = strawberry.field(description="Which way.")


OLDEST_FIRST = order_of("comments", ((repository.CREATED_AT, False),), repository.ID)


def _order(order_by: list[CommentOrder] | None) -> Order:
    terms = [(repository.CREATED_AT, one.direction) for one in order_by or ()]
    return chosen_order("comments", terms, repository.ID) if terms else OLDEST_FIRST


def _conditions(filter_: CommentFilter | None) -> Filter:
    if filter_ is None:
        return {}
    created_at = filter_.created_at or DateTimeRange()
    return given(search=searched(filter_.search), created_at_gte=created_at.gte, created_at_lt=created_at.lt)


def comments_of(of: KeysetList) -> Callable[..., BoundEdge]:
    """Return the resolver of an edge to a list of comments."""

    def comments(
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        filter_: Annotated[
            CommentFilter | None, strawberry.argument(name="filter", description="Only comments that meet all of this.")
        ] = None,
        order_by: Annotated[
            list[CommentOrder] | None, strawberry.argument(description="The order; oldest first by default.")
        ] = None,
    ) -> BoundEdge:
        request = PageArguments(first, after, last, before).request(info, _order(order_by))
        return list_of_parent(info, of, "Comment", _conditions(filter_), request)

    return comments
