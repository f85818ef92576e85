"""Fields of a Strawberry schema without declarations: arguments, permissions, extensions, interfaces, generics."""

from collections.abc import Callable
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse
from strawberry.types.arguments import convert_arguments

from graph.execution import Prepared
from tests.graph.execution.support.comparing import Calls, both
from tests.graph.execution.support.strawberry_schema import SCHEMA

KEY = "6f1c2a52-5d2f-4a55-9d50-3a8f1f0f7d10"


async def answer(text: str, variables: dict[str, Any] | None = None, root: Any = None) -> dict[str, Any]:
    return await both(SCHEMA, text, variables, root=lambda: root)


def prepared(text: str) -> Prepared:
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return Prepared(SCHEMA, document, operation)


async def test_resolver_gets_its_parent_and_its_own_info() -> None:
    result = await answer("query ($n: Int!) { alone(n: 5) x: alone(n: $n) }", {"n": 6}, "root")
    assert result == {"data": {"alone": "root 5 alone alone ['alone']", "x": "root 6 alone alone ['x']"}}


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "(number: null, maybe: null)",
        '(number: 5, color: GREEN, colors: [RED, GREEN], maybe: "x", nickName: "nick")',
        "(point: {}, points: [])",
        '(point: {x: 2, y: null, maybe: 3, names: ["a"], inner: {color: RED}}, points: [{y: 1}, {maybe: null}])',
        "(choice: {number: 1})",
        f'(day: "2020-02-29", amount: "2.50", key: "{KEY}", nodeId: "Q2F0OjE=")',
        '(nodeId: "nonsense")',
    ],
)
async def test_literal_arguments_are_converted_as_strawberry_converts_them(arguments: str) -> None:
    await answer(f"{{ told{arguments} }}")


@pytest.mark.parametrize(
    ("declared", "argument", "given"),
    [
        ("$v: Int", "number", [{}, {"v": None}, {"v": 5}]),
        ("$v: Color! = GREEN", "color", [{}, {"v": "RED"}]),
        ("$v: Color", "color", [{}, {"v": "GREEN"}, {"v": None}]),
        ("$v: [Color!]", "colors", [{}, {"v": None}, {"v": ["GREEN"]}]),
        ("$v: Point", "point", [{}, {"v": None}, {"v": {"inner": {"maybe": None}, "y": 2}}]),
        ("$v: [Point!]", "points", [{}, {"v": [{"x": 5}]}]),
        ("$v: Choice", "choice", [{}, {"v": {"name": "x"}}]),
        ("$v: String", "maybe", [{}, {"v": None}, {"v": "x"}]),
        ("$v: Date", "day", [{}, {"v": "2020-02-29"}]),
        ("$v: Decimal! = 7", "amount", [{}, {"v": "1.250"}]),
        ("$v: UUID", "key", [{}, {"v": None}, {"v": KEY}]),
        ("$v: ID", "nodeId", [{}, {"v": None}, {"v": "Q2F0OjE="}, {"v": "nonsense"}]),
        ('$v: String! = "d"', "nickName", [{}, {"v": "x"}]),
    ],
)
async def test_variables_are_converted_as_strawberry_converts_them(
    declared: str, argument: str, given: list[dict[str, Any]]
) -> None:
    for one in given:
        await answer(f"query ({declared}) {{ told({argument}: $v) }}", one)


async def test_variables_within_input_objects_are_converted() -> None:
    text = "query ($x: Int, $c: Color) { told(point: {x: $x, inner: {color: $c}}, colors: [RED]) }"
    for given in ({}, {"x": 5, "c": "RED"}, {"x": None}, {"c": None}):
        await answer(text, given)


PLAIN = """query ($x: Int, $y: Int, $c: Color) {
    told(
        points: [{x: $x}, {y: $y, inner: {color: $c}}, {x: 1, names: []}]
        point: {names: ["b"], y: null, inner: {color: RED, inner: null}}
    )
}"""


@pytest.mark.parametrize(
    "given",
    [{}, {"x": 1}, {"x": 1, "y": None, "c": "RED"}, {"x": None, "y": 2, "c": "GREEN"}, {"x": 5, "y": 6, "c": None}],
)
async def test_lists_of_input_objects_are_converted(given: dict[str, Any]) -> None:
    await answer(PLAIN, given)


@pytest.mark.parametrize(
    "written",
    [
        "point: {x: $x, names: $names}",  # a list from a variable
        "point: {maybe: $x}",  # a Some around it
        "points: {x: $x}",  # a single value for a list
        "choice: {number: $x}",  # exactly one key
        "point: {inner: {inner: {inner: {x: $x}}}}",
    ],
)
async def test_input_that_is_not_plain_is_converted_too(written: str) -> None:
    names = ", $names: [String!]" if "$names" in written else ""
    text = f"query ($x: Int!{names}) {{ told({written}) }}"
    await answer(text, {"x": 5, "names": ["a"]} if names else {"x": 5})


@pytest.mark.parametrize(
    ("text", "of"),
    [
        ("query ($x: Int!) { told(points: [{x: $x}], point: {y: 1, inner: {color: RED}}) }", lambda x: {"x": x}),
        ("query ($p: Point) { told(point: $p, number: 1) }", lambda x: {"p": {"x": x, "inner": {"maybe": 1}}}),
        ("query ($p: [Point!]) { told(points: $p) }", lambda x: {"p": [{"x": x, "names": ["a"]}, {"maybe": None}]}),
        ("query ($p: Point) { told(point: {x: 1, inner: $p}) }", lambda x: {"p": {"x": x}}),
    ],
)
async def test_plain_input_objects_bypass_strawberrys_conversion(
    monkeypatch: pytest.MonkeyPatch, text: str, of: Callable[[int], dict[str, Any]]
) -> None:
    await answer(text, of(5))
    ready = prepared(text)
    calls: list[object] = []

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(given)
        return convert_arguments(*given, **named)

    monkeypatch.setattr("graph.execution.plan.arguments.convert_arguments", counted)
    result = await ready.run(of(5), Calls())
    assert "Point(x=5," in repr(result.data)
    calls.clear()  # the constants are converted once
    result = await ready.run(of(6), Calls())
    assert "Point(x=6," in repr(result.data)
    assert calls == []


@pytest.mark.parametrize("given", [{}, {"p": None}, {"p": {"maybe": None, "names": []}}, {"p": {"inner": None}}])
async def test_whole_input_objects_of_variables_are_converted(given: dict[str, Any]) -> None:
    await answer("query ($p: Point) { told(point: $p, points: [{inner: $p}]) }", given)


async def test_each_run_has_input_objects_of_its_own() -> None:
    text = "query ($x: Int!) { changing(point: {x: $x, inner: {y: 1}}) }"
    ready = prepared(text)
    answers = [(await ready.run({"x": 5}, Calls())).data for _ in range(2)]
    assert answers == [{"changing": "5 1 []"}] * 2


async def test_resolver_cannot_change_the_default_of_a_variable() -> None:
    text = 'query ($n: [String!]! = ["a"]) { changing(point: {x: 5, names: $n, inner: {y: 1}}) }'
    ready = prepared(text)
    answers = [(await ready.run({}, Calls())).data for _ in range(2)]
    assert answers == [{"changing": "5 1 ['a']"}] * 2


@pytest.mark.parametrize("given", ["{}", "{word: $w}", "{other: $w}", "$b"])
async def test_omitted_fields_without_a_default_are_null(given: str) -> None:
    declared = "$b: Bare!" if given == "$b" else "$w: String" if "$w" in given else ""
    text = f"query {f'({declared})' if declared else ''} {{ bare(given: {given}) }}"
    await answer(text, {"w": "x"} if "$w" in given else {"b": {"other": "x"}} if given == "$b" else {})


async def test_resolver_receives_required_arguments() -> None:
    text = "query ($p: Point!, $c: Color!, $k: ID!) { needed(point: $p, color: $c, key: $k) }"
    result = await answer(text, {"p": {"names": ["n"]}, "c": "RED", "k": 5})
    assert result["data"]["needed"].endswith(", <Color.RED: 'red'>, '5')")


async def test_types_of_union_and_interface_members_are_distinguished() -> None:
    result = await answer(
        """{
            things {
                __typename
                ... on Named { name greeting(word: "Hi") }
                ... on Cat { lives friends { __typename name ... on Dog { barks } } }
                ... on Rock { weight }
            }
            page { total nodes { greeting __typename } }
        }"""
    )
    friends = [
        {"__typename": "Dog", "name": "Rex", "barks": True},
        None,
        {"__typename": "Cat", "name": "Tom"},
    ]
    assert result == {
        "data": {
            "things": [
                {"__typename": "Cat", "name": "Tom", "greeting": "Hi, Tom", "lives": 9, "friends": friends},
                {"__typename": "Dog", "name": "Rex", "greeting": "Hi, Rex"},
                {"__typename": "Rock", "weight": 1.5},
            ],
            "page": {
                "total": 2,
                "nodes": [
                    {"greeting": "Hello, Tom", "__typename": "Cat"},
                    {"greeting": "Hello, Rex", "__typename": "Dog"},
                ],
            },
        }
    }


async def test_object_of_the_wrong_type_is_an_error() -> None:
    result = await answer("{ things { ... on Dog { wrong { weight } } } }")
    assert result["data"] is None
    assert result["errors"] == [
        {
            "message": "Expected value of type 'Rock' but got: <Dog instance>.",
            "locations": [{"line": 1, "column": 25}],
            "path": ["things", 1, "wrong"],
        }
    ]


async def test_permissions_and_extensions_are_applied() -> None:
    result = await answer('{ guarded open: guarded(secret: false) loud loudly: loud(word: "hey") static(n: 2) fails }')
    assert result["data"] == {
        "guarded": None,
        "open": "secret False",
        "loud": "QUIET",
        "loudly": "HEY",
        "static": 2,
        "fails": None,
    }
    assert [error["message"] for error in result["errors"]] == ["not for you", "failed"]


async def test_extensions_wrap_the_resolver_and_receive_converted_arguments() -> None:
    result = await answer(
        'query ($x: Int!) { framed(point: {x: $x, color: RED}) framedToo framedMethod(word: "said") '
        'mapped again: mapped(word: "given") }',
        {"x": 7},
    )
    assert result == {
        "data": {
            "framed": "(framed [framed None framed 7 Color.RED told33])",
            "framedToo": "<framedToo None framedToo told3>",
            "framedMethod": "{framedMethod None framedMethod said1}",
            "mapped": "QUIETER",
            "again": "GIVENER",
        }
    }


async def test_generator_of_a_resolver_becomes_a_list_or_an_error() -> None:
    assert await answer("{ generated }") == {"data": {"generated": [1, 2]}}
    result = await answer("{ page { total } generated(fails: true) }")
    assert result["data"] is None
    assert [(error["message"], error["path"]) for error in result["errors"]] == [("broke", ["generated"])]
