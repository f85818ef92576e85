"""Messages to clients speak GraphQL: no terms of Python, for any wrong value at any place."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest
from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    get_named_type,
    get_nullable_type,
    is_composite_type,
)

from db.settings import Settings
from graph.errors import in_graphql
from graph.schema.root import graphql_schema
from tests.graph.support.callers import Client
from tests.graph.support.served_app import served

QUOTED = re.compile(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
PYTHON = re.compile(
    r"\b(None|True|False|NoneType|str|int|dict|bool|float|tuple|Undefined|nan|inf|repr|class)\b|object at 0x"
)

WRONG: list[Any] = [
    *(None, True, 5, 1.5, 2**62, "None", "it's", 'a "quoted" one', "x" * 300),
    *([None], [True, None, ["a", False]], list(range(30)), {}, {"a": True, "b": [None]}, ["\u200b\u2028\x07" * 90]),
]
BATCH = 100
# Each of these is a separate document, whose validation takes time.
EVERY = {"by_literal": 3, "by_default": 3}


def arguments() -> Iterator[tuple[str, str, GraphQLField]]:
    """Yield every root field that has arguments, with the kind of its operation."""
    for kind, root in (("query", graphql_schema.query_type), ("mutation", graphql_schema.mutation_type)):
        assert root is not None
        yield from ((kind, name, field) for name, field in root.fields.items() if field.args)


def written_into(type_: GraphQLInputType, value: Any, above: frozenset[str] = frozenset()) -> Iterator[Any]:
    """Yield inputs of this type that have `value` at one place each, and nothing else."""
    yield value
    nullable = get_nullable_type(type_)
    if isinstance(nullable, GraphQLList):
        yield from ([inner] for inner in written_into(nullable.of_type, value, above))
    elif isinstance(nullable, GraphQLInputObjectType) and nullable.name not in above:
        for name, field in nullable.fields.items():
            yield from ({name: inner} for inner in written_into(field.type, value, above | {nullable.name}))


def literal(value: Any) -> str:
    """Write a value as a GraphQL literal."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {literal(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return orjson.dumps(value).decode()


def operation(kind: str, name: str, field: GraphQLField, declared: str, given: dict[str, str]) -> str:
    call = f"({', '.join(f'{argument}: {value}' for argument, value in given.items())})" if given else ""
    below = " { __typename }" if is_composite_type(get_named_type(field.type)) else ""
    return f"{kind}{declared} {{ {name}{call}{below} }}"


def by_variables(kind: str, name: str, field: GraphQLField, argument: str, value: Any) -> dict[str, Any]:
    declared = ", ".join(f"${one}: {definition.type}" for one, definition in field.args.items())
    text = operation(kind, name, field, f"({declared})", {one: f"${one}" for one in field.args})
    return {"query": text, "variables": {argument: value}}


def by_literal(kind: str, name: str, field: GraphQLField, argument: str, value: Any) -> dict[str, Any]:
    return {"query": operation(kind, name, field, "", {argument: literal(value)})}


def by_default(kind: str, name: str, field: GraphQLField, argument: str, value: Any) -> dict[str, Any]:
    type_ = get_nullable_type(field.args[argument].type)
    text = operation(kind, name, field, f"($v: {type_} = {literal(value)})", {argument: "$v"})
    return {"query": text}


def by_null(kind: str, name: str, field: GraphQLField, argument: str, value: Any) -> dict[str, Any]:
    definition: GraphQLArgument = field.args[argument]
    text = operation(kind, name, field, f"($v: {get_nullable_type(definition.type)} = null)", {argument: "$v"})
    return {"query": text, "variables": {"v": value}}


FORMS = {one.__name__: one for one in (by_variables, by_literal, by_default, by_null)}


async def messages(client: Client, requests: list[dict[str, Any]]) -> AsyncIterator[tuple[dict[str, Any], str]]:
    """Send requests, and yield every message of the responses with its request."""
    for start in range(0, len(requests), BATCH):
        some = requests[start : start + BATCH]
        answer = await client.http.post("/graphql", json=some)
        for request, body in zip(some, answer.json(), strict=True):
            for error in body.get("errors", ()):
                yield request, error["message"]


def words_of_python(message: str) -> list[str]:
    return [found[0] for found in PYTHON.finditer(QUOTED.sub("…", message))]


# Refusals before execution do not depend on the engine.
@pytest.mark.parametrize(
    ("form", "engine"), [*((form, "compiled") for form in FORMS), ("by_variables", "ordinary"), ("by_null", "ordinary")]
)
async def test_no_message_about_a_wrong_value_has_terms_of_python(settings: Settings, form: str, engine: str) -> None:
    requests = [
        FORMS[form](kind, name, field, argument, wrong)
        for kind, name, field in arguments()
        for argument, definition in field.args.items()
        for value in WRONG[:: EVERY.get(form, 1)]
        for wrong in written_into(definition.type, value)
    ]
    changes = {"batch_operations_max": BATCH, "cost_per_minute_max": 0, "cost_per_minute_per_address_max": 0}
    count = 0
    found: dict[str, Any] = {}
    async with served(settings, engine=engine, **changes) as client:
        async for request, message in messages(client, requests):
            count += 1
            if words_of_python(message):
                found[message] = request
    assert list(found.items())[:5] == []
    assert count > len(requests) / 2


async def run(client: Client, query: str, **variables: Any) -> list[str]:
    return [error["message"] for error in (await client.run(query, **variables))["errors"]]


async def test_literal_is_quoted_as_its_client_wrote_it(client: Client) -> None:
    wrong = {
        "{ posts(first: True) { totalCount } }": "Int cannot represent non-integer value: True",
        '{ posts(first: "None") { totalCount } }': 'Int cannot represent non-integer value: "None"',
        "{ node(id: null) { id } }": "Expected value of non-null type 'ID!' not to be null.",
        "{ posts(orderBy: None) { totalCount } }": ("Expected value of type 'PostOrder' to be an object, found: None."),
    }
    for query, message in wrong.items():
        assert (query, await run(client, query)) == (query, [message])


async def test_null_for_a_non_null_argument_is_called_null(client: Client) -> None:
    query = "query ($size: Int = 5) { postsPage(pageSize: $size) { __typename } }"
    [message] = await run(client, query, size=None)
    assert message.endswith("Expected variable '$size' provided to non-null type 'Int!' not to be null.")


@pytest.mark.parametrize(
    ("original", "message"),
    [
        ("Int cannot represent non-integer value: 'it\\'s'", 'Int cannot represent non-integer value: "it\'s"'),
        ("ID cannot represent value: {'None': [True, None]}", 'ID cannot represent value: {"None": [true, null]}'),
        ("ID cannot represent value: [...]", "ID cannot represent value: [...]"),
        (
            "Enum 'Order' cannot represent non-string value: True. Did you mean the enum value 'TRUE'?",
            "Enum 'Order' cannot represent non-string value: true. Did you mean the enum value 'TRUE'?",
        ),
        ("Value 'None' does not exist in 'Order' enum.", "Value 'None' does not exist in 'Order' enum."),
        ("Int cannot represent non-integer value: '\\x0'", "Int cannot represent non-integer value: '\\x0'"),
    ],
)
def test_values_of_variables_are_quoted_as_json(original: str, message: str) -> None:
    assert in_graphql(original) == message


async def test_body_that_is_no_utf_8_has_its_own_message(client: Client) -> None:
    for content in (b'{"query": "\xe9"}', b"\xff"):
        answer = await client.http.post("/graphql", content=content, headers={"content-type": "application/json"})
        [error] = answer.json()["errors"]
        assert error["message"].startswith("the body is not JSON in UTF-8: it is not valid UTF-8")
