"""What arguments cost by what is given in them: the weights of input fields, such as a search."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from graphql import (
    GraphQLInputObjectType,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    ValueNode,
    get_named_type,
)

from graph.analysis.cost import Cost
from graph.analysis.field_loads import declared


@cache
def weights(type_: GraphQLInputObjectType) -> Mapping[str, int]:
    """Return the weight of each field of an input type that has one. There are as many types as in the schema."""
    found = {name: declared(field, Cost) for name, field in type_.fields.items()}
    return {name: int(cost.weight) for name, cost in found.items() if cost is not None}


def weight_written(type_: object, node: ValueNode) -> int:
    """Return what a value costs that stands in a document; a variable within it counts as given."""
    if isinstance(node, ListValueNode):
        return sum(weight_written(type_, one) for one in node.values)
    if not isinstance(node, ObjectValueNode) or not isinstance(type_, GraphQLInputObjectType):
        return 0
    total = 0
    for one in node.fields:
        field = type_.fields.get(one.name.value)
        if field is not None and not isinstance(one.value, NullValueNode):
            total += weights(type_).get(one.name.value, 0) + weight_written(get_named_type(field.type), one.value)
    return total


def weight_given(type_: object, value: object) -> int:
    """Return what a variable's value costs, as it came."""
    if isinstance(value, list):
        return sum(weight_given(type_, one) for one in value)
    if not isinstance(value, dict) or not isinstance(type_, GraphQLInputObjectType):
        return 0
    total = 0
    for name, one in value.items():
        field = type_.fields.get(name)
        if field is not None and one is not None:
            total += weights(type_).get(name, 0) + weight_given(get_named_type(field.type), one)
    return total


def heaviest(type_: GraphQLInputObjectType) -> dict[str, Any]:
    """Return a value that has all of a type's own fields that cost anything, for a look at the price."""
    return dict.fromkeys(weights(type_), "")
