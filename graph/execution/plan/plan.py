"""The planner: makes the plan of one operation under one vector of conditions, as a tree of places and levels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
    is_leaf_type,
    is_non_null_type,
    is_required_argument,
)

from graph.execution.declarations import (
    Column,
    Computed,
    Derived,
    Prefixed,
    RowEdge,
    declaration_of,
    joins_of,
    strawberry_field,
)
from graph.execution.plan.arguments import ArgumentPlanner, has_variable
from graph.execution.plan.collecting import Collected, Collector, Conditions, Fragments, Unsupported
from graph.execution.plan.levels import (
    FieldKind,
    FieldPlan,
    Level,
    Place,
    Rows,
    is_row_backed,
    list_depth,
    prefetchable_edges,
    reads_row,
    selected_below,
    table_edges,
)
from graph.execution.strawberry_adapter import (
    StrawberryField,
    attribute_of,
    converter_of,
    info_maker,
    is_stream,
    resolver_of,
)


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
        self._is_running = False

    def plan(self, root_type: GraphQLObjectType, *, serial: bool) -> Plan:
        """Return the plan of the operation.

        Raises:
            Unsupported: the ordinary engine must run the operation.
        """
        collected = self._collector.collect(root_type, [self._operation.selection_set])
        parts = [{key: nodes} for key, nodes in collected.items()] if serial else [collected]
        plan = Plan([self._planned(root_type, one, Rows()) for one in parts])
        self._is_running = True
        return plan

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
            level.uses_rows |= reads_row(plan.declaration)
            level.needs_paths |= plan.needs_path
        if (
            len(level.kept) == 1
            and isinstance(level.kept[0].declaration, RowEdge)
            and not reads_row(level.kept[0].declaration)
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
            self._prepare_edge(plan, declared, definition, strawberry)
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
        place = plan.place = Place(
            self.level, definition.type, nodes, Rows(bare=bare, by_column=by_column, joins=joins)
        )
        plan.ends_in_tables = by_column and place.only is not None and not (place.only.kept or place.needs_paths)
        if by_column and place.only is not None and place.only.kept and not place.needs_paths:
            plan.table_edges = table_edges(place.only) or ()
        plan.leads_to_rows = isinstance(declared, RowEdge) and bare and not plan.lists and not place.needs_paths
        reads = declared is None or (isinstance(declared, RowEdge) and declared.key is None)
        if reads and joins_of(definition) and place.only is not None:
            plan.prefetchable = list(prefetchable_edges(place))
            plan.selected = frozenset(selected_below(place))
        elif isinstance(declared, RowEdge) and not bare and place.only is not None:
            plan.selected = frozenset(selected_below(place))
        return plan

    def _prepare_edge(
        self, plan: FieldPlan, edge: RowEdge, definition: GraphQLField, strawberry: StrawberryField | None
    ) -> None:
        node = plan.nodes[0]
        if edge.keys:
            keys, node_of_keys = self._arguments.only(definition, node, strawberry, edge.keys)
            definition, node = self._arguments.only(definition, node, strawberry, edge.keys, without=True)
            if node_of_keys.arguments or any(map(is_required_argument, keys.args.values())):
                plan.keys = self._arguments.plan(keys, node_of_keys, strawberry, is_shared=True)
        plan.arguments = self._arguments.plan(definition, node, strawberry, is_shared=True)
        plan.info = info_maker(strawberry, self._converter)
        plan.is_constant = not any(has_variable(one.value) for one in node.arguments or ())

    def _prepare_opaque(self, plan: FieldPlan, definition: GraphQLField, strawberry: StrawberryField | None) -> None:
        attribute = attribute_of(definition, strawberry, self._converter)
        if attribute is not None:
            plan.kind, plan.attribute = FieldKind.ATTRIBUTE, attribute
            return
        if is_stream(definition, strawberry) and not self._is_running:
            raise Unsupported("async generator")  # levels below abstract types are planned too late for it
        plan.resolver = resolver_of(definition, strawberry, self._converter)
        plan.arguments = self._arguments.plan(definition, plan.nodes[0], strawberry if plan.resolver.direct else None)

    def _join(self, level: Level, plan: FieldPlan, edge: RowEdge, named: GraphQLNamedType) -> bool:
        """Plan the edge as joined where this level's own rows hold its columns. Return whether they do."""
        if edge.joined is None or not (level.rows.bare and level.rows.joins) or level.rows.prefix:
            return False
        if not is_non_null_type(plan.type_):
            return False  # a missing joined row would look like a row whose columns are all null
        place = Place(
            self.level, plan.type_, plan.nodes, Rows(bare=True, by_column=level.rows.by_column, prefix=edge.joined)
        )
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


def _is_joinable(plan: FieldPlan) -> bool:
    """Return whether a field can be read from columns with a prefix."""
    if plan.kind is FieldKind.INLINE:
        return isinstance(plan.declaration, Column | Prefixed)
    return plan.kind in {FieldKind.TYPENAME, FieldKind.EDGE}
