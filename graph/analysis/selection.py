"""Which columns an operation needs, found by one walk over its document.

Every field of a row-backed type declares the columns it reads (`graph.schema.fields`). The walk adds them up for each
*coordinate*, a field of a root or row-backed type that leads to rows, such as `Query.posts` or `Post.author`. All
places where a coordinate occurs share one answer, so that the loader behind it keeps one cache: the same user asked for
at two places of an operation is read once, with the columns of both.

Where a statement can join what a to-one edge leads to (`joins`), the columns of that row are asked for with a prefix
(`author.username`), beside the edge's own: an edge below something that joins nothing has its loader as ever.

The columns by which a list is ordered are asked for where a cursor is selected, and only there; likewise whether there
is more behind a page.

Fields behind @skip and @include count, whatever their variables say: a column too many is cheap, one too few is a
fault. Each pair of coordinate and fragment is visited once, so the walk is linear in the document however its fragments
nest.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    get_named_type,
    is_abstract_type,
    is_object_type,
)

from db.query.pages import Columns
from graph.execution.declarations import RowEdge, declaration_of, joins_of, strawberry_field

COLUMNS_METADATA = "columns"
ORDER_METADATA = "reads-order"
AHEAD_METADATA = "looks-ahead"
# Among the types of a sink, for no type has a name like these: there are cursors to make; the end of a page matters.
_ORDER = "the order"
_AHEAD = "what is ahead"
# One for each coordinate and order asked for. An operation has few coordinates, but a variable may hold any order.
ANSWERS_KEPT_MAX = 64
_MARKS = {ORDER_METADATA: _ORDER, AHEAD_METADATA: _AHEAD}

Coordinate = tuple[str, str]
Sink = dict[str, set[str]]
Composite = GraphQLObjectType | GraphQLInterfaceType


class Selection:
    """The columns that one operation needs at each of its coordinates."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        *,
        joins: bool = False,
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._joins = joins
        self._sinks: dict[Coordinate, Sink] = {}
        self._visited: set[tuple[int, bool, str, str]] = set()
        self._answers: dict[tuple[str, str, str, tuple[str, ...]], Columns] = {}
        root = schema.get_root_type(operation.operation)
        if root is not None:
            self._walk(root, operation.selection_set, {}, joins=False)

    @property
    def row_types(self) -> frozenset[str]:
        """The row-backed types that the operation reads."""
        return frozenset(name for sink in self._sinks.values() for name in sink if name not in _MARKS.values())

    @property
    def is_single(self) -> bool:
        """Whether all of it is one statement: one row of one type, without an edge."""
        if len(self._sinks) != 1:
            return False
        ((parent, name),) = self._sinks
        target = get_named_type(self._types(parent).fields[name].type)
        return isinstance(target, GraphQLObjectType) and is_row_backed(target)

    def columns(self, parent_type: str, field: str, row_type: str, always: tuple[str, ...] = ()) -> Columns:
        """Return the columns of `row_type` needed below `parent_type.field`, with `always`, in a fixed order."""
        key = (parent_type, field, row_type, always)
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= ANSWERS_KEPT_MAX:
                self._answers.clear()
            needed = self._sinks.get((parent_type, field), {}).get(row_type, ())
            answer = self._answers[key] = tuple(sorted({*needed, *always}))
        return answer

    def page_columns(self, parent_type: str, field: str, row_type: str, order: Columns) -> Columns:
        """Return what a page reads: what is selected, and the columns of its order where there are cursors to make."""
        if _ORDER in self._sinks.get((parent_type, field), ()):
            return self.columns(parent_type, field, row_type, order)
        return self.columns(parent_type, field, row_type) or ("id",)

    def looks_ahead(self, parent_type: str, field: str) -> bool:
        """Say whether it is asked of a page below `parent_type.field` if there is more behind it."""
        return _AHEAD in self._sinks.get((parent_type, field), ())

    def _walk(self, parent: Composite, selection_set: SelectionSetNode, sink: Sink, *, joins: bool) -> None:
        for node in selection_set.selections:
            self._visit(parent, node, sink, joins=joins)

    def _visit(self, parent: Composite, node: SelectionNode, sink: Sink, *, joins: bool) -> None:
        if isinstance(node, FieldNode):
            self._visit_field(parent, node, sink, joins=joins)
        elif isinstance(node, InlineFragmentNode):
            condition = node.type_condition.name.value if node.type_condition else None
            self._walk(narrowed(self._schema, parent, condition), node.selection_set, sink, joins=joins)
        elif isinstance(node, FragmentSpreadNode):
            fragment = self._fragments[node.name.value]
            visit = (id(sink), joins, parent.name, node.name.value)
            if visit not in self._visited:
                self._visited.add(visit)
                within = narrowed(self._schema, parent, fragment.type_condition.name.value)
                self._walk(within, fragment.selection_set, sink, joins=joins)

    def _visit_field(self, parent: Composite, node: FieldNode, sink: Sink, *, joins: bool) -> None:
        name = node.name.value
        field = parent.fields.get(name)
        if field is None:
            return  # __typename, __schema and __type read no row
        for metadata, mark in _MARKS.items():
            if _metadata(field, metadata):
                sink.setdefault(mark, set())
        for concrete in self._concrete(parent):
            columns = declared_columns(concrete.fields[name])
            if columns is not None:
                sink.setdefault(concrete.name, set()).update(columns)
        target = get_named_type(field.type)
        if node.selection_set is None or not isinstance(target, GraphQLObjectType | GraphQLInterfaceType):
            return
        if joins and isinstance(parent, GraphQLObjectType) and isinstance(target, GraphQLObjectType):
            declared = declaration_of(field)
            if isinstance(declared, RowEdge) and declared.joined is not None:
                self._join(target, node.selection_set, declared.joined, sink.setdefault(parent.name, set()), set())
        # Connections, edges, pages and payloads only wrap rows: what is below them belongs to the field that led there.
        opens = self._is_root(parent) or is_row_backed(parent)
        below = self._sinks.setdefault((parent.name, name), {}) if opens else sink
        self._walk(target, node.selection_set, below, joins=self._joins and joins_of(field) if opens else joins)

    def _join(
        self,
        target: GraphQLObjectType,
        selection_set: SelectionSetNode,
        prefix: str,
        needed: set[str],
        visited: set[str],
    ) -> None:
        """Add the columns of a row that is joined, as far as they can be read where it is."""
        for node in selection_set.selections:
            if isinstance(node, FieldNode):
                field = target.fields.get(node.name.value)
                columns = declared_columns(field) if field is not None else None
                needed.update(prefix + name for name in columns or ())
            elif isinstance(node, InlineFragmentNode):
                self._join(target, node.selection_set, prefix, needed, visited)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in visited:
                visited.add(node.name.value)
                self._join(target, self._fragments[node.name.value].selection_set, prefix, needed, visited)

    def _concrete(self, parent: Composite) -> Iterator[GraphQLObjectType]:
        if isinstance(parent, GraphQLObjectType):
            yield parent
        elif is_abstract_type(parent):
            yield from self._schema.get_possible_types(parent)

    def _types(self, name: str) -> GraphQLObjectType:
        type_ = self._schema.get_type(name)
        assert isinstance(type_, GraphQLObjectType)
        return type_

    def _is_root(self, parent: Composite) -> bool:
        schema = self._schema
        return parent in (schema.query_type, schema.mutation_type, schema.subscription_type)


def narrowed(schema: GraphQLSchema, parent: Composite, condition: str | None) -> Composite:
    """Return the type that the fields of a fragment on the type `condition` are looked up in, within `parent`."""
    conditional = schema.get_type(condition) if condition else None
    if is_object_type(parent) or not isinstance(conditional, GraphQLObjectType | GraphQLInterfaceType):
        return parent
    return conditional


def declared_columns(field: GraphQLField) -> Columns | None:
    """Return the columns that a field says it reads, or None where it says nothing."""
    columns: Columns | None = _metadata(field, COLUMNS_METADATA)
    return columns


def _metadata(field: GraphQLField, key: str) -> Any:
    definition = strawberry_field(field)
    return None if definition is None else definition.metadata.get(key)


def is_row_backed(type_: Composite) -> bool:
    """Say whether the type's objects stand for rows: some field of it reads a column."""
    return any(declared_columns(field) is not None for field in type_.fields.values())
