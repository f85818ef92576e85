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


ID = "Globally unique and opaque. The same object always has the same id."


def _own_id(root: "Node") -> strawberry.ID:
    raise NotImplementedError("every kind of node declares its own id")


@strawberry.interface(description="An object that `node` returns for its id.")
class Node:
    """The Relay object identification interface."""

    id: strawberry.ID = strawberry.field(resolver=_own_id, description=ID)


@strawberry.interface(
    description=(
        "A refusal that a client can show or handle. Each mutation has an implementation with its own enum of codes."
    )
)
class UserError:
    """A refusal in a payload."""

    field: list[str] | None = strawberry.field(
        description=(
            'The path of the refused argument, for example ["input", "email"]. Null if no single field is the cause.'
        )
    )
    message: str = strawberry.field(
        description="The reason of the refusal, and what is accepted instead, as a text for users."
    )


@strawberry.input(description="A half-open range of instants.")
class DateTimeRange:
    """From `gte` on, up to but without `lt`."""

    gte: datetime.datetime | None = strawberry.field(default=None, description="The start of the range, inclusive.")
    lt: datetime.datetime | None = strawberry.field(default=None, description="The end of the range, exclusive.")


@strawberry.input(description="A closed range of integers.")
class IntRange:
    """From `gte` to `lte`."""

    gte: int | None = strawberry.field(default=None, description="The minimum, inclusive.")
    lte: int | None = strawberry.field(default=None, description="The maximum, inclusive.")


def path_of(refusal: Refusal) -> list[str] | None:
    """Return the path of a refusal's field into the arguments, or None if it has no single field."""
    return ["input", *refusal.field] if refusal.field else None


def given(**conditions: Any) -> dict[str, Any]:
    """Return the conditions that are not None. A part of a filter is None if it is absent or null."""
    return {name: value for name, value in conditions.items() if value is not None}
