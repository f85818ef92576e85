"""Variables: coerced with the same result as in graphql-core, or left to it, for valid and for odd values."""

from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLString,
    Undefined,
    is_input_object_type,
    is_input_type,
    is_list_type,
    is_non_null_type,
)
from graphql.utilities import coerce_input_value
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from graph.execution.plan.variables import NeedsFullCoercion, coercer_of
from graph.schema.root import graphql_schema
from tests.running.amounts import examples

COLOUR = GraphQLEnumType("Colour", {"RED": 1, "BLUE": 2})
INNER = GraphQLInputObjectType(
    "Inner",
    {
        "colour": GraphQLInputField(COLOUR, default_value=2),
        "numbers": GraphQLInputField(GraphQLList(GraphQLNonNull(GraphQLInt)), out_name="renamed"),
    },
)
OUTER = GraphQLInputObjectType(
    "Outer",
    {
        "inner": GraphQLInputField(GraphQLNonNull(INNER)),
        "inners": GraphQLInputField(GraphQLList(INNER)),
        "text": GraphQLInputField(GraphQLNonNull(GraphQLString), default_value="default"),
        "matrix": GraphQLInputField(GraphQLList(GraphQLList(GraphQLInt))),
        "any": GraphQLInputField(GraphQLScalarType("Any")),
    },
    out_type=lambda value: ("made", value),
)
TYPES = [
    OUTER,
    GraphQLNonNull(GraphQLList(OUTER)),
    *(
        type_
        for name, type_ in sorted(graphql_schema.type_map.items())
        if is_input_type(type_) and not name.startswith("__")
    ),
]
TEXTS = ["", "x", "12.50", "EUR", "account_1", "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e", "2026-11-22T09:30:00Z", "RED"]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2**31 - 1, 2**31, 1.0, 1.5, float("inf")]),
    st.sampled_from(TEXTS),
)
ODD = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "inner", "text"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def values_of(type_: Any, depth: int = 3) -> st.SearchStrategy[Any]:
    """Return values that are mostly valid for a type, and sometimes odd."""
    if is_non_null_type(type_):
        return values_of(type_.of_type, depth)
    if depth == 0:
        return ODD
    if is_list_type(type_):
        return st.lists(values_of(type_.of_type, depth - 1), max_size=3) | ODD
    if is_input_object_type(type_):
        members = {name: values_of(field.type, depth - 1) for name, field in type_.fields.items()}
        required = {name: one for name, one in members.items() if is_non_null_type(type_.fields[name].type)}
        others = {name: one for name, one in members.items() if name not in required}
        whole = st.fixed_dictionaries(required, optional=others)
        return whole | st.fixed_dictionaries({}, optional={**members, "strange": LEAVES}) | ODD
    if isinstance(type_, GraphQLEnumType):
        return st.sampled_from(list(type_.values)) | ODD
    return LEAVES | ODD


@pytest.mark.parametrize("type_", TYPES, ids=str)
@hypothesis_settings(max_examples=examples(30))
@given(data=st.data())
def test_coerced_values_equal_those_of_graphql_core(type_: Any, data: st.DataObject) -> None:
    coercer = coercer_of(type_)
    if coercer is None:
        return
    value = data.draw(values_of(type_))
    if value is None:
        return
    expected = coerce_input_value(value, type_)
    try:
        found = coercer(value)
    except NeedsFullCoercion:
        return  # graphql-core coerces this type
    assert expected is not Undefined
    assert (found, type(found)) == (expected, type(expected))
    assert repr(found) == repr(expected)


def test_plain_values_are_not_left_to_graphql_core() -> None:
    known = {"fromAccountId": "account_1", "toAccountId": "account_2", "amount": "1.50", "memo": None}
    transfer = {**known, "idempotencyKey": "0190a0b4-7d3c-7c1e-9f43-2f6b8a1c5d7e"}
    type_: Any = graphql_schema.type_map["TransfersInput"]
    coercer = coercer_of(type_)
    assert coercer is not None
    value = {"transfers": [transfer, transfer], "mode": "ALL"}
    assert coercer(value) == coerce_input_value(value, type_)
    for wrong in ({"transfers": transfer, "mode": "ALL"}, {"transfers": [transfer], "mode": "all"}, {"mode": "ALL"}):
        with pytest.raises(NeedsFullCoercion):
            coercer(wrong)


def test_recursive_input_is_left_to_graphql_core() -> None:
    fields: dict[str, GraphQLInputField] = {}
    node = GraphQLInputObjectType("Tree", lambda: fields)
    fields["below"] = GraphQLInputField(GraphQLList(node))
    assert coercer_of(node) is None
    assert coercer_of(GraphQLInputObjectType("Holder", {"tree": GraphQLInputField(node)})) is None
