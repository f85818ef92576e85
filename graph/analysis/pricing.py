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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, NamedTuple

from cachetools import LRUCache
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
    value_from_ast_untyped,
)

from graph.analysis.cost import ListSize
from graph.analysis.field_loads import INTROSPECTED, NOTHING, Load, declared, own_load
from graph.analysis.input_weights import heaviest, weight_given, weight_written
from graph.analysis.limits import Price
from graph.analysis.selection import Composite, narrowed

# Each attempt at one of these costs a password hash, or gives one more guess.
SENSITIVE_ROOT_FIELDS = frozenset({"signIn", "refreshSession", "createUser", "createUsers", "updateUser"})

LENGTH_MAX = 100
PRICES_KEPT_MAX = 16


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
            definition.variable.name.value: value_from_ast_untyped(definition.default_value)
            for definition in operation.variable_definitions or ()
            if definition.default_value is not None
        }
        self._deciding: tuple[tuple[str, Reading], ...] | None = None
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
        if self._deciding is not None:
            known = self._known.get(self._key(variables))
            if known is not None:
                return known
        walk = _Walk(self._schema, self._fragments, {**self._defaults, **variables})
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
        self._deciding = tuple((name, walk.deciding[name, what]) for name, what in sorted(walk.deciding))
        key = self._key(variables)
        self._known[key] = price
        if not price.violations():
            if not self._deciding:
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
        deciding: dict[str, Any] = {}
        for name, reading in self._deciding or ():
            if self._defaults.get(name) is None:
                known = deciding.get(name)
                deciding[name] = {**known, **reading.dearest} if isinstance(known, dict) else reading.dearest
        return self.price(deciding), tuple(deciding)

    def _key(self, variables: Mapping[str, Any]) -> tuple[int | None, ...]:
        defaults = self._defaults
        return tuple(
            [
                reading.of(variables[name] if name in variables else defaults.get(name))
                for name, reading in self._deciding or ()
            ]
        )


class _Walk:
    """One walk over one operation.

    Attributes:
        deciding: what the price reads of variables, by the variable's name and what is read of its value.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: Mapping[str, Any],
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables
        self._measured: dict[tuple[str, str], Measure] = {}
        self.deciding: dict[tuple[str, str], Reading] = {}

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
        item = own_load(node, definition).plus(below.load).plus(Load(self._weight_of_arguments(node, definition)))
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
        assumed = list_size.assumed_size or 0
        values = [self._slice(node, path.split("."), assumed) for path in list_size.slicing_arguments or []]
        lengths = [value for value in values if value is not None]
        return max(lengths) if lengths else assumed

    def _slice(self, node: FieldNode, path: Sequence[str], assumed: int) -> int | None:
        """Return the length that an argument gives: by its value, or as a list at a path within it, by its items."""
        value = next((one.value for one in node.arguments or () if one.name.value == path[0]), None)
        if len(path) == 1:
            if isinstance(value, VariableNode):
                return self._read(value, LENGTH, "length")
            return _sliced(int(value.value)) if isinstance(value, IntValueNode) else None
        within = path[1:]
        while within and isinstance(value, ObjectValueNode):
            value = next((one.value for one in value.fields if one.name.value == within[0]), None)
            within = within[1:]
        if isinstance(value, VariableNode):
            return self._read(value, _items_at(tuple(within), assumed), f"items of {'.'.join(within)}")
        if isinstance(value, ListValueNode):
            return len(value.values)
        return None if value is None else 1

    def _weight_of_arguments(self, node: FieldNode, definition: GraphQLField) -> int:
        total = 0
        for one in node.arguments or ():
            argument = definition.args.get(one.name.value)
            type_ = None if argument is None else get_named_type(argument.type)
            if not isinstance(type_, GraphQLInputObjectType):
                continue
            if isinstance(one.value, VariableNode):
                total += self._read(one.value, Reading(partial(weight_given, type_), heaviest(type_)), "weight") or 0
            else:
                total += weight_written(type_, one.value)
        return total

    def _read(self, node: VariableNode, reading: "Reading", what: str) -> int | None:
        name = node.name.value
        if not reading.dearest:
            return 0
        self.deciding[name, what] = reading
        return reading.of(self._variables.get(name))


def _may_give_password(node: FieldNode) -> bool:
    """Say whether an updateUser may set a password: where its input is a variable, the document does not tell."""
    inputs = [one.value for one in node.arguments or ()]
    return any(
        not isinstance(one, ObjectValueNode) or any(given.name.value == "password" for given in one.fields)
        for one in inputs
    )


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


class Reading(NamedTuple):
    """What the price reads of a variable's value.

    Attributes:
        of: returns it.
        dearest: a value that makes the price as high as any; nothing where no value makes a difference.
    """

    of: Callable[[Any], int | None]
    dearest: Any


LENGTH = Reading(_sliced, LENGTH_MAX)


@cache
def _items_at(path: tuple[str, ...], most: int) -> Reading:
    """Return what reads how many items the list at a path within a variable's value has; `most` is how many it may."""
    dearest: Any = [None] * most
    for name in reversed(path):
        dearest = {name: dearest}
    return Reading(partial(_items, path), dearest)


def _items(path: Sequence[str], value: Any) -> int | None:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return None
    return len(value) if isinstance(value, list) else 1
