"""The values of arguments: the weights of input fields, such as that of a search, and the deprecated parts in use.

A variable counts with its value, which the formula of the price reads at each run. Deprecated parts in the values of
variables are not searched for, because each run would have to repeat the search.
"""

from collections.abc import Mapping, Sequence
from functools import cache, partial

from graphql import (
    ArgumentNode,
    DirectiveNode,
    EnumValueNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLSchema,
    ListTypeNode,
    ListValueNode,
    NamedTypeNode,
    NonNullTypeNode,
    NullValueNode,
    ObjectValueNode,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    get_named_type,
)

from graph.analysis.cost import Cost
from graph.analysis.field_facts import declared
from graph.analysis.loads import Amount, Formula, Reading, VariableLength


class InputValues:
    """Adds up the cost of an operation's arguments, and collects the deprecated parts of the schema that they use."""

    def __init__(self, schema: GraphQLSchema, formula: Formula, deprecated: set[str]) -> None:
        self._schema = schema
        self._formula = formula
        self._deprecated = deprecated

    def arguments(
        self, nodes: Sequence[ArgumentNode], definitions: Mapping[str, GraphQLArgument], coordinate: str
    ) -> Amount:
        """Return the cost of the arguments of the field or directive with the schema coordinate `coordinate`."""
        total = Amount()
        for node in nodes:
            definition = definitions.get(node.name.value)
            if definition is None:
                continue
            if definition.deprecation_reason is not None:
                self._deprecated.add(f"{coordinate}({node.name.value}:)")
            named = get_named_type(definition.type)
            if not isinstance(node.value, VariableNode):
                total.cost += self._value(named, node.value)
            elif isinstance(named, GraphQLInputObjectType) and weights(named):
                position = self._formula.read(node.value.name.value, "weight", _weight_reading(named))
                self._formula.add(total, Amount(cost=1), VariableLength(None, (position,), 0))
        return total

    def directives(self, nodes: Sequence[DirectiveNode]) -> None:
        """Collect deprecated arguments of directives, and deprecated parts in their values."""
        for node in nodes:
            directive = self._schema.get_directive(node.name.value)
            if directive is not None and node.arguments:
                self.arguments(node.arguments, directive.args, f"@{directive.name}")

    def variable(self, node: VariableDefinitionNode) -> None:
        """Collect deprecated parts in the default of a variable and in its directives."""
        self.directives(node.directives or ())
        if node.default_value is not None:
            written = node.type
            while isinstance(written, ListTypeNode | NonNullTypeNode):
                written = written.type
            assert isinstance(written, NamedTypeNode)
            self._value(self._schema.get_type(written.name.value), node.default_value)

    def _value(self, type_: GraphQLNamedType | None, node: ValueNode) -> int:
        """Return the cost of a value in the document. A variable within it counts as given."""
        if isinstance(type_, GraphQLEnumType):
            self._enum_values(type_, node)
        elif isinstance(type_, GraphQLInputObjectType):
            if isinstance(node, ListValueNode):
                return sum([self._value(type_, one) for one in node.values])
            if isinstance(node, ObjectValueNode):
                return self._input_object(type_, node)
        return 0

    def _input_object(self, type_: GraphQLInputObjectType, node: ObjectValueNode) -> int:
        total = 0
        for one in node.fields:
            name = one.name.value
            field = type_.fields[name]
            if field.deprecation_reason is not None:
                self._deprecated.add(f"{type_.name}.{name}")
            if not isinstance(one.value, NullValueNode):
                total += weights(type_).get(name, 0) + self._value(get_named_type(field.type), one.value)
        return total

    def _enum_values(self, type_: GraphQLEnumType, node: ValueNode) -> None:
        pending = [node]
        while pending:
            one = pending.pop()
            if isinstance(one, ListValueNode):
                pending += one.values
            elif isinstance(one, EnumValueNode) and type_.values[one.value].deprecation_reason is not None:
                self._deprecated.add(f"{type_.name}.{one.value}")


@cache
def weights(type_: GraphQLInputObjectType) -> Mapping[str, int]:
    """Return the weight of each weighted field of an input type. The cache has at most one entry per type."""
    found = {name: declared(field, Cost) for name, field in type_.fields.items()}
    return {name: int(cost.weight) for name, cost in found.items() if cost is not None}


@cache
def _weight_reading(type_: GraphQLInputObjectType) -> Reading:
    """Return the reading of the cost of a variable of this type."""
    return Reading(partial(_weight_of, type_), dict.fromkeys(weights(type_), ""))


def _weight_of(type_: object, value: object) -> int:
    if isinstance(value, list):
        return sum(_weight_of(type_, one) for one in value)
    if not isinstance(value, dict) or not isinstance(type_, GraphQLInputObjectType):
        return 0
    total = 0
    for name, one in value.items():
        field = type_.fields.get(name)
        if field is not None and one is not None:
            total += weights(type_).get(name, 0) + _weight_of(get_named_type(field.type), one)
    return total
