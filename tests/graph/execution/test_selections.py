"""Selections: merging, fragments, conditions, arguments, variables, and operations that the ordinary engine runs."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    build_schema,
    parse,
)

from graph.execution import Prepared, Unsupported
from tests.graph.execution.support.comparing import Calls, both, counted_schema


def _resolve_told(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> str:
    return repr(arguments)


SDL = """
    enum Color { RED GREEN }
    input Point { x: Int! = 1 y: Int color: Color = GREEN inner: Point }
    input Choice @oneOf { a: Int b: String }
    type Node { name: String a: Int b: Int child: Node children: [Node!] }
    type Query {
        node: Node
        a: Int
        b: Int
        told(
            int: Int = 3, needed: Int! = 4, text: String, color: Color = RED, colors: [Color!], point: Point,
            points: [Point!] = [{y: 2}], choice: Choice, matrix: [[Int]]
        ): String
        strict(int: Int!): String
        strictPoint(point: Point!): String
    }
"""
SCHEMA = counted_schema(SDL, {f"Query.{name}": _resolve_told for name in ("told", "strict", "strictPoint")})
LEAF = {"name": "leaf", "a": 3, "b": 4}
ROOT = {"a": 1, "b": 2, "node": {"name": "top", "a": 5, "b": 6, "child": LEAF, "children": [LEAF, LEAF]}}


async def answer(text: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    return await both(SCHEMA, text, variables, root=lambda: ROOT)


async def answer_of_told(text: str, variables: dict[str, Any] | None = None) -> Any:
    result = await answer(text, variables)
    return result["errors"] if "errors" in result else result["data"]["told"]


# ---------------------------------------------------------------- merging and fragments


async def test_answer_has_the_order_of_the_selections() -> None:
    result = await answer("{ b ...F node { b a } a } fragment F on Query { node { name } b }")
    assert repr(result["data"]) == "{'b': 2, 'node': {'name': 'top', 'b': 6, 'a': 5}, 'a': 1}"


async def test_selections_of_one_key_merge_below_any_depth() -> None:
    result = await answer(
        "{ node { child { a } } ... on Query { node { child { b } n: name } } ...F } "
        "fragment F on Query { node { child { a name } children { a } } }"
    )
    assert result == {
        "data": {
            "node": {
                "child": {"a": 3, "b": 4, "name": "leaf"},
                "n": "top",
                "children": [{"a": 3}, {"a": 3}],
            }
        }
    }


async def test_one_fragment_at_two_places_is_two_places() -> None:
    result = await answer("{ node { child { ...F } children { ...F } ...F } } fragment F on Node { name x: a }")
    leaf = {"name": "leaf", "x": 3}
    assert result == {"data": {"node": {"child": leaf, "children": [leaf, leaf], "name": "top", "x": 5}}}


async def test_typename_is_the_object_types_name_under_any_key() -> None:
    result = await answer("{ __typename node { kind: __typename child { __typename } } }")
    assert result == {"data": {"__typename": "Query", "node": {"kind": "Node", "child": {"__typename": "Node"}}}}


# ---------------------------------------------------------------- conditions


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("include", [False, True])
async def test_field_is_selected_if_both_skip_and_include_allow_it(skip: bool, include: bool) -> None:
    text = """query ($s: Boolean!, $i: Boolean!) {
        a @skip(if: $s) @include(if: $i)
        ... @skip(if: $s) @include(if: $i) { b }
        ...F @include(if: $i) @skip(if: $s)
        node { a @include(if: $i) b @skip(if: $s) }
    } fragment F on Query { node { name @skip(if: $s) } }"""
    result = await answer(text, {"s": skip, "i": include})
    node = {
        **({"name": "top"} if include and not skip else {}),
        **({"a": 5} if include else {}),
        **({} if skip else {"b": 6}),
    }
    assert result == {"data": {**({"a": 1, "b": 2} if include and not skip else {}), "node": node}}


async def test_literal_conditions_are_applied() -> None:
    result = await answer("{ a @skip(if: true) b @include(if: true) node @include(if: false) { a } }")
    assert result == {"data": {"b": 2}}


async def test_nothing_selected_is_an_empty_object() -> None:
    assert await answer("{ node { a @skip(if: true) } }") == {"data": {"node": {}}}
    assert await answer("{ a @skip(if: true) }") == {"data": {}}


async def test_fragment_that_is_skipped_at_one_place_is_selected_at_another() -> None:
    result = await answer("{ ...F @skip(if: true) ...F } fragment F on Query { a }")
    assert result == {"data": {"a": 1}}


async def test_condition_has_a_default() -> None:
    text = "query ($i: Boolean! = true) { a @include(if: $i) b }"
    assert await answer(text) == {"data": {"a": 1, "b": 2}}
    assert await answer(text, {"i": False}) == {"data": {"b": 2}}


async def test_prepared_operation_runs_under_every_condition_in_turn() -> None:
    document = parse("query ($i: Boolean!) { a @include(if: $i) b }")
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    prepared = Prepared(SCHEMA, document, operation)
    for wanted in (True, False, True, True):
        result = await prepared.run({"i": wanted}, Calls(), ROOT)
        assert result.data == ({"a": 1, "b": 2} if wanted else {"b": 2})


# ---------------------------------------------------------------- arguments


DEFAULTS = "{'int': 3, 'needed': 4, 'color': 'RED', 'points': [{'x': 1, 'y': 2, 'color': 'GREEN'}]}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", DEFAULTS),
        ("(int: null)", DEFAULTS.replace("3", "None")),
        ("(text: null, int: 5)", DEFAULTS.replace("3", "5").replace("'color'", "'text': None, 'color'", 1)),
    ],
)
async def test_argument_is_given_or_null_or_its_default(arguments: str, expected: str) -> None:
    assert await answer_of_told(f"{{ told{arguments} }}") == expected


@pytest.mark.parametrize(
    ("declared", "argument", "given"),
    [
        ("$v: Int", "int", [{}, {"v": None}, {"v": 7}]),
        ("$v: Int = 9", "int", [{}, {"v": None}, {"v": 7}]),
        ("$v: Int", "needed", [{}, {"v": None}, {"v": 7}]),
        ("$v: Int!", "needed", [{"v": 7}]),
        ("$v: Color", "color", [{}, {"v": None}, {"v": "GREEN"}]),
        ("$v: [Color!]", "colors", [{}, {"v": None}, {"v": ["GREEN"]}, {"v": "RED"}]),
        ("$v: Point", "point", [{}, {"v": None}, {"v": {}}, {"v": {"inner": {"x": 2}, "color": None}}]),
        ("$v: [Point!]", "points", [{}, {"v": None}, {"v": {"y": 1}}, {"v": [{}]}]),
        ("$v: Choice", "choice", [{}, {"v": None}, {"v": {"a": 1}}, {"v": {"b": "x"}}]),
        ("$v: [[Int]]", "matrix", [{}, {"v": [[1], None, [None]]}, {"v": 3}]),
    ],
)
async def test_variable_is_given_or_null_or_omitted(declared: str, argument: str, given: list[dict[str, Any]]) -> None:
    answers = [repr(await answer_of_told(f"query ({declared}) {{ told({argument}: $v) }}", one)) for one in given]
    assert len(set(answers)) == len(given)


@pytest.mark.parametrize(
    ("declared", "argument", "given"),
    [
        ("$v: Int", "point: {y: $v}", [{}, {"v": None}, {"v": 7}]),
        ("$v: Int", "point: {inner: {x: $v}}", [{}, {"v": None}, {"v": 7}]),
        ("$v: Color!", "colors: [RED, $v]", [{"v": "GREEN"}]),
        ("$v: Int", "matrix: [[$v], [1]]", [{}, {"v": None}, {"v": 7}]),
        ("$v: Int!", "choice: {a: $v}", [{"v": 7}]),
    ],
)
async def test_variable_within_a_value_is_given_or_null_or_omitted(
    declared: str, argument: str, given: list[dict[str, Any]]
) -> None:
    for one in given:
        assert await answer_of_told(f"query ({declared}) {{ told({argument}) }}", one)


@pytest.mark.parametrize(
    ("declared", "argument", "given", "expected"),
    [
        ("", "{a: 1}", {}, "{'a': 1}"),
        ("", '{b: "x"}', {}, "{'b': 'x'}"),
        ("($v: Choice = {a: 1})", "$v", {}, "{'a': 1}"),
        ("($v: Choice = {a: 1})", "$v", {"v": {"b": "x"}}, "{'b': 'x'}"),
        ("($v: String!)", "{b: $v}", {"v": "x"}, "{'b': 'x'}"),
    ],
)
async def test_input_with_exactly_one_field_has_the_given_one(
    declared: str, argument: str, given: dict[str, Any], expected: str
) -> None:
    assert f"'choice': {expected}" in await answer_of_told(f"query {declared} {{ told(choice: {argument}) }}", given)


@pytest.mark.parametrize(
    ("declared", "field", "given"),
    [
        ("$v: Int!", "strict(int: $v)", [{}, {"v": None}, {"v": "x"}, {"v": 2**31}, {"v": 1.5}, {"v": True}]),
        ("$v: Color", "told(color: $v)", [{"v": "PINK"}, {"v": 1}]),
        ("$v: Point!", "strictPoint(point: $v)", [{"v": {"x": None}}, {"v": {"z": 1}}, {"v": 1}]),
        ("$v: Choice", "told(choice: $v)", [{"v": {}}, {"v": {"a": 1, "b": "x"}}, {"v": {"a": None}}]),
        ("$v: [Color!]", "told(colors: $v)", [{"v": [None]}]),
        ("$v: String", "told(text: $v)", [{"v": 1}, {"v": ["x"]}]),
    ],
)
async def test_variable_of_the_wrong_type_ends_the_operation(
    declared: str, field: str, given: list[dict[str, Any]]
) -> None:
    for one in given:
        result = await answer(f"query ({declared}) {{ a {field} }}", one)
        assert result["data"] is None
        assert [error["locations"] for error in result["errors"]] == [[{"line": 1, "column": 8}]]


async def test_numbers_are_coerced_as_in_json() -> None:
    assert await answer("query ($v: Int!) { strict(int: $v) }", {"v": 5.0}) == {"data": {"strict": "{'int': 5}"}}


async def test_arguments_are_not_shared_between_calls() -> None:
    def grow(source: Any, info: GraphQLResolveInfo[Any], points: list[int], **more: Any) -> int:
        points.append(1)
        more["more"] = 1
        return len(points)

    schema = counted_schema("type Query { grow(points: [Int!] = [1], n: Int = 2): Int }", {"Query.grow": grow})
    document = parse("{ grow(points: [4, 5]) }")
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    prepared = Prepared(schema, document, operation)
    for _ in range(2):
        assert (await prepared.run({}, Calls())).data == {"grow": 3}


async def test_resolvers_get_the_python_names_of_arguments() -> None:
    point = GraphQLInputObjectType("Point", {"xAxis": GraphQLInputField(GraphQLInt, out_name="x_axis")})
    field = GraphQLField(
        GraphQLString,
        {"firstName": GraphQLArgument(GraphQLString, out_name="first"), "at": GraphQLArgument(point)},
        resolve=lambda _source, _info, **arguments: repr(arguments),
    )
    schema = GraphQLSchema(GraphQLObjectType("Query", {"told": field}))
    result = await both(schema, "query ($n: String) { told(firstName: $n, at: {xAxis: 1}) }", {"n": "Ada"})
    assert result == {"data": {"told": "{'first': 'Ada', 'at': {'x_axis': 1}}"}}


# ---------------------------------------------------------------- what resolvers receive


async def test_resolvers_get_root_context_and_place() -> None:
    seen: list[Any] = []

    def note(source: Any, info: GraphQLResolveInfo[Any]) -> str:
        seen.append((source, info.field_name, info.path.as_list(), info.parent_type.name, str(info.return_type)))
        seen.append(
            (info.root_value, info.operation.operation.value, sorted(info.fragments), info.variable_values.coerced)
        )
        return "noted"

    schema = counted_schema("type Query { note(n: Int): String! }", {"Query.note": note})
    text = "query ($n: Int) { x: note ...F } fragment F on Query { x: note @include(if: true) y: note @skip(if: true) }"
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    assert (await Prepared(schema, document, operation).run({"n": 5}, Calls(), "root")).data == {"x": "noted"}
    assert seen == [
        ("root", "note", ["x"], "Query", "String!"),
        ("root", "query", ["F"], {"n": 5}),
    ]


async def test_independent_resolvers_wait_at_the_same_time() -> None:
    arrived = asyncio.Event()

    async def first(source: Any, info: GraphQLResolveInfo[Any]) -> int:
        await arrived.wait()
        return 1

    async def second(source: Any, info: GraphQLResolveInfo[Any]) -> int:
        arrived.set()
        return 2

    schema = counted_schema("type Query { first: Int second: Int }", {"Query.first": first, "Query.second": second})
    async with asyncio.timeout(5):
        assert await both(schema, "{ first second }") == {"data": {"first": 1, "second": 2}}


# ---------------------------------------------------------------- left to the ordinary engine

DEEP = "{ ...F0 } " + " ".join(f"fragment F{n} on Query {{ thing {{ ...F{n + 1} }} }}" for n in range(300))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DEEP.replace("thing", "deep"), "depth"),
        ("{ __schema { queryType { name } } }", "introspection"),
        ('{ a __type(name: "Node") { name } }', "introspection"),
        ("subscription { a }", "subscription"),
        ("mutation { a }", "subscription"),
        ("query @experimental_disableErrorPropagation { a }", "directive"),
        ("query ($i: Boolean) { a @include(if: $i) }", "condition"),
        ("{ ... @defer { a } }", "incremental delivery"),
        ("{ thing { ... on Query { __schema { queryType { name } } } } }", "introspection"),
        ('{ thing { ... on Deep { query { __type(name: "A") { name } } } } }', "introspection"),
        ("{ thing { ... on Query { ... @defer { a } } } }", "incremental delivery"),
    ],
)
async def test_operation_is_refused_before_anything_runs(text: str, reason: str) -> None:
    schema = build_schema(
        "type Deep { query: Query } union Thing = Query | Deep type Query { a: Int thing: Thing deep: Query }"
    )
    ran = Counter[str]()

    def run(source: Any, info: GraphQLResolveInfo[Any]) -> Any:
        ran[info.field_name] += 1
        return {"__typename": "Query"}

    assert schema.query_type is not None
    for field in schema.query_type.fields.values():
        field.resolve = run
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    with pytest.raises(Unsupported, match=f"^{reason}$"):
        await Prepared(schema, document, operation).run({}, Calls())
    assert ran == {}
