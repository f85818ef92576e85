"""Limits of an operation, each with a name, and the one walk over its document that measures it.

The walk gives depth, aliases, root fields, directives and cost. Fragments are measured once and remembered, so it is
linear in the size of the document however they nest: 95 fragments that each spread the next one twice take as long as
190 fields, although they stand for 2^95. (Validation has refused circular ones.)

A fragment's cost can depend on where it is spread: below a connection, `edges` and `nodes` have the length that the
connection was asked for. What is remembered is therefore a cost with one open factor for each such list, and the
place of the spread puts the lengths in.

Everything errs upwards. Fields behind @skip and @include count, the alternatives of an interface are added up, the same
field twice counts twice, and a page is as long as it may get: the price is never below what execution can cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cachetools import LRUCache
from graphql import (
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
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
    is_list_type,
)
from strawberry.types.field import StrawberryField

from graph.cost import Cost, ListSize
from graph.selection import Composite, narrowed

DEPTH_MAX = 20
ALIASES_MAX = 50
ROOT_FIELDS_MAX = 20
DIRECTIVES_MAX = 50
COST_MAX = 25_000
SENSITIVE_ROOT_FIELDS_MAX = 1
SELECTIONS_MAX = 500

# What a document takes from the budgets that is no valid one of the schema, or larger than a limit: it has no price of
# its own, and parsing and validating it keeps the event loop as busy as an operation of about this price.
REFUSED_COST = 10

# Each attempt at one of these costs a password hash, or gives one more guess.
SENSITIVE_ROOT_FIELDS = frozenset({"signIn", "refreshSession", "createUser", "createUsers", "updateUser"})

LENGTH_MAX = 100
PRICES_KEPT_MAX = 16

D = TypeVar("D")


@dataclass(slots=True)
class Measure:
    """What was counted, fragments counted where they are spread.

    Attributes:
        open: the cost of one item of each list whose length the field above decides, by the list's field name.
    """

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    directives: int = 0
    sensitive: int = 0
    cost: int = 0
    open: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Measure") -> None:
        """Count everything of `other` too, beside what is counted already."""
        self.depth = max(self.depth, other.depth)
        self.aliases += other.aliases
        self.fields += other.fields
        self.directives += other.directives
        self.sensitive += other.sensitive
        self.cost += other.cost
        for name, cost in other.open.items():
            self.open[name] = self.open.get(name, 0) + cost


@dataclass(frozen=True, slots=True)
class Price:
    """An operation's measured values, against which the limits are held."""

    depth: int
    aliases: int
    root_fields: int
    directives: int
    sensitive_root_fields: int
    cost: int

    def told(self) -> dict[str, int]:
        """Return what a client is told that asks for the cost: the price and how much it may be."""
        return {"requested": self.cost, "maximum": COST_MAX}

    def violations(self) -> list[GraphQLError]:
        """Return an error for each limit that is exceeded, with the measured value and the maximum."""
        measured = [
            ("depth", self.depth, DEPTH_MAX),
            ("aliases", self.aliases, ALIASES_MAX),
            ("root fields", self.root_fields, ROOT_FIELDS_MAX),
            ("directives", self.directives, DIRECTIVES_MAX),
            ("root fields that check a password", self.sensitive_root_fields, SENSITIVE_ROOT_FIELDS_MAX),
            ("cost", self.cost, COST_MAX),
        ]
        return [_violation(name, value, maximum) for name, value, maximum in measured if value > maximum]


def check_written(document: DocumentNode) -> None:
    """Count the fields, fragments and spreads that stand in the document, before it is validated.

    Validation compares fields that meet under one name with each other: its time grows with the square of the document,
    on the event loop. 600 times `users { nodes { id } }` took seconds; within this limit it is far below one.

    Raises:
        GraphQLError: there are more than SELECTIONS_MAX, or there is nothing where something should be selected.
    """
    written = 0
    pending = [one.selection_set for one in document.definitions if isinstance(one, ExecutableDefinitionNode)]
    while pending:
        selection_set = pending.pop()
        selections = selection_set.selections
        if not selections:  # graphql-core's parser lets them pass, and the specification does not
            message = "Syntax Error: Expected a field or a fragment, found '}'."
            raise GraphQLError(message, selection_set, extensions={"code": "GRAPHQL_PARSE_FAILED"})
        written += len(selections)
        pending += [
            one.selection_set
            for one in selections
            if isinstance(one, FieldNode | InlineFragmentNode) and one.selection_set is not None
        ]
    if written > SELECTIONS_MAX:
        raise _violation("selections", written, SELECTIONS_MAX)


def _violation(name: str, value: int, maximum: int) -> GraphQLError:
    # A fragment bomb's numbers have hundreds of digits; nobody needs them.
    shown = value if value < 10**12 else "more than 10^12"
    extensions = {"code": "OPERATION_TOO_LARGE", "limit": name, "maximum": maximum, "measured": str(shown)}
    return GraphQLError(f"the operation's {name}: {shown}, and at most {maximum} allowed", extensions=extensions)


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
        price = Price(
            depth=total.depth,
            aliases=total.aliases,
            root_fields=total.fields,
            directives=total.directives + len(self._operation.directives or ()),
            sensitive_root_fields=total.sensitive,
            cost=total.cost + sum(total.open.values()),
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
        self._charge(counted, name, node, definition, below)
        return counted

    def _charge(self, counted: Measure, name: str, node: FieldNode, definition: GraphQLField, below: Measure) -> None:
        list_size = declared(definition, ListSize)
        length = 1 if list_size is None else self._length(list_size, node)
        sized = (list_size.sized_fields or []) if list_size else []
        item = _weight(definition) + below.cost
        item += sum(cost * (length if list_name in sized else 1) for list_name, cost in below.open.items())
        if not is_list_type(get_nullable_type(definition.type)) or sized:
            counted.cost = item
        elif list_size is None:
            counted.open[name] = item
        else:
            counted.cost = length * item

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


def _weight(definition: GraphQLField) -> int:
    target = get_named_type(definition.type)
    if target.name.startswith("__"):
        return 0  # introspection reads no row
    cost = declared(definition, Cost)
    return int(cost.weight) if cost else int(is_composite_type(target))


def declared(definition: GraphQLField, directive: type[D]) -> D | None:
    """Return the field's directive of this kind, or None."""
    found = (definition.extensions or {}).get("strawberry-definition")
    if not isinstance(found, StrawberryField):
        return None
    return next((one for one in found.directives if isinstance(one, directive)), None)


def _integer(value: ValueNode | None) -> int | None:
    return int(value.value) if isinstance(value, IntValueNode) else None


def _sliced(value: object) -> int | None:
    """Return the length that a value of a slicing argument gives its list, or None where it is null.

    GraphQL reads 100.0 and 1e2 as the Int 100. What is no Int at all is refused by the field itself, with a better word
    than the price's, and so is what lies outside; both are as dear as a list can get, should any of them ever be read.
    """
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is int:
        return min(max(value, 0), LENGTH_MAX)
    return None if value is None else LENGTH_MAX
