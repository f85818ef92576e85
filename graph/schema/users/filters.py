"""Filters and orders of lists of users, as clients write them."""

from enum import Enum

import strawberry

from db.query.cursors import Order
from db.query.pages import Filter
from db.repositories import users as repository
from graph.schema.connections import (
    OrderDirection,
    chosen_order,
    order_of,
)
from graph.schema.nodes import DateTimeRange, given


@strawberry.input(description="Which users; all parts given must hold, and a null part is as good as none.")
class UserFilter:
    """Conditions on users."""

    is_active: bool | None = strawberry.field(default=None, description="Users who may, or may not, sign in.")
    username_prefix: str | None = strawberry.field(
        default=None,
        description="Usernames that begin like this, whatever the case. "
        "White space around it does not count; an empty one is no filter.",
    )
    created_at: DateTimeRange | None = strawberry.field(default=None, description="When the user was created.")


@strawberry.enum(description="What users can be ordered by.")
class UserOrderField(Enum):
    """The order terms of users."""

    CREATED_AT = strawberry.enum_value("CREATED_AT", description="When the user was created.")
    USERNAME = strawberry.enum_value("USERNAME", description="The username, whatever its case.")


@strawberry.input(description="One term of an order of users.")
class UserOrder:
    """A field and a direction."""

    field: UserOrderField = strawberry.field(description="What to order by.")
    direction: OrderDirection = strawberry.field(description="Which way.")


_TERMS = {UserOrderField.CREATED_AT: repository.CREATED_AT, UserOrderField.USERNAME: repository.USERNAME}
_NEWEST_FIRST = order_of("users", ((repository.CREATED_AT, True),), repository.ID)


def user_order(order_by: list[UserOrder] | None) -> Order:
    """Return the order of the argument `orderBy`; by default newest first."""
    if not order_by:
        return _NEWEST_FIRST
    terms = [(_TERMS[one.field], one.direction) for one in order_by]
    return chosen_order("users", terms, repository.ID)


def user_conditions(filter_: UserFilter | None) -> Filter:
    """Return the conditions of a filter."""
    if filter_ is None:
        return {}
    created_at = filter_.created_at or DateTimeRange()
    return given(
        is_active=filter_.is_active,
        username_prefix=(filter_.username_prefix or "").strip() or None,
        created_at_gte=created_at.gte,
        created_at_lt=created_at.lt,
    )
