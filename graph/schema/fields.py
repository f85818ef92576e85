"""Declarations of the fields of row-backed types: a column, a value computed from columns, or an edge.

A row-backed object holds one asyncpg record (`row`), with the columns that the operation needs and no others. A field
declares the columns that it reads and the source of its value. This declaration is the only one: `graph.execution`
reads whole levels by it, this module makes Strawberry's ordinary resolver from it, and `graph.analysis.selection`
collects the columns to read from it.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Protocol, TypeVar

import strawberry
from graphql import GraphQLError

from db.connections.statements import Row
from db.query.pages import Columns
from graph.analysis.cost import LONGEST_METADATA
from graph.analysis.field_facts import AHEAD_METADATA, COLUMNS_METADATA, ORDER_METADATA
from graph.execution import DECLARATION, JOINS, BoundEdge, Column, Computed, Derived, EdgeBinding, Prefixed, RowEdge
from graph.runtime.context import Info, columns_below
from graph.schema.ids import NodeKind, global_id, parse
from graph.schema.nodes import ID, OBJECT_OF
from graph.schema.prefetching import RowBinding

T = TypeVar("T")

KEY: Any = strawberry.UNSET
"""Stands for an argument without a default, where a function declares it but does not get it (`RowEdge.keys`)."""


class RowBacked(Protocol):
    """An object that represents one row."""

    row: strawberry.Private[Row]


def column(name: str, description: str, *, longest: int | None = None, directives: Sequence[object] = ()) -> Any:
    """Declare a field for the column `name`; `longest` is the maximum number of characters where these may be many."""

    def resolve(root: RowBacked) -> Any:
        return root.row[name]

    wants = None if longest is None else {LONGEST_METADATA: longest}
    return _declared(resolve, Column(name), (name,), description, directives=directives, wants=wants)


def identity(kind: NodeKind) -> Any:
    """Declare the `id` of a node."""

    def resolve(root: RowBacked) -> strawberry.ID:
        return global_id(kind, root.row["id"])

    return _declared(resolve, Prefixed(f"{kind.value}_", "id"), ("id",), ID)


def computed(of: Callable[[Row], Any], columns: Columns, description: str) -> Any:
    """Declare a field that is a pure function of `columns` of the row."""

    def resolve(root: RowBacked) -> Any:
        return of(root.row)

    return _declared(resolve, Computed(of), columns, description)


def edge(
    key: str,
    loading: Callable[..., BoundEdge | EdgeBinding],
    description: str,
    *,
    made: Callable[[Row], Any] | None = None,
    missing: Callable[[], Exception] | None = None,
    joined: str | None = None,
    joins: bool = False,
    keys: Collection[str] = (),
    name: str | None = None,
    directives: Sequence[object] = (),
) -> Any:
    """Declare a field that leads to other rows, which a loader finds by the column `key`.

    Attributes:
        loading: takes the info and the field's arguments, and returns the edge bound to its loader. Its signature is
            also that of the field.
        made: makes the object of a loaded row, where the loader returns rows of a row-backed type.
        missing: makes the error for a missing row; without it the field is null.
        joined: the prefix of the other row's columns where a statement has joined them.
        joins: whether the statement that reads the other rows joins the rows that their edges may lead to.
        keys: the names of the arguments that `loading` declares, but that its binding takes (`RowEdge.keys`).
    """

    async def resolve(root: RowBacked, info: strawberry.Info[Any, None], **arguments: Any) -> Any:
        applied = _bound_alone(loading, keys, info, arguments)
        key_value = root.row[key]
        value = await applied.loader.load(key_value)
        if value is None:
            if missing is not None:
                raise missing()
            return None
        if applied.wrap is not None:
            return applied.wrap(value, key_value)
        return value if made is None else made(value)

    root = inspect.Parameter("root", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Any)
    _take_signature(resolve, loading, (root,))
    declaration = RowEdge(key, loading, missing, joined, keys)
    return _declared(resolve, declaration, (key,), description, name=name, directives=directives, joins=joins)


def node_edge(
    key: str,
    kind: NodeKind,
    node_type: type[T],
    description: str,
    *,
    missing: str = "",
    joined: str | None = None,
) -> Any:
    """Declare an edge to one node, whose id is in the column `key`; the loader `<kind>_by_id` reads it.

    `missing` is the message of the error if the node was deleted, together with this row, between the two statements
    that read them. It is needed if a node with such a key can be deleted, because the field must not be null. `joined`
    is as of `edge`.
    """
    row_type, loader = node_type.__name__, f"{kind.value}_by_id"

    def loading(info: Info) -> BoundEdge:
        return BoundEdge(info.context.loaders.rows(loader, columns_below(info, row_type, "id")))

    def stale() -> GraphQLError:
        return GraphQLError(missing, extensions={"code": "CONCURRENT_CHANGE"})

    made = OBJECT_OF[row_type]
    return edge(key, loading, description, made=made, missing=stale if missing else None, joined=joined)


def lookup_field(
    loading: Callable[..., BoundEdge | EdgeBinding],
    description: str,
    made: Callable[[Row], Any] | None = None,
    *,
    keys: Collection[str] = (),
    directives: Sequence[object] = (),
) -> Any:
    """Declare a query whose loader and key `loading` makes from the arguments; null if no row has this key.

    Args:
        loading: takes the info and the field's arguments, and returns the edge bound to its loader and key.
        description: of the field.
        made: makes the object of a loaded row, where the loader returns rows of a row-backed type.
        keys: as of `edge`.
        directives: of the field.
    """

    async def resolve(info: strawberry.Info[Any, None], **arguments: Any) -> Any:
        applied = _bound_alone(loading, keys, info, arguments)
        value = None if applied.key is None else await applied.loader.load(applied.key)
        if value is None or made is not None:
            return None if value is None or made is None else made(value)
        return value if applied.wrap is None else applied.wrap(value, applied.key)

    _take_signature(resolve, loading, ())
    return _declared(resolve, RowEdge(None, loading, keys=keys), None, description, joins=True, directives=directives)


def node_lookup(kind: NodeKind, row_type: str, description: str = "") -> Any:
    """Declare the query for one node of a kind by its id; the loader `<kind>_by_id` reads the node."""
    noun, loader = kind.value, f"{kind.value}_by_id"

    key = partial(parse, kind=kind, where="id")

    def loading(
        info: Info,
        id_: Annotated[strawberry.ID, strawberry.argument(name="id", description=f"The id of the {noun}.")] = KEY,
    ) -> RowBinding:
        return RowBinding(loader, columns_below(info, row_type, "id"), key)

    description = description or f"The {noun} with this id. Null if there is none that the viewer can see."
    return lookup_field(loading, description, OBJECT_OF[row_type], keys=["id_"])


async def find_node(info: Info, kind: NodeKind, node_type: type[T], row_id: int) -> T | None:
    """Return the node of a row, or None if there is none that the viewer may see."""
    row_type = node_type.__name__
    loader = info.context.loaders.rows(f"{kind.value}_by_id", columns_below(info, row_type, "id"))
    row = await loader.load(row_id)
    found: T | None = None if row is None else OBJECT_OF[row_type](row)
    return found


def _bound_alone(
    loading: Callable[..., BoundEdge | EdgeBinding], keys: Collection[str], info: Info, arguments: dict[str, Any]
) -> BoundEdge:
    """Return an edge bound where the ordinary engine resolves it, which loads nothing below its rows with them."""
    given = {name: arguments.pop(name) for name in keys if name in arguments}
    found = loading(info, **arguments)
    return found if isinstance(found, BoundEdge) else found.bound(info.context, None, **given)


def derived(
    of: Callable[[Any], Any],
    description: str,
    *,
    directives: Sequence[object] = (),
    reads_order: bool = False,
    looks_ahead: bool = False,
    ready: Callable[[Any], Any] | None = None,
) -> Any:
    """Declare a field that is a function of an object that represents no row.

    The function may return an awaitable only if `ready` is given, which raises `Waits` in its place. With `reads_order`
    the field reads the columns by which the list above it is ordered: it is a cursor. With `looks_ahead` it needs to
    know whether more rows follow the page.
    """

    def resolve(root: Any) -> Any:
        return of(root)

    wants: dict[object, object] = {ORDER_METADATA: reads_order, AHEAD_METADATA: looks_ahead}
    declaration = Derived(of, ready=of if ready is None else ready)
    return _declared(resolve, declaration, None, description, directives=directives, wants=wants)


def derived_rows(of: Callable[[Any], Any], made: Callable[[Any], Any], description: str) -> Any:
    """Declare a field whose value is a list of rows, which `of` returns; `made` makes the objects where needed."""

    def resolve(root: Any) -> Any:
        return made(root)

    return _declared(resolve, Derived(of, bare=True, ready=of), None, description)


def derived_table(of: Callable[[Any], Any], made: Callable[[Any], Any], description: str) -> Any:
    """Declare a field as `derived_rows` does, for rows stored by column, such as a `db.query.pages.Page`."""

    def resolve(root: Any) -> Any:
        return made(root)

    return _declared(resolve, Derived(of, bare=True, table=True), None, description)


def _declared(
    resolve: Callable[..., Any],
    declaration: object,
    columns: Columns | None,
    description: str,
    *,
    name: str | None = None,
    directives: Sequence[object] = (),
    joins: bool = False,
    wants: Mapping[Any, object] | None = None,
) -> Any:
    metadata: dict[object, object] = {DECLARATION: declaration, **(wants or {})}
    if joins:
        metadata[JOINS] = True
    if columns is not None:
        metadata[COLUMNS_METADATA] = columns
    return strawberry.field(
        resolver=resolve, description=description, name=name, metadata=metadata, directives=directives
    )


def _take_signature(
    resolve: Any, loading: Callable[..., BoundEdge | EdgeBinding], before: Sequence[inspect.Parameter]
) -> None:
    """Set the resolver's signature to that of `loading`, with the module in which Strawberry reads its annotations."""
    signature = inspect.signature(loading)
    parameters = [*before, *signature.parameters.values()]
    resolve.__signature__ = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)
    annotations = {name: one for name, one in loading.__annotations__.items() if name != "return"}
    resolve.__annotations__ = {**{one.name: one.annotation for one in before}, **annotations}
    resolve.__module__ = loading.__module__
