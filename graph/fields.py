"""How a row-backed type declares its fields: a column, something computed from columns, or an edge.

A row-backed object holds one asyncpg record (`row`), with the columns that the operation needs and no others. Each
field names the columns it reads, and that declaration is the one source: Strawberry builds the resolver from it,
and `graph.selection` finds out from it what to read.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import strawberry
from asyncpg import Record

from db.pages import Columns
from graph.ids import Kind, global_id
from graph.selection import COLUMNS_METADATA


class RowBacked(Protocol):
    """An object that stands for one row."""

    row: strawberry.Private[Record]


def column(name: str, description: str) -> Any:
    """Declare a field that is the column `name`."""

    def resolve(root: RowBacked) -> Any:
        return root.row[name]

    return computed(resolve, (name,), description)


def identity(kind: Kind, description: str) -> Any:
    """Declare the `id` of a node."""

    def resolve(root: RowBacked) -> strawberry.ID:
        return global_id(kind, root.row["id"])

    return computed(resolve, ("id",), description)


def computed(
    resolve: Callable[..., Any],
    columns: Columns,
    description: str,
    *,
    name: str | None = None,
    directives: Sequence[object] = (),
) -> Any:
    """Declare a field that `resolve` makes of `columns`, be it a value or an edge to other rows."""
    return strawberry.field(
        resolver=resolve,
        description=description,
        name=name,
        metadata={COLUMNS_METADATA: columns},
        directives=directives,
    )
