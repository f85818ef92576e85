"""Declarations: where the value of a field comes from. They let the executor read a whole level at once.

A declaration is stored in the metadata of a Strawberry field under the key `DECLARATION`. The code that declares a
field also builds its ordinary resolver from the same declaration, so that both engines read one source of truth. A
field without a declaration is *opaque*: its resolver is called for each object, as in graphql-core.

An object of a *row-backed* type holds its row in the attribute `row`. Its class is called with `row=` to make it. A row
is any object that supports `row[name]`. Declared fields pass bare rows to each other; the executor makes an object of a
row only where an opaque resolver needs one.
"""

from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, TypeAlias

from graphql import GraphQLField, GraphQLNamedType

from graph.execution.strawberry_adapter import StrawberryField

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


class SingleLoader(LevelLoader, Protocol):
    """A loader whose read for one key can begin without a coroutine. Operations may share the answer of such a read.

    Attributes:
        name: the name of the edge; None if its reads are not counted as batches.
        brings: the loaders whose results for the read rows come with the answer.
    """

    name: str | None
    brings: Sequence[LevelLoader]

    def pending_read(self, key: Any) -> Any:
        """Return a read that is not sent yet; None if the database does not coalesce it."""
        ...

    def take(self, answer: Any, key: Any) -> tuple[Any, int]:
        """Return the value of `key` in an answer, and how many rows it has.

        The loaders in `brings` receive their results.
        """
        ...


class HoldingLoader(LevelLoader, Protocol):
    """A loader that another loader's answer may fill (`SingleLoader.brings`)."""

    def held(self, keys: Sequence[Any]) -> list[Any]:
        """Return the values of `keys`, which are loaded already.

        Raises:
            KeyError: a value is not loaded. No value is null or an exception.
        """
        ...


class Waits(Exception):  # noqa: N818 - not an error
    """A value cannot be returned without waiting (`Derived.ready`)."""


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
        ready: does as `of`, but never returns an awaitable: it raises `Waits` instead. An object that it returns is
            not null, nor is an item of a list of objects. None if the values must be inspected. A table is ready.
    """

    of: Callable[[Any], Any]
    bare: bool = False
    table: bool = False
    ready: Callable[[Any], Any] | None = None


@dataclass(slots=True, eq=False)  # each edge of each operation makes one: a frozen class takes three times as long
class BoundEdge:
    """An edge with its arguments applied: its loader, and how a loaded value becomes the field's value.

    Attributes:
        wrap: makes the field's value from a loaded value and its key. Without it the value is a bare row or None.
        key: the key, for an edge that takes it from the arguments and not from a column. None finds no row.
        identity: what the results depend on besides the keys. Equal loaders of several operations have equal
            identities. A table lists the identities whose results came with its rows
            (`tables.Columns.included_loaders`). None if no table brings them.
        waits: whether fields below it, which no loader reads, may need further reads.
    """

    loader: LevelLoader
    wrap: Callable[[Any, Any], Any] | None = None
    key: Any = None
    identity: Hashable = None
    waits: bool = False


class PrefetchableEdge(NamedTuple):
    """An edge below the rows of a field, bound before the rows are read: their statement may also load its results.

    Attributes:
        key: the column of the rows that is the edge's key.
    """

    bound: BoundEdge
    key: str


Prefetch = Callable[[], "list[PrefetchableEdge]"] | None
"""Returns the edges below the rows of an edge, bound, whose results the statement of these rows may also load.

None if there are no such edges.
"""


class EdgeBinding(Protocol):
    """An edge with its arguments applied, before it has a loader.

    It depends on nothing but the arguments and the selection. A plan keeps the binding of an edge with constant
    arguments, so that this work is done once and not at every run.
    """

    @property
    def bound(self) -> Callable[..., BoundEdge]:
        """Returns the edge bound to a loader of one operation.

        It is called with the context, the `Prefetch`, and, by name, the arguments that `RowEdge.keys` names.
        """
        ...


@dataclass(frozen=True, slots=True)
class RowEdge:
    """The field leads to other rows. A loader finds them by a key.

    Attributes:
        key: the column of the row that is the key; None if the field's arguments contain it (`BoundEdge.key`).
        bind: binds the edge, or returns its binding. It is called once per level with `(info, **arguments)`, but not
            again where it has returned a binding and the arguments are constant. It mutates no argument.
        missing: makes the error for a row that does not exist; without it the value is null.
        joined: the prefix of the other row's columns within this row, if the statement that read this row has joined
            them; None if no statement joins them.
        keys: the names of arguments that say where in a table or list the rows are, such as an id or a cursor. Often
            they alone are variables. `bind` does not get them, but its binding (`EdgeBinding.bound`), which a plan
            keeps if the other arguments are constant.
    """

    key: str | None
    bind: Callable[..., BoundEdge | EdgeBinding]
    missing: Callable[[], Exception] | None = None
    joined: str | None = None
    keys: Collection[str] = ()


Declaration: TypeAlias = Column | Prefixed | Computed | Derived | RowEdge


def strawberry_field(field: GraphQLField) -> StrawberryField | None:
    """Return the Strawberry field that defines a field of the schema, or None if Strawberry did not define it."""
    definition = field.extensions.get(STRAWBERRY) if field.extensions else None
    return definition if isinstance(definition, StrawberryField) else None


def declaration_of(field: GraphQLField) -> Declaration | None:
    """Return the declaration of a field, or None if the field is opaque."""
    definition = strawberry_field(field)
    declared: Declaration | None = definition.metadata.get(DECLARATION) if definition is not None else None
    return declared


def class_of(type_: GraphQLNamedType) -> Callable[..., Any] | None:
    """Return the Python class of an object type, or None if Strawberry did not define the type."""
    definition = type_.extensions.get(STRAWBERRY) if type_.extensions else None
    origin: Callable[..., Any] | None = getattr(definition, "origin", None)
    return origin


def plain_class_of(type_: GraphQLNamedType) -> Callable[..., Any] | None:
    """Return the Python class of an object type if its instances are of this type without a further test, or None."""
    definition = type_.extensions.get(STRAWBERRY) if type_.extensions else None
    tested = getattr(definition, "is_type_of", None) is not None or getattr(definition, "concrete_of", None) is not None
    return None if tested else class_of(type_)


def joins_of(field: GraphQLField) -> bool:
    """Return whether the statement of a field also joins the rows that edges of its rows lead to (metadata `JOINS`)."""
    definition = strawberry_field(field)
    return definition is not None and bool(definition.metadata.get(JOINS))
