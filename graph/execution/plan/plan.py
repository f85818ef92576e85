"""Plans: what one operation does under one vector of conditions, as a tree of places and levels.

A *place* is a position of objects in the response, such as `posts.nodes.author`. A *level* is the selection on one
object type at a place. All objects of that type at that place are read and completed together. The level of an object
type is planned with its place; levels below an interface or union are planned when the first object of a type occurs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from weakref import WeakValueDictionary

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.pyutils import Path
from strawberry.types.field import StrawberryField

from graph.execution.declarations import (
    Column,
    Computed,
    Declaration,
    Derived,
    Prefixed,
    RowEdge,
    declaration_of,
    joins_of,
    strawberry_field,
)
from graph.execution.plan.arguments import ArgumentPlanner, Arguments
from graph.execution.plan.collecting import Collected, Collector, Conditions, Fragments
from graph.execution.strawberry_adapter import Resolver, attribute_of, converter_of, info_maker, resolver_of


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
        info: converts graphql-core's info to the info that an edge's declaration takes.
        lists: the depth of lists around its objects or leaves.
        place: the place of its objects; None for leaves.
        ends_in_tables: its values are tables, and no field below them is kept.
        table_edges: the edges of its tables' rows, if no other fields are kept and all lead only to tables; else empty.
        leads_to_rows: it is an edge whose loader may return the bare rows of its place, one for each key.
        leads_to_leaves: as `leads_to_rows`, and no field of these rows is kept.
        prefetchable: the edges below the rows that its statement reads, each with the column that is its key.
        selected: the names of its object's selected fields, if its resolver gets them and the `prefetchable` edges.
        path: its place, without the rest of the response path.
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
    resolver: Resolver | None = None
    info: Callable[[Any], Any] | None = None
    attribute: str = ""
    lists: int = 0
    place: "Place | None" = None
    ends_in_tables: bool = False
    table_edges: "Sequence[FieldPlan]" = ()
    leads_to_rows: bool = False
    leads_to_leaves: bool = False
    prefetchable: "Sequence[tuple[FieldPlan, str]]" = ()
    selected: frozenset[str] | None = None
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.path = Path(None, self.key, self.parent.name)

    @property
    def type_(self) -> GraphQLOutputType:
        """The field's type."""
        assert self.definition is not None
        return self.definition.type

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
    """

    type_: GraphQLObjectType
    rows: "Rows"
    fields: list[FieldPlan] = field(default_factory=list)
    kept: list[FieldPlan] = field(default_factory=list)
    single_root_edge: FieldPlan | None = None
    uses_rows: bool = False
    needs_paths: bool = False
    source: str = ""
    complete: Callable[..., list[Any]] | None = None


class Place:
    """A position of objects in the response.

    Attributes:
        named: their type, without lists and non-null.
        lists: the depth of lists around them.
        rows: their form.
        needs_paths: some resolver below uses its response path.
    """

    def __init__(self, planner: "Planner", type_: GraphQLOutputType, nodes: Sequence[FieldNode], rows: "Rows") -> None:
        self._planner = planner
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
            level = self._planner.level(type_, selection_sets, self.rows)
            self._levels[type_.name] = level
        return level


@dataclass(frozen=True, slots=True)
class Plan:
    """What an operation does: the level of its root. For a mutation: one level for each root field, in order."""

    roots: Sequence[Level]


class Planner:
    """Makes the plan of one operation under one vector of conditions, and calls `planned` with each new level."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Fragments,
        conditions: Conditions,
        *,
        hide_suggestions: bool,
        planned: Callable[[Level], None],
    ) -> None:
        self._planned_level = planned
        self._schema = schema
        self._operation = operation
        self._converter = converter_of(schema)
        self._collector = Collector(schema, fragments, conditions)
        self._arguments = ArgumentPlanner(operation, self._converter, hide_suggestions=hide_suggestions)
        # Places hold levels and this planner. The weak references here prevent a reference cycle.
        self._levels: WeakValueDictionary[tuple[object, ...], Level] = WeakValueDictionary()

    def plan(self, root_type: GraphQLObjectType, *, serial: bool) -> Plan:
        """Return the plan of the operation.

        Raises:
            Unsupported: the ordinary engine must run the operation.
        """
        collected = self._collector.collect(root_type, [self._operation.selection_set])
        if serial:
            return Plan([self._planned(root_type, {key: nodes}, Rows()) for key, nodes in collected.items()])
        return Plan([self._planned(root_type, collected, Rows())])

    def level(self, type_: GraphQLObjectType, selection_sets: Sequence[SelectionSetNode], rows: Rows) -> Level:
        """Return the level of a type with these selection sets. Equal levels are planned once."""
        key = (type_.name, rows, *map(id, selection_sets))
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = self._planned(type_, self._collector.collect(type_, selection_sets), rows)
        return level

    def _planned(self, type_: GraphQLObjectType, collected: Collected, rows: Rows) -> Level:
        level = Level(type_, rows)
        for key, nodes in collected.items():
            plan = self._field(level, key, nodes)
            if plan is None:
                continue
            if plan.is_kept:
                plan.slot = len(level.kept)
                level.kept.append(plan)
            level.fields.append(plan)
            level.uses_rows |= _reads_row(plan.declaration)
            level.needs_paths |= plan.needs_path
        if (
            len(level.kept) == 1
            and isinstance(level.kept[0].declaration, RowEdge)
            and not _reads_row(level.kept[0].declaration)
        ):
            level.single_root_edge = level.kept[0]
        self._planned_level(level)
        return level

    def _field(self, level: Level, key: str, nodes: list[FieldNode]) -> FieldPlan | None:
        name, type_ = nodes[0].name.value, level.type_
        if name == "__typename":
            return FieldPlan(key, name, nodes, type_, None, FieldKind.TYPENAME)
        definition = type_.fields.get(name)
        if definition is None:
            return None
        declared, strawberry = declaration_of(definition), strawberry_field(definition)
        plan = FieldPlan(key, name, nodes, type_, definition, _KINDS[type(declared)], declaration=declared)
        if isinstance(declared, RowEdge):
            plan.arguments = self._arguments.plan(definition, nodes[0], strawberry)
            plan.info = info_maker(strawberry, self._converter)
        elif declared is None:
            self._prepare_opaque(plan, definition, strawberry)
        plan.lists = list_depth(definition.type)
        named = get_named_type(definition.type)
        if is_leaf_type(named):
            return plan
        if isinstance(declared, RowEdge) and self._join(level, plan, declared, named):
            return plan
        bare = isinstance(declared, Derived | RowEdge) and is_row_backed(named) and getattr(declared, "bare", True)
        joins = joins_of(definition) or (level.rows.joins and not is_row_backed(type_))
        by_column = bare and plan.lists == 1 and isinstance(declared, Derived) and declared.table
        place = plan.place = Place(self, definition.type, nodes, Rows(bare=bare, by_column=by_column, joins=joins))
        plan.ends_in_tables = by_column and place.only is not None and not (place.only.kept or place.needs_paths)
        if by_column and place.only is not None and place.only.kept and not place.needs_paths:
            plan.table_edges = _table_edges(place.only) or ()
        plan.leads_to_rows = isinstance(declared, RowEdge) and bare and not plan.lists and not place.needs_paths
        plan.leads_to_leaves = plan.leads_to_rows and place.only is not None and not place.only.kept
        reads = declared is None or (isinstance(declared, RowEdge) and declared.key is None)
        if reads and joins_of(definition) and place.only is not None:
            plan.prefetchable = list(_prefetchable_edges(place))
            plan.selected = frozenset(one.name for one in place.only.fields)
        return plan

    def _prepare_opaque(self, plan: FieldPlan, definition: GraphQLField, strawberry: StrawberryField | None) -> None:
        attribute = attribute_of(definition, strawberry, self._converter)
        if attribute is not None:
            plan.kind, plan.attribute = FieldKind.ATTRIBUTE, attribute
            return
        plan.resolver = resolver_of(definition, strawberry, self._converter)
        plan.arguments = self._arguments.plan(definition, plan.nodes[0], strawberry if plan.resolver.direct else None)

    def _join(self, level: Level, plan: FieldPlan, edge: RowEdge, named: GraphQLNamedType) -> bool:
        """Plan the edge as joined where this level's own rows hold its columns. Return whether they do."""
        if edge.joined is None or not (level.rows.bare and level.rows.joins) or level.rows.prefix:
            return False
        if not is_non_null_type(plan.type_):
            return False  # a missing joined row would look like a row whose columns are all null
        place = Place(self, plan.type_, plan.nodes, Rows(bare=True, by_column=level.rows.by_column, prefix=edge.joined))
        if place.only is None or not is_row_backed(named) or not all(map(_is_joinable, place.only.fields)):
            return False
        plan.kind, plan.place = FieldKind.JOINED, place
        return True


_KINDS: Mapping[type, FieldKind] = {
    Column: FieldKind.INLINE,
    Prefixed: FieldKind.INLINE,
    Computed: FieldKind.INLINE,
    Derived: FieldKind.DERIVED,
    RowEdge: FieldKind.EDGE,
    type(None): FieldKind.OPAQUE,
}


def _prefetchable_edges(place: Place) -> Iterator[tuple[FieldPlan, str]]:
    """Yield the edges of the rows that one statement reads, also below joined rows and objects that wrap rows."""
    level = place.only
    for plan in level.fields if level is not None else ():
        declared = plan.declaration
        if plan.kind is FieldKind.EDGE and level is not None and level.rows.bare:
            assert isinstance(declared, RowEdge)
            if declared.key is not None:
                yield plan, level.rows.prefix + declared.key
        elif plan.place is not None and (plan.kind is FieldKind.JOINED or isinstance(declared, Derived)):
            yield from _prefetchable_edges(plan.place)


def _table_edges(level: Level) -> "list[FieldPlan] | None":
    """Return the edges of a level's rows and joined rows that lead to tables; None where other fields are kept."""
    found: list[FieldPlan] = []
    for plan in level.kept:
        below = plan.place.only if plan.place is not None else None
        if below is None:
            return None
        if plan.kind is FieldKind.JOINED:
            edges = _table_edges(below)
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


def _reads_row(declared: Declaration | None) -> bool:
    if isinstance(declared, RowEdge):
        return declared.key is not None
    return isinstance(declared, Column | Prefixed | Computed)


def _is_joinable(plan: FieldPlan) -> bool:
    """Return whether a field can be read from columns with a prefix."""
    if plan.kind is FieldKind.INLINE:
        return isinstance(plan.declaration, Column | Prefixed)
    return plan.kind in {FieldKind.TYPENAME, FieldKind.EDGE}


def is_row_backed(type_: GraphQLNamedType) -> bool:
    """Return whether the type's objects represent rows: at least one field reads a row."""
    if not isinstance(type_, GraphQLObjectType):
        return False
    return any(_reads_row(declaration_of(one)) for one in type_.fields.values())


def list_depth(type_: GraphQLOutputType) -> int:
    """Return the depth of lists around the named type."""
    depth = 0
    while is_list_type(type_) or is_non_null_type(type_):
        depth += is_list_type(type_)
        type_ = type_.of_type
    return depth
