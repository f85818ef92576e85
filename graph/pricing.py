"""The price of an operation, measured by one walk over its document.

The walk gives depth, aliases, root fields, directives and the load: cost, values and bytes. Fragments are measured once
and remembered, so it is linear in the size of the document however they nest: 95 fragments that each spread the next
one twice take as long as 190 fields, although they stand for 2^95. (Validation has refused circular ones.)

A fragment's load can depend on where it is spread: below a connection, `edges` and `nodes` have the length that the
connection was asked for. What is remembered is therefore a load with one open factor for each such list, and the
place of the spread puts the lengths in.

Everything errs upwards. Fields behind @skip and @include count, the alternatives of an interface are added up, the same
field twice counts twice, and a page is as long as it may get: the price is never below what execution can cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from cachetools import LRUCache
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_enum_type,
    is_list_type,
)
from strawberry.types.field import StrawberryField

from graph.cost import LONGEST_METADATA, Cost, ListSize
from graph.limits import Price
from graph.selection import Composite, narrowed

# Each attempt at one of these costs a password hash, or gives one more guess.
SENSITIVE_ROOT_FIELDS = frozenset({"signIn", "refreshSession", "createUser", "createUsers", "updateUser"})

LENGTH_MAX = 100
PRICES_KEPT_MAX = 16

# A character of JSON takes at most six bytes: a control character is written \u001f.
CHARACTER_BYTES_MAX = 6
# Of a text whose length nobody declares: a title, a name, a cursor, a message.
TEXT_BYTES = 1_500
# Of everything else that stands in an answer: numbers, ids, instants, enum values.
LEAF_BYTES = 64
# A key's quotes, its colon and a comma, and the braces of an object.
PUNCTUATION_BYTES = 6
TEXTS = frozenset({"String"})

# How many items the lists of an introspection have, about. They read no row and cost nothing; their values count.
INTROSPECTED = {
    "types": 150,
    "fields": 15,
    "args": 4,
    "inputFields": 8,
    "enumValues": 8,
    "possibleTypes": 8,
    "interfaces": 2,
    "directives": 8,
    "locations": 20,
}

D = TypeVar("D")


class Load(NamedTuple):
    """What a part of an operation weighs.

    Attributes:
        values: how many objects and leaves it has in the answer.
        bytes: how long it is in the answer.
    """

    cost: int = 0
    values: int = 0
    bytes: int = 0

    def plus(self, other: "Load") -> "Load":
        """Return the load of both."""
        return Load(self.cost + other.cost, self.values + other.values, self.bytes + other.bytes)

    def times(self, length: int) -> "Load":
        """Return the load of so many."""
        return Load(self.cost * length, self.values * length, self.bytes * length)


NOTHING = Load()


@dataclass(slots=True)
class Measure:
    """What was counted, fragments counted where they are spread.

    Attributes:
        open: the load of one item of each list whose length the field above decides, by the list's field name.
    """

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    directives: int = 0
    sensitive: int = 0
    load: Load = NOTHING
    open: dict[str, Load] = field(default_factory=dict)

    def add(self, other: "Measure") -> None:
        """Count everything of `other` too, beside what is counted already."""
        self.depth = max(self.depth, other.depth)
        self.aliases += other.aliases
        self.fields += other.fields
        self.directives += other.directives
        self.sensitive += other.sensitive
        self.load = self.load.plus(other.load)
        for name, load in other.open.items():
            self.open[name] = self.open.get(name, NOTHING).plus(load)


class Pricing:
    """The price of one operation, for whatever values its variables have.

    Only a few variables decide the length of a list; the walk runs once for each combination of their values.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._fragments = fragments
        self._defaults = {
            definition.variable.name.value: _integer(definition.default_value)
            for definition in operation.variable_definitions or ()
        }
        self._slicing: tuple[str, ...] | None = None
        self._known: LRUCache[tuple[int | None, ...], Price] = LRUCache(PRICES_KEPT_MAX)
        self._fitting: dict[tuple[int | None, ...], Price] = {}
        self._fixed: Price | None = None

    def fitting(self, variables: Mapping[str, Any]) -> Price | None:
        """Return the price where it is known already, and known to be within the limits."""
        if self._fixed is not None or not self._fitting:
            return self._fixed
        return self._fitting.get(self._key(variables))

    def price(self, variables: Mapping[str, Any]) -> Price:
        """Return the price with these values of the variables."""
        if self._slicing is not None:
            known = self._known.get(self._key(variables))
            if known is not None:
                return known
        walk = _Walk(self._schema, self._fragments, self._values(variables))
        root = self._schema.get_root_type(self._operation.operation)
        assert root is not None
        total = walk.selection(root, self._operation.selection_set)
        load = total.load
        for one in total.open.values():
            load = load.plus(one)
        price = Price(
            depth=total.depth,
            aliases=total.aliases,
            root_fields=total.fields,
            directives=total.directives + len(self._operation.directives or ()),
            sensitive_root_fields=total.sensitive,
            cost=load.cost,
            values=load.values,
            answer_bytes=load.bytes,
        )
        self._slicing = tuple(sorted(walk.slicing))
        key = self._key(variables)
        self._known[key] = price
        if not price.violations():
            if not self._slicing:
                self._fixed = price
            if len(self._fitting) >= PRICES_KEPT_MAX:
                self._fitting.clear()
            self._fitting[key] = price
        return price

    def dearest(self) -> tuple[Price, tuple[str, ...]]:
        """Return the highest price that any client can make of it, but for those that override defaults.

        Also returned are the variables that decide it: lists have the most items where they say how many.
        """
        self.price({})
        deciding = tuple(name for name in self._slicing or () if self._defaults.get(name) is None)
        return self.price(dict.fromkeys(deciding, LENGTH_MAX)), deciding

    def _values(self, variables: Mapping[str, Any]) -> dict[str, int | None]:
        return self._defaults | {name: _sliced(value) for name, value in variables.items()}

    def _key(self, variables: Mapping[str, Any]) -> tuple[int | None, ...]:
        defaults = self._defaults
        return tuple(
            _sliced(variables[name] if name in variables else defaults.get(name)) for name in self._slicing or ()
        )


class _Walk:
    """One walk over one operation, with the lengths that its variables give to lists."""

    def __init__(
        self,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: Mapping[str, int | None],
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables
        self._measured: dict[tuple[str, str], Measure] = {}
        self.slicing: set[str] = set()

    def selection(self, parent: Composite, selection_set: SelectionSetNode) -> Measure:
        """Measure a selection set."""
        total = Measure()
        for node in selection_set.selections:
            total.add(self._node(parent, node))
        return total

    def _node(self, parent: Composite, node: SelectionNode) -> Measure:
        if isinstance(node, FieldNode):
            return self._field(parent, node)
        counted = Measure(directives=len(node.directives or ()))
        if isinstance(node, FragmentSpreadNode):
            counted.add(self._fragment(parent, node.name.value))
        elif isinstance(node, InlineFragmentNode):
            condition = node.type_condition.name.value if node.type_condition else None
            counted.add(self.selection(narrowed(self._schema, parent, condition), node.selection_set))
        return counted

    def _fragment(self, parent: Composite, name: str) -> Measure:
        key = (name, parent.name)
        measured = self._measured.get(key)
        if measured is None:
            fragment = self._fragments[name]
            within = narrowed(self._schema, parent, fragment.type_condition.name.value)
            measured = self._measured[key] = self.selection(within, fragment.selection_set)
        return measured

    def _field(self, parent: Composite, node: FieldNode) -> Measure:
        name = node.name.value
        definition = self._schema.get_field(parent, name)
        counted = Measure(depth=1, fields=1, aliases=node.alias is not None, directives=len(node.directives or ()))
        if definition is None:
            return counted
        if parent is self._schema.mutation_type and name in SENSITIVE_ROOT_FIELDS:
            counted.sensitive = int(name != "updateUser" or _may_give_password(node))
        target = get_named_type(definition.type)
        below = Measure()
        if node.selection_set is not None and isinstance(target, GraphQLObjectType | GraphQLInterfaceType):
            below = self.selection(target, node.selection_set)
        counted.depth += below.depth
        counted.aliases += below.aliases
        counted.directives += below.directives
        self._charge(counted, node, definition, below)
        return counted

    def _charge(self, counted: Measure, node: FieldNode, definition: GraphQLField, below: Measure) -> None:
        name = node.name.value
        list_size = declared(definition, ListSize)
        length = 1 if list_size is None else self._length(list_size, node)
        sized = (list_size.sized_fields or []) if list_size else []
        item = _own_load(node, definition).plus(below.load)
        for list_name, load in below.open.items():
            item = item.plus(load.times(length if list_name in sized else 1))
        if not is_list_type(get_nullable_type(definition.type)) or sized:
            counted.load = item
        elif list_size is not None:
            counted.load = item.times(length)
        elif get_named_type(definition.type).name.startswith("__"):
            counted.load = item.times(INTROSPECTED.get(name, LENGTH_MAX))
        else:
            counted.open[name] = item

    def _length(self, list_size: ListSize, node: FieldNode) -> int:
        """Return how long the list gets: the largest slicing argument given, else what is assumed."""
        wanted = list_size.slicing_arguments or []
        values = [self._slice(one.value) for one in node.arguments or () if one.name.value in wanted]
        lengths = [value for value in values if value is not None]
        return max(lengths) if lengths else list_size.assumed_size or 0

    def _slice(self, value: ValueNode) -> int | None:
        if isinstance(value, VariableNode):
            self.slicing.add(value.name.value)
            length = self._variables.get(value.name.value)
        else:
            length = _integer(value)
        return _sliced(length)


def _may_give_password(node: FieldNode) -> bool:
    """Say whether an updateUser may set a password: where its input is a variable, the document does not tell."""
    inputs = [one.value for one in node.arguments or ()]
    return any(
        not isinstance(one, ObjectValueNode) or any(given.name.value == "password" for given in one.fields)
        for one in inputs
    )


def _own_load(node: FieldNode, definition: GraphQLField) -> Load:
    """Return what one value of a field weighs, without what is below it."""
    key = node.alias.value if node.alias else node.name.value
    target = get_named_type(definition.type)
    content = 0 if is_composite_type(target) else _leaf_bytes(target, definition)
    return Load(_weight(target, definition), 1, len(key) + PUNCTUATION_BYTES + content)


def _weight(target: GraphQLNamedType, definition: GraphQLField) -> int:
    if target.name.startswith("__"):
        return 0  # introspection reads no row
    cost = declared(definition, Cost)
    return int(cost.weight) if cost else int(is_composite_type(target))


def _leaf_bytes(target: GraphQLNamedType, definition: GraphQLField) -> int:
    if is_enum_type(target) or target.name not in TEXTS:
        return LEAF_BYTES
    found = _strawberry_field(definition)
    longest = None if found is None else found.metadata.get(LONGEST_METADATA)
    return TEXT_BYTES if longest is None else CHARACTER_BYTES_MAX * int(longest)


def declared(definition: GraphQLField, directive: type[D]) -> D | None:
    """Return the field's directive of this kind, or None."""
    found = _strawberry_field(definition)
    return None if found is None else next((one for one in found.directives if isinstance(one, directive)), None)


def _strawberry_field(definition: GraphQLField) -> StrawberryField | None:
    found = (definition.extensions or {}).get("strawberry-definition")
    return found if isinstance(found, StrawberryField) else None


def _integer(value: ValueNode | None) -> int | None:
    return int(value.value) if isinstance(value, IntValueNode) else None


def _sliced(value: object) -> int | None:
    """Return the length that a value of a slicing argument gives its list, or None where it is null.

    The value is read by what the executor reads it with: GraphQL takes 100.0 and 1e2 for the Int 100. What is no Int is
    refused by the field itself, with a better word than the price's, and so is what lies outside; both are as dear as a
    list can get, should any of them ever be read.
    """
    if value is None:
        return None
    try:
        length = value if type(value) is int else GraphQLInt.coerce_input_value(value)
    except Exception:  # noqa: BLE001 - whatever it is, it is no length
        return LENGTH_MAX
    return min(max(length, 0), LENGTH_MAX)
