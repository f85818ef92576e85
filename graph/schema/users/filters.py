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


@strawberry.input(
    description=(
        "Conditions on users. A user must meet all conditions that are given. A condition that is null is ignored."
    )
)
class UserFilter:
    """Conditions on users."""

    is_active: bool | None = strawberry.field(
        default=None, description="True for users who may sign in, false for users who may not."
    )
    username_prefix: str | None = strawberry.field(
        default=None,
        description=(
            "The beginning of the username, without regard to case. White space around it is ignored. An "
            "empty prefix is ignored, too."
        ),
    )
    created_at: DateTimeRange | None = strawberry.field(default=None, description="When the user was created.")


@strawberry.enum(description="The fields by which users can be sorted.")
class UserOrderField(Enum):
    """The order terms of users."""

    CREATED_AT = strawberry.enum_value("CREATED_AT", description="When the user was created.")
    USERNAME = strawberry.enum_value("USERNAME", description="The username, without regard to case.")


@strawberry.input(description="One sort key of users.")
class UserOrder:
    """A field and a direction."""

    field: UserOrderField = strawberry.field(description="The field to sort by.")
    direction: OrderDirection = strawberry.field(description="The direction of the sort.")


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
