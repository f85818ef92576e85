"""The parts of a plan: places and their levels, with the fields of each, and what follows from them alone.

A *place* is a position of objects in the response, such as `posts.nodes.author`. A *level* is the selection on one
object type at a place. All objects of that type at that place are read and completed together. The level of an object
type is planned with its place; levels below an interface or union are planned when the first object of a type occurs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLOutputType,
    SelectionSetNode,
    get_named_type,
    is_list_type,
    is_non_null_type,
)
from graphql.pyutils import Path

from graph.execution.declarations import (
    Column,
    Computed,
    Declaration,
    Derived,
    EdgeBinding,
    Prefixed,
    RowEdge,
    declaration_of,
)
from graph.execution.plan.arguments import Arguments
from graph.execution.strawberry_adapter import Resolver


class FieldKind(Enum):
    """How the values of a field are obtained."""

    TYPENAME = auto()
    INLINE = auto()  # read from the row by the generated function
    ATTRIBUTE = auto()
    DERIVED = auto()
    EDGE = auto()
    JOINED = auto()  # an edge whose row is already part of this row
    OPAQUE = auto()


@dataclass(frozen=True, slots=True)
class Rows:
    """The form of the objects of a level.

    Attributes:
        bare: they are rows, not objects that hold rows.
        by_column: they are a `tables.Table`.
        prefix: the prefix of the level's column names in the rows.
        joins: the statement that reads the rows also joins the rows that edges lead to.
    """

    bare: bool = False
    by_column: bool = False
    prefix: str = ""
    joins: bool = False


@dataclass(slots=True, eq=False)
class FieldPlan:
    """One field of a level.

    Attributes:
        key: its response key.
        slot: the index of its values in a frame; -1 where they are not kept.
        info: converts graphql-core's info to the info that an edge's declaration takes (`Resolver.info`).
        lists: the depth of lists around its objects or leaves.
        place: the place of its objects; None for leaves.
        ends_in_tables: its values are tables, and no field below them is kept.
        table_edges: the edges of its tables' rows, if no other fields are kept and all lead only to tables; else empty.
        leads_to_rows: it is an edge whose loader may return the bare rows of its place, one for each key.
        prefetchable: the edges below the rows that its statement reads, each with the column that is its key.
        selected: the names of its object's selected fields, if its resolver or edge gets them and the `prefetchable`
            edges. Fields of an object that stands for no row have a path, such as `pageInfo.endCursor`.
        keys: makes those arguments of an edge that its binding takes (`RowEdge.keys`); None if none is given.
        is_constant: it is an edge, and its other arguments contain no variables.
        binding: of an edge with constant arguments, from its first run on.
        path: its place, without the rest of the response path.
        type_: its type; unknown only for `__typename`.
    """

    key: str
    name: str
    nodes: list[FieldNode]
    parent: GraphQLObjectType
    definition: GraphQLField | None
    kind: FieldKind
    slot: int = -1
    declaration: Declaration | None = None
    arguments: Arguments | None = None
    keys: Arguments | None = None
    resolver: Resolver | None = None
    info: Callable[[Any], Any] | None = None
    attribute: str = ""
    lists: int = 0
    place: "Place | None" = None
    ends_in_tables: bool = False
    table_edges: "Sequence[FieldPlan]" = ()
    leads_to_rows: bool = False
    prefetchable: "Sequence[tuple[FieldPlan, str]]" = ()
    selected: frozenset[str] | None = None
    is_constant: bool = False
    binding: EdgeBinding | None = None
    path: Path = field(init=False)
    type_: GraphQLOutputType = field(init=False)

    def __post_init__(self) -> None:
        self.path = Path(None, self.key, self.parent.name)
        if self.definition is not None:
            self.type_ = self.definition.type

    @property
    def is_trusted(self) -> bool:
        """Whether its declaration promises rows and lists of rows, so that they need no search for awaitables."""
        return isinstance(self.declaration, Derived) and self.declaration.bare

    @property
    def is_kept(self) -> bool:
        """Whether a frame keeps its values until the response is completed."""
        if self.kind is FieldKind.INLINE:
            return self.place is not None
        if self.kind is FieldKind.JOINED:
            return self.place is not None and self.place.only is not None and bool(self.place.only.kept)
        return self.kind is not FieldKind.TYPENAME

    @property
    def needs_path(self) -> bool:
        """Whether a resolver of this field or below it uses its response path."""
        if self.resolver is not None and self.resolver.wants_info:
            return True
        return self.place is not None and self.place.needs_paths


@dataclass(slots=True, eq=False, weakref_slot=True)
class Level:
    """The selection on one object type at one place.

    Attributes:
        rows: the form of its objects.
        uses_rows: some field reads the row.
        kept: the fields whose values a frame keeps, by slot.
        single_root_edge: the only kept field, where it is an edge whose key is not a column.
        complete: makes the response data of all sources; generated, see `graph.execution.output.generation`.
        payload: at the root, makes the response data of what its only resolver returns; None if that needs a general
            run. See `graph.execution.output.generation.payload_completer`.
        folder: makes the response data of all sources and of all levels below; None if that needs a general run,
            and before `is_folded` says that it was decided. See `graph.execution.output.folding`.
    """

    type_: GraphQLObjectType
    rows: Rows
    fields: list[FieldPlan] = field(default_factory=list)
    kept: list[FieldPlan] = field(default_factory=list)
    single_root_edge: FieldPlan | None = None
    uses_rows: bool = False
    needs_paths: bool = False
    source: str = ""
    complete: Callable[..., list[Any]] | None = None
    is_folded: bool | None = None
    payload: Callable[[Any], dict[str, Any]] | None = None
    folder: Callable[..., list[Any]] | None = None


PlanLevel = Callable[[GraphQLObjectType, Sequence[SelectionSetNode], Rows], Level]
"""Plans the level of a type with these selection sets."""


class Place:
    """A position of objects in the response.

    Attributes:
        named: their type, without lists and non-null.
        lists: the depth of lists around them.
        rows: their form.
        needs_paths: some resolver below uses its response path.
    """

    def __init__(self, plan: PlanLevel, type_: GraphQLOutputType, nodes: Sequence[FieldNode], rows: Rows) -> None:
        self._plan = plan
        self._nodes = nodes
        self.rows = rows
        self.named: GraphQLNamedType = get_named_type(type_)
        self.lists = list_depth(type_)
        self.only: Level | None = None
        self._levels: dict[str, Level] = {}
        if isinstance(self.named, GraphQLObjectType):
            self.only = self.level(self.named)
        self.needs_paths = self.only is None or self.only.needs_paths

    def level(self, type_: GraphQLObjectType) -> Level:
        """Return the level of an object type at this place. It is planned at the first call."""
        level = self._levels.get(type_.name)
        if level is None:
            selection_sets = [node.selection_set for node in self._nodes if node.selection_set is not None]
            level = self._plan(type_, selection_sets, self.rows)
            self._levels[type_.name] = level
        return level


def prefetchable_edges(place: Place) -> Iterator[tuple[FieldPlan, str]]:
    """Yield the edges of the rows that one statement reads, also below joined rows and objects that wrap rows."""
    level = place.only
    for plan in level.fields if level is not None else ():
        declared = plan.declaration
        if plan.kind is FieldKind.EDGE and level is not None and level.rows.bare:
            assert isinstance(declared, RowEdge)
            if declared.key is not None:
                yield plan, level.rows.prefix + declared.key
        elif plan.place is not None and (plan.kind is FieldKind.JOINED or isinstance(declared, Derived)):
            yield from prefetchable_edges(plan.place)


def selected_below(place: Place) -> Iterator[str]:
    """Yield the names of the selected fields of a place's objects, with the paths below objects without a row."""
    for plan in place.only.fields if place.only is not None else ():
        yield plan.name
        if isinstance(plan.declaration, Derived) and plan.place is not None and not (plan.lists or plan.is_trusted):
            yield from (f"{plan.name}.{name}" for name in selected_below(plan.place))


def table_edges(level: Level) -> "list[FieldPlan] | None":
    """Return the edges of a level's rows and joined rows that lead to tables; None if other fields are kept."""
    found: list[FieldPlan] = []
    for plan in level.kept:
        below = plan.place.only if plan.place is not None else None
        if below is None:
            return None
        if plan.kind is FieldKind.JOINED:
            edges = table_edges(below)
            if edges is None:
                return None
            found += edges
        elif plan.kind is FieldKind.EDGE and all(
            one.kind is FieldKind.TYPENAME or one.ends_in_tables for one in below.fields
        ):
            found.append(plan)
        else:
            return None
    return found


def reads_row(declared: Declaration | None) -> bool:
    """Return whether a field reads a column of the row."""
    if isinstance(declared, RowEdge):
        return declared.key is not None
    return isinstance(declared, Column | Prefixed | Computed)


def is_row_backed(type_: GraphQLNamedType) -> bool:
    """Return whether the type's objects represent rows: at least one field reads a row."""
    if not isinstance(type_, GraphQLObjectType):
        return False
    return any(reads_row(declaration_of(one)) for one in type_.fields.values())


def list_depth(type_: GraphQLOutputType) -> int:
    """Return the depth of lists around the named type."""
    depth = 0
    while is_list_type(type_) or is_non_null_type(type_):
        depth += is_list_type(type_)
        type_ = type_.of_type
    return depth
