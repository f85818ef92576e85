"""What changes the calls of resolvers, and only graphql-core's executor does, is refused with its reason."""

import functools
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
import strawberry
from graphql import (
    Executor,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    build_schema,
    execute,
    parse,
    validate,
)
from strawberry.extensions import SchemaExtension
from strawberry.types import Info

from graph.execution import Prepared, Unsupported
from graph.execution.engine import OPTIONS
from graph.execution.strawberry_adapter import core_schema
from tests.graph.execution.support.comparing import both, counted_schema

SUPPORTED = {
    "schema",
    "document",
    "root_value",
    "context_value",
    "variable_values",
    "operation_name",
    "hide_suggestions",
}
WITHOUT_EFFECT = {
    "subscribe_field_resolver",  # subscriptions are not supported
    "enable_early_execution",  # incremental delivery is not supported
    "max_coercion_errors",  # the number is fixed
    "custom_context_args",  # arguments of an executor class
}


def prepared(schema: GraphQLSchema, text: str, **options: Any) -> Prepared:
    document = parse(text, no_location=True)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    return Prepared(schema, document, operation, **options)


def test_each_option_of_graphql_core_is_supported_or_refused() -> None:
    assert inspect.signature(execute).parameters.keys() == SUPPORTED | WITHOUT_EFFECT | OPTIONS


@pytest.mark.parametrize("option", sorted(OPTIONS))
async def test_option_is_refused_with_its_name(option: str) -> None:
    schema = build_schema("type Query { a: Int }")
    with pytest.raises(Unsupported, match=f"^{option}$"):
        await prepared(schema, "{ a }", **{option: lambda *_: 1}).run({}, None)
    await prepared(schema, "{ a }", **{option: None}).run({}, None)


def test_unknown_option_is_an_error() -> None:
    with pytest.raises(TypeError, match="unknown options: feild_resolver"):
        prepared(build_schema("type Query { a: Int }"), "{ a }", feild_resolver=None)


class Shouting(SchemaExtension):
    def resolve(self, _next: Any, root: Any, info: Any, *args: Any, **kwargs: Any) -> Any:
        return _next(root, info, *args, **kwargs).upper()


class Watching(SchemaExtension):
    def get_results(self) -> dict[str, Any]:
        return {"watched": True}


class OwnExecutor(Executor[Any]):
    pass


@strawberry.type
class Query:
    @strawberry.field
    def extensions(self, info: Info) -> str:
        return str(info.input_extensions)


@pytest.mark.parametrize(
    ("reason", "given"),
    [
        ("middleware", {"extensions": [Shouting]}),
        ("middleware", {"extensions": [Watching, functools.partial(Shouting)]}),
        ("executor_class", {"execution_context_class": OwnExecutor}),
    ],
)
async def test_schema_of_strawberry_that_wraps_all_resolvers_is_refused(reason: str, given: dict[str, Any]) -> None:
    schema = core_schema(strawberry.Schema(Query, **given))
    with pytest.raises(Unsupported, match=f"^{reason}$"):
        await prepared(schema, "{ extensions }").run({}, None)


@pytest.mark.parametrize("extensions", [None, {"trace": 1}])
async def test_resolver_gets_the_extensions_of_the_request(extensions: dict[str, Any] | None) -> None:
    schema = strawberry.Schema(Query, extensions=[Watching])
    expected = await schema.execute("{ extensions }", operation_extensions=extensions)
    result = await prepared(core_schema(schema), "{ extensions }").run({}, None, extensions=extensions)
    assert result.data == expected.data == {"extensions": str(extensions)}


# ---------------------------------------------------------------- async generators


async def numbers(*_: Any) -> AsyncIterator[int]:
    yield 1
    yield 2


async def test_async_generator_function_is_refused_where_it_is_planned() -> None:
    schema = build_schema("type Query { numbers: [Int] query: Query }")
    assert isinstance(schema.query_type, GraphQLObjectType)
    schema.query_type.fields["numbers"].resolve = numbers
    with pytest.raises(Unsupported, match="async generator"):
        await prepared(schema, "{ query { query { numbers } } }").run({}, None)


async def test_async_generator_below_an_abstract_type_is_read() -> None:
    sdl = "type Query { thing: Thing numbers: [Int] } union Thing = Query"
    schema = counted_schema(sdl, {"Query.thing": lambda *_: {"__typename": "Query"}})
    assert isinstance(schema.query_type, GraphQLObjectType)
    schema.query_type.fields["numbers"].resolve = numbers
    result = await both(schema, "{ thing { ... on Query { numbers } } }")
    assert result == {"data": {"thing": {"numbers": [1, 2]}}}


# ---------------------------------------------------------------- depth


async def test_deep_selections_below_an_abstract_type_are_an_error_of_the_field() -> None:
    schema = build_schema("type Query { thing: Thing deep: Query leaf: Int } union Thing = Query")
    depth = 192
    text = "{ leaf thing { ...F } } fragment F on Query " + "{ deep " * depth + "{ leaf }" + "}" * depth
    assert validate(schema, parse(text)) == []
    root = {"leaf": 1, "thing": {"__typename": "Query", "deep": None}}
    result = await prepared(schema, text).run({}, None, root)
    assert result.data == {"leaf": 1, "thing": None}
    assert [(one.path, "nested too deeply" in one.message) for one in result.errors or ()] == [(["thing"], True)]
