"""Filters and orders of lists of users, as clients write them."""

import strawberry

from db.repositories import users as repository
from graph.schema.nodes import DateTimeRange
from graph.schema.row_lists import RowLists, row_filter, row_orders


@row_filter("users", username_prefix=lambda text: text.strip() or None)
class UserFilter:
    """Conditions on users."""

    is_active: bool | None = strawberry.field(
        default=None, description=("True for users who may sign in, false for users who may not.")
    )
    username_prefix: str | None = strawberry.field(
        default=None,
        description=(
            "The beginning of the username, without regard to case. White space around it is ignored. An "
            "empty prefix is ignored, too."
        ),
    )
    created_at: DateTimeRange | None = strawberry.field(default=None, description="When the user was created.")


_TERMS = {
    "CREATED_AT": (repository.CREATED_AT, "When the user was created."),
    "USERNAME": (repository.USERNAME, "The username, without regard to case."),
}
USERS = RowLists("User", UserFilter, row_orders("user", _TERMS, repository.ID, newest_first=True))
