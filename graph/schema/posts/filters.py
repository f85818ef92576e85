"""Filters and orders of lists of posts, as clients write them."""

from enum import Enum
from functools import lru_cache
from typing import Annotated

import strawberry

from db.query.cursors import Order
from db.query.pages import Filter
from db.query.text_search import SEARCH
from db.repositories import posts as repository
from graph.analysis.cost import SEARCH as COST_OF_SEARCH
from graph.schema.connections import (
    OrderDirection,
    chosen_order,
    order_of,
)
from graph.schema.ids import NodeKind, parse
from graph.schema.nodes import DateTimeRange, IntRange, given
from graph.schema.searches import searched


@strawberry.input(
    description=(
        "Conditions on posts. A post must meet all conditions that are given. A condition that is null is ignored."
    )
)
class PostFilter:
    """Conditions on posts."""

    published: bool | None = strawberry.field(default=None, description="True for published posts, false for drafts.")
    author_id: strawberry.ID | None = strawberry.field(default=None, description="The id of the author.")
    search: str | None = strawberry.field(
        default=None,
        description=(
            'Full-text search in title and content, with the syntax of web searches: all words, "a phrase", '
            "`or`, and -without together with another word. Case, accents and word endings make no "
            "difference. A search without a word is ignored."
        ),
        directives=[COST_OF_SEARCH],
    )
    views: IntRange | None = strawberry.field(default=None, description="The number of recorded views.")
    created_at: DateTimeRange | None = strawberry.field(default=None, description="When the post was created.")


@strawberry.enum(description="The fields by which posts can be sorted.")
class PostOrderField(Enum):
    """The order terms of posts."""

    CREATED_AT = strawberry.enum_value("CREATED_AT", description="When the post was created.")
    VIEWS = strawberry.enum_value("VIEWS", description="The number of recorded views.")
    TITLE = strawberry.enum_value(
        "TITLE",
        description="The title in alphabetical order, without regard to case and accents. Digits come before letters.",
    )
    RELEVANCE = strawberry.enum_value(
        "RELEVANCE",
        description=(
            "How well a post matches `filter.search`. With DESC the best match is first. Without a search all "
            "posts match equally."
        ),
    )


@strawberry.input(description="One sort key of posts.")
class PostOrder:
    """A field and a direction."""

    field: PostOrderField = strawberry.field(description="The field to sort by.")
    direction: OrderDirection = strawberry.field(description="The direction of the sort.")


_TERMS = {
    PostOrderField.CREATED_AT: repository.CREATED_AT,
    PostOrderField.VIEWS: repository.VIEWS,
    PostOrderField.TITLE: repository.TITLE,
    PostOrderField.RELEVANCE: repository.RELEVANCE,
}
NEWEST_FIRST = order_of("posts", ((repository.CREATED_AT, True),), repository.ID)


def post_order(order_by: list[PostOrder] | None, conditions: Filter) -> Order:
    """Return the order of the argument `orderBy`; by default newest first.

    Without a search among the `conditions` all posts are equally relevant, and only the other terms order them.
    """
    if not order_by:
        return NEWEST_FIRST
    terms = [(_TERMS[one.field], one.direction) for one in order_by]
    order = chosen_order("posts", terms, repository.ID)
    if repository.RELEVANCE.name not in order.columns:
        return order
    if SEARCH in conditions:
        return _bound(order, str(conditions[SEARCH]))
    others = [term for term in terms if term[0] is not repository.RELEVANCE]
    return chosen_order("posts", others, repository.ID) if others else NEWEST_FIRST


@lru_cache
def _bound(order: Order, search: str) -> Order:
    # The same search must return the same object, so that equal fields of one operation share one page.
    return order.bound_to(search)


def post_conditions(filter_: PostFilter | None) -> Filter:
    """Return the conditions of a filter.

    Raises:
        BadInput: the author's id is invalid, or the search is too long or has only excluded words.
    """
    if filter_ is None:
        return {}
    author_id = None if filter_.author_id is None else parse(filter_.author_id, NodeKind.USER, "filter.authorId")
    views, created_at = filter_.views or IntRange(), filter_.created_at or DateTimeRange()
    return given(
        published=filter_.published,
        author_id=author_id,
        search=searched(filter_.search),
        views_gte=views.gte,
        views_lte=views.lte,
        created_at_gte=created_at.gte,
        created_at_lt=created_at.lt,
    )


Filtered = Annotated[
    PostFilter | None,
    strawberry.argument(name="filter", description="Return only the posts that meet these conditions."),
]
Ordered = Annotated[
    list[PostOrder] | None,
    strawberry.argument(description="The sort keys, the most significant one first. The default is newest first."),
]
