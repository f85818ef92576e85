"""The facts that the schema declares for each field, as far as the analysis of operations needs them.

The directives and metadata of a field are read once for each schema, when the first operation selects the field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_enum_type,
    is_list_type,
)

from db.query.pages import Columns
from graph.analysis.cost import LONGEST_METADATA, Cost, ListSize
from graph.execution.declarations import RowEdge, declaration_of, joins_of, strawberry_field
from graph.execution.strawberry_adapter import StrawberryField

# The keys in a field's metadata for: the columns that it reads, whether it reads the columns of the list's order, and
# whether it needs to know if more rows follow the page.
COLUMNS_METADATA = "columns"
ORDER_METADATA = "reads-order"
AHEAD_METADATA = "looks-ahead"

# Each attempt at one of these fields costs a password hash, or is one more guess at a password.
SENSITIVE_ROOT_FIELDS = frozenset({"signIn", "refreshSession", "createUser", "createUsers", "updateUser"})
INTROSPECTION_FIELDS = frozenset({"__schema", "__type", "__typename"})

# A character of JSON takes at most six bytes: a control character is written \u001f.
CHARACTER_BYTES_MAX = 6
# The size of a text without a declared length: a title, a name, a cursor, a message.
TEXT_BYTES = 1_500
# The size of any other leaf value in a response: a number, an id, an instant, an enum value.
LEAF_BYTES = 64
# The size of a key's quotes, its colon and a comma, and of the braces of an object.
PUNCTUATION_BYTES = 6
TEXTS = frozenset({"String"})

# The most items that a page has.
LENGTH_MAX = 100
# The approximate number of items of an introspection list. Such lists read no row and cost nothing; their values count.
INTROSPECTED = {
    "types": 120,
    "fields": 10,
    "args": 3,
    "inputFields": 6,
    "enumValues": 6,
    "possibleTypes": 8,
    "interfaces": 2,
    "directives": 8,
    "locations": 20,
}

Composite: TypeAlias = GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType
D = TypeVar("D")


class Slicing(NamedTuple):
    """How the arguments of a field set the length of a list (the directive `@listSize`).

    Attributes:
        paths: the arguments, each as a path: an argument, or a list within an input object.
        assumed: the length where no argument sets it.
        sized: the names of the lists below the field that have this length; none if the field itself is the list.
    """

    paths: tuple[tuple[str, ...], ...]
    assumed: int
    sized: frozenset[str]


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """The facts that the schema declares for one field of one type.

    Attributes:
        coordinate: its schema coordinate, such as `Post.body`.
        target: the type of its objects; None if it is a leaf.
        cost: its own weight.
        bytes: the size of one value in the response, without its key and without the fields below it.
        slicing: how its arguments set the length of a list; None if they do not.
        is_sliced: whether the field is itself the list of that length.
        is_open: whether it is a list whose length the field above it decides.
        times: how many values it has, where neither arguments nor the field above it decide this.
        is_sensitive: whether it is a root field that checks a password.
        is_data: whether its value depends on more than the schema.
        columns: the columns that it reads, by row-backed type.
        reads_order: whether it reads the columns by which the list that leads to it is ordered.
        looks_ahead: whether it needs to know if more rows follow the page.
        reads_rows: whether it leads from a root or a row to other rows, whose columns are collected separately.
        reads_one_row: whether it leads to one row-backed object.
        joins: whether its statement joins the rows that edges below it lead to.
        join_prefix: the prefix of the columns of its row where a statement joins that row; None if none joins it.
    """

    coordinate: str
    is_deprecated: bool
    arguments: Mapping[str, GraphQLArgument]
    target: Composite | None
    cost: int
    bytes: int
    slicing: Slicing | None
    is_sliced: bool
    is_open: bool
    times: int
    is_sensitive: bool
    is_data: bool
    columns: tuple[tuple[str, Columns], ...]
    reads_order: bool
    looks_ahead: bool
    reads_rows: bool
    reads_one_row: bool
    joins: bool
    join_prefix: str | None


class SchemaFacts:
    """The facts of the fields of one schema, each collected at its first use."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self.schema = schema
        self._known: dict[tuple[str, str], FieldFacts] = {}

    def field(self, parent: Composite, name: str) -> FieldFacts | None:
        """Return the facts of a field of the type `parent`, or None if the type has no such field."""
        facts = self._known.get((parent.name, name))
        if facts is None:
            field = self.schema.get_field(parent, name)
            if field is not None:
                facts = self._known[parent.name, name] = self._collect(parent, name, field)
        return facts

    def _collect(self, parent: Composite, name: str, field: GraphQLField) -> FieldFacts:
        schema = self.schema
        is_meta = name in INTROSPECTION_FIELDS
        named = get_named_type(field.type)
        target = named if isinstance(named, Composite) else None
        list_size = declared(field, ListSize)
        slicing = None if list_size is None else _slicing(list_size)
        is_list = is_list_type(get_nullable_type(field.type)) and not (slicing and slicing.sized)
        is_introspected = named.name.startswith("__")
        is_root = parent in (schema.query_type, schema.mutation_type, schema.subscription_type)
        return FieldFacts(
            coordinate=f"{parent.name}.{name}",
            is_deprecated=field.deprecation_reason is not None,
            arguments=field.args,
            target=target,
            cost=_weight(named, field),
            bytes=PUNCTUATION_BYTES + (0 if target is not None else _leaf_bytes(named, field)),
            slicing=slicing,
            is_sliced=is_list and slicing is not None,
            is_open=is_list and slicing is None and not is_introspected,
            times=INTROSPECTED.get(name, LENGTH_MAX) if is_list and slicing is None and is_introspected else 1,
            is_sensitive=parent is schema.mutation_type and name in SENSITIVE_ROOT_FIELDS,
            is_data=not is_meta and not parent.name.startswith("__"),
            columns=() if is_meta else self._columns(parent, name),
            reads_order=bool(_metadata(field, ORDER_METADATA)),
            looks_ahead=bool(_metadata(field, AHEAD_METADATA)),
            reads_rows=not is_meta and (is_root or is_row_backed(parent)),
            reads_one_row=target is not None and isinstance(target, GraphQLObjectType) and is_row_backed(target),
            joins=joins_of(field),
            join_prefix=_join_prefix(parent, field, target),
        )

    def _columns(self, parent: Composite, name: str) -> tuple[tuple[str, Columns], ...]:
        types = [parent] if isinstance(parent, GraphQLObjectType) else self.schema.get_possible_types(parent)
        found = [(one.name, declared_columns(one.fields[name])) for one in types]
        return tuple((type_name, columns) for type_name, columns in found if columns is not None)


def narrowed(schema: GraphQLSchema, parent: Composite, condition: str | None) -> Composite:
    """Return the type whose fields a fragment selects within `parent`; `condition` is the fragment's type condition."""
    conditional = schema.get_type(condition) if condition else None
    if isinstance(parent, GraphQLObjectType) or not isinstance(conditional, Composite):
        return parent
    return conditional


def declared(field: GraphQLField | GraphQLInputField, directive: type[D]) -> D | None:
    """Return the field's directive of this kind, or None."""
    found = (field.extensions or {}).get("strawberry-definition")
    if not isinstance(found, StrawberryField):
        return None
    return next((one for one in found.directives if isinstance(one, directive)), None)


def declared_columns(field: GraphQLField) -> Columns | None:
    """Return the columns that a field reads, or None if it declares none."""
    columns: Columns | None = _metadata(field, COLUMNS_METADATA)
    return columns


def is_row_backed(type_: Composite) -> bool:
    """Return whether the objects of a type represent rows, which means that some field of the type reads a column."""
    if isinstance(type_, GraphQLUnionType):
        return False
    return any(declared_columns(field) is not None for field in type_.fields.values())


def _metadata(field: GraphQLField, key: str) -> Any:
    definition = strawberry_field(field)
    return None if definition is None else definition.metadata.get(key)


def _slicing(list_size: ListSize) -> Slicing:
    paths = tuple(tuple(path.split(".")) for path in list_size.slicing_arguments or ())
    return Slicing(paths, list_size.assumed_size or 0, frozenset(list_size.sized_fields or ()))


def _weight(named: GraphQLNamedType, field: GraphQLField) -> int:
    if named.name.startswith("__"):
        return 0  # introspection reads no row
    cost = declared(field, Cost)
    return int(cost.weight) if cost else int(is_composite_type(named))


def _leaf_bytes(named: GraphQLNamedType, field: GraphQLField) -> int:
    if is_enum_type(named) or named.name not in TEXTS:
        return LEAF_BYTES
    longest = _metadata(field, LONGEST_METADATA)
    return TEXT_BYTES if longest is None else CHARACTER_BYTES_MAX * int(longest)


def _join_prefix(parent: Composite, field: GraphQLField, target: Composite | None) -> str | None:
    declaration = declaration_of(field)
    if not isinstance(parent, GraphQLObjectType) or not isinstance(target, GraphQLObjectType):
        return None
    return declaration.joined if isinstance(declaration, RowEdge) else None
