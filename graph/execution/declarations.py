"""Declarations: where the value of a field comes from. They let the executor read a whole level at once.

A declaration is stored in the metadata of a Strawberry field under the key `DECLARATION`. The code that declares a
field also builds its ordinary resolver from the same declaration, so that both engines read one source of truth. A
field without a declaration is *opaque*: its resolver is called for each object, as in graphql-core.

An object of a *row-backed* type holds its row in the attribute `row`. Its class is called with `row=` to make it. A row
is any object that supports `row[name]`. Declared fields pass bare rows to each other; the executor makes an object of a
row only where an opaque resolver needs one.
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
    """What an edge reads through. All edges of a level that share one loader object are loaded by one call."""

    async def load_level(self, keys: list[Any]) -> Sequence[Any]:
        """Return one value for each of `keys`, in their order. The keys are distinct.

        A value that is an exception is the error of the fields that requested this key. A raised exception is the
        error of all fields of the call.
        """
        ...

    def load(self, key: Any) -> Awaitable[Any]:
        """Return the value of one key, loaded in a batch with other keys. Ordinary resolvers call this method."""
        ...


@dataclass(frozen=True, slots=True)
class Column:
    """The field is the column `name` of the row."""

    name: str


@dataclass(frozen=True, slots=True)
class Prefixed:
    """The field is `prefix` followed by the column `name`, for example a typed id."""

    prefix: str
    name: str


@dataclass(frozen=True, slots=True)
class Computed:
    """The field is a pure function of the row. The function may be called more than once."""

    of: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Derived:
    """The field is a function of the object; it may return an awaitable.

    Attributes:
        bare: the function returns bare rows (or lists of them) of a row-backed type.
        table: the function returns the list of rows column by column (`tables.Columns`), never an awaitable, and
            never null.
    """

    of: Callable[[Any], Any]
    bare: bool = False
    table: bool = False


@dataclass(slots=True, eq=False)  # each edge of each operation makes one: a frozen class takes three times as long
class BoundEdge:
    """An edge with its arguments applied: its loader, and how a loaded value becomes the field's value.

    Attributes:
        wrap: makes the field's value from a loaded value and its key. Without it the value is a bare row or None.
        key: the key, for an edge that takes it from the arguments and not from a column. None finds no row.
        identity: what the results depend on besides the keys. Equal loaders of several operations have equal
            identities. A table lists the identities whose results came with its rows (`tables.Columns.brought`). None
            where no table brings them.
    """

    loader: LevelLoader
    wrap: Callable[[Any, Any], Any] | None = None
    key: Any = None
    identity: Hashable = None


class PrefetchableEdge(NamedTuple):
    """An edge below the rows of a field, bound before the rows are read: their statement may also load its results.

    Attributes:
        key: the column of the rows that is the edge's key.
    """

    bound: BoundEdge
    key: str


@dataclass(frozen=True, slots=True)
class RowEdge:
    """The field leads to other rows. A loader finds them by a key.

    Attributes:
        key: the column of the row that is the key; None where the field's arguments contain it (`BoundEdge.key`).
        bind: binds the edge. It is called once per level with `(info, **arguments)`.
        missing: makes the error for a row that does not exist; without it the value is null.
        joined: the prefix of the other row's columns within this row, if the statement that read this row has joined
            them; None where no statement joins them.
    """

    key: str | None
    bind: Callable[..., BoundEdge]
    missing: Callable[[], Exception] | None = None
    joined: str | None = None


Declaration: TypeAlias = Column | Prefixed | Computed | Derived | RowEdge


def strawberry_field(field: GraphQLField) -> StrawberryField | None:
    """Return the Strawberry field that defines a field of the schema, or None where Strawberry did not define it."""
    definition = field.extensions.get(STRAWBERRY) if field.extensions else None
    return definition if isinstance(definition, StrawberryField) else None


def declaration_of(field: GraphQLField) -> Declaration | None:
    """Return the declaration of a field, or None where the field is opaque."""
    definition = strawberry_field(field)
    declared: Declaration | None = definition.metadata.get(DECLARATION) if definition is not None else None
    return declared


def class_of(type_: GraphQLNamedType) -> Callable[..., Any] | None:
    """Return the Python class of an object type, or None where Strawberry did not define the type."""
    definition = type_.extensions.get(STRAWBERRY) if type_.extensions else None
    origin: Callable[..., Any] | None = getattr(definition, "origin", None)
    return origin


def joins_of(field: GraphQLField) -> bool:
    """Return whether the statement of a field also joins the rows that edges of its rows lead to (metadata `JOINS`)."""
    definition = strawberry_field(field)
    return definition is not None and bool(definition.metadata.get(JOINS))
