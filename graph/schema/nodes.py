"""Types that all nouns share: the interface `Node`, `UserError`, and the filters by range."""

import datetime
from collections.abc import Callable
from typing import Any, TypeVar

import strawberry

from db.connections.statements import Row
from db.errors import Refusal

T = TypeVar("T")

OBJECT_OF: dict[str, Callable[[Row], Any]] = {}
"""Makes the object of a row, by the name of its type: lists of types that refer to each other need no import."""


def row_backed(cls: type[T]) -> type[T]:
    """Register a type whose objects represent one row each, in the attribute `row`, so that lists can contain it."""
    make: Callable[..., T] = cls
    OBJECT_OF[cls.__name__] = lambda row: make(row=row)
    return cls


ID = "Globally unique and opaque; the same object always has the same id."


def _own_id(root: "Node") -> strawberry.ID:
    raise NotImplementedError("every kind of node declares its own id")


@strawberry.interface(description="An object that can be asked for again by its id.")
class Node:
    """The Relay object identification interface."""

    id: strawberry.ID = strawberry.field(resolver=_own_id, description=ID)


@strawberry.interface(
    description=(
        "A refusal that a client can show or act on. Each mutation has its own implementation, with its own code enum."
    )
)
class UserError:
    """A refusal in a payload."""

    field: list[str] | None = strawberry.field(
        description=(
            'Path into the mutation\'s arguments, for example ["input", "email"]; null where no one field is to blame.'
        )
    )
    message: str = strawberry.field(description="What is wrong and what would be right, for people.")


@strawberry.input(description="A half-open range of instants.")
class DateTimeRange:
    """From `gte` on, up to but without `lt`."""

    gte: datetime.datetime | None = strawberry.field(default=None, description="At this instant or later.")
    lt: datetime.datetime | None = strawberry.field(default=None, description="Before this instant.")


@strawberry.input(description="A closed range of integers.")
class IntRange:
    """From `gte` to `lte`."""

    gte: int | None = strawberry.field(default=None, description="This or more.")
    lte: int | None = strawberry.field(default=None, description="This or less.")


def path_of(refusal: Refusal) -> list[str] | None:
    """Return the path of a refusal's field into the arguments, or None where it has no single field."""
    return ["input", *refusal.field] if refusal.field else None


def given(**conditions: Any) -> dict[str, Any]:
    """Return the conditions that are not None. A part of a filter is None where it is absent or null."""
    return {name: value for name, value in conditions.items() if value is not None}
