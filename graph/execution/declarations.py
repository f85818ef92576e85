"""How a field says where its value comes from, so that a whole level of it can be read at once.

A declaration stands in the metadata of a Strawberry field under the key `DECLARATION`. The ordinary resolver of the
field is built from the same declaration by whoever declares it, so that both engines read one source of truth. A
field without a declaration is *opaque*: its resolver is called for each object, as graphql-core does.

An object of a *row-backed* type holds its row in the attribute `row`, and is made by calling its class with `row=`. A
row is anything that gives a value for `row[name]`. Between declared fields rows travel bare; an object is made of one
only where an opaque resolver wants it.
"""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

from graphql import GraphQLField, GraphQLNamedType
from strawberry.types.field import StrawberryField

DECLARATION = "execution"
JOINS = "execution-joins"
STRAWBERRY = "strawberry-definition"

row_of = attrgetter("row")


class LevelLoader(Protocol):
    """What an edge reads through. One loader, by identity, is asked once for all the edges of a level that share it."""

    async def load_level(self, keys: list[Any]) -> Sequence[Any]:
        """Return the value of each of `keys`, which are distinct, in their order.

        A value that is an exception is the error of those who asked for it; what is raised is the error of all.
        """
        ...

    def load(self, key: Any) -> Awaitable[Any]:
        """Return the value of one key, in a batch with others: what an ordinary resolver calls."""
        ...


@dataclass(frozen=True, slots=True)
class Column:
    """The field is the column `name` of the row."""

    name: str


@dataclass(frozen=True, slots=True)
class Prefixed:
    """The field is `prefix` followed by the column `name`: a typed id, say."""

    prefix: str
    name: str


@dataclass(frozen=True, slots=True)
class Computed:
    """The field is a pure function of the row, which may be evaluated more than once."""

    of: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Derived:
    """The field is a function of the object; it may return an awaitable.

    Attributes:
        bare: what it returns are bare rows (or lists of them) of a row-backed type.
        table: what it returns, for a list of such rows, has them column by column (`tables.Columns`); at once, and
            never null.
    """

    of: Callable[[Any], Any]
    bare: bool = False
    table: bool = False


@dataclass(slots=True, eq=False)  # one is made for each edge of each operation: frozen would take three times as long
class BoundEdge:
    """An edge with its arguments applied: whom to ask, and what to make of an answer.

    Attributes:
        wrap: makes the field's value of a loaded value and its key; without it the value is a bare row or None.
        key: the key itself, for an edge that takes it from no column; None is the key of nothing.
        identity: what the answers depend on beside their keys, equal for equal loaders of several operations, by which
            a table says that it has brought them along (`tables.Columns.brought`); None where no table does.
    """

    loader: LevelLoader
    wrap: Callable[[Any, Any], Any] | None = None
    key: Any = None
    identity: Hashable = None


class PrefetchableEdge(NamedTuple):
    """An edge below the rows of a field, applied before the rows are there: their statement may bring its answers.

    Attributes:
        key: the column of those rows that is the edge's key.
    """

    loading: BoundEdge
    key: str


@dataclass(frozen=True, slots=True)
class RowEdge:
    """The field leads to other rows, which a loader finds by a key.

    Attributes:
        key: the column of the row that is the key; None where the field's arguments say it (`BoundEdge.key`).
        loading: called once a level with `(info, **arguments)`.
        missing: makes the error of a row that is not there; without it the value is null.
        joined: the prefix under which the columns of the other row may stand in this row already, because the
            statement that read it has joined them; None where no statement does.
    """

    key: str | None
    loading: Callable[..., BoundEdge]
    missing: Callable[[], Exception] | None = None
    joined: str | None = None


Declaration: TypeAlias = Column | Prefixed | Computed | Derived | RowEdge


def strawberry_field(field: GraphQLField) -> StrawberryField | None:
    """Return the Strawberry field behind a field of the schema, or None where there is none."""
    definition = field.extensions.get(STRAWBERRY) if field.extensions else None
    return definition if isinstance(definition, StrawberryField) else None


def declaration_of(field: GraphQLField) -> Declaration | None:
    """Return what a field declares, or None: then it is opaque."""
    definition = strawberry_field(field)
    declared: Declaration | None = definition.metadata.get(DECLARATION) if definition is not None else None
    return declared


def class_of(type_: GraphQLNamedType) -> Callable[..., Any] | None:
    """Return the Python class behind an object type, or None where Strawberry has not made it."""
    definition = type_.extensions.get(STRAWBERRY) if type_.extensions else None
    origin: Callable[..., Any] | None = getattr(definition, "origin", None)
    return origin


def joins_of(field: GraphQLField) -> bool:
    """Say whether the statement behind a field joins what edges of its rows may lead to (metadata `JOINS`)."""
    definition = strawberry_field(field)
    return definition is not None and bool(definition.metadata.get(JOINS))
