"""Objects: how far a null propagates, which type a value has, and the order of mutations."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from graphql import (
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLUnionType,
)

from tests.graph.execution.support.comparing import both, counted_schema


def error(message: str, column: int, *path: str | int) -> dict[str, Any]:
    return {"message": message, "locations": [{"line": 1, "column": column}], "path": list(path)}


# ---------------------------------------------------------------- nulls that travel

NULLS = counted_schema("type Query { some: Query sure: Query! list: [Query!] open: [Query] leaf: Int must: Int! }")


def now(value: Any) -> Callable[[Any], Any]:
    def given(info: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return given


def later(value: Any) -> Callable[[Any], Any]:
    async def given(info: Any) -> Any:
        await asyncio.sleep(0)
        return now(value)(info)

    return given


async def nulls(text: str, must: Callable[[Any], Any], **root: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"leaf": 1, "must": must, **root}
    values |= {"some": values, "sure": values, "list": [values, values], "open": [values, {**values, "must": now(2)}]}
    return await both(NULLS, text, root=lambda: values)


@pytest.mark.parametrize("when", [now, later])
async def test_null_propagates_to_the_nearest_nullable_position(when: Callable[[Any], Any]) -> None:
    must = when(ValueError("bad"))
    assert await nulls("{ must }", must) == {"data": None, "errors": [error("bad", 3, "must")]}
    assert await nulls("{ some { must } leaf }", must) == {
        "data": {"some": None, "leaf": 1},
        "errors": [error("bad", 10, "some", "must")],
    }
    assert await nulls("{ some { sure { sure { must } } leaf } }", must) == {
        "data": {"some": None},
        "errors": [error("bad", 24, "some", "sure", "sure", "must")],
    }
    assert await nulls("{ open { must } }", must) == {
        "data": {"open": [None, {"must": 2}]},
        "errors": [error("bad", 10, "open", 0, "must")],
    }


@pytest.mark.parametrize("when", [now, later])
async def test_null_item_of_a_non_null_type_makes_its_list_null(when: Callable[[Any], Any]) -> None:
    result = await nulls("{ some { list { must } } }", when(None))
    assert result["data"] == {"some": {"list": None}}
    assert {one["message"] for one in result["errors"]} == {"Cannot return null for non-nullable field Query.must."}


async def test_every_field_of_an_answer_has_its_own_errors() -> None:
    result = await nulls("{ a: some { must } b: some { x: must } c: some { leaf } }", now(ValueError("bad")))
    assert result == {
        "data": {"a": None, "b": None, "c": {"leaf": 1}},
        "errors": [error("bad", 13, "a", "must"), error("bad", 30, "b", "x")],
    }


async def test_merged_field_has_all_its_locations() -> None:
    result = await nulls("{ some { leaf } some { must } }", now(1), some=None)
    assert result == {"data": {"some": {"leaf": 1, "must": 1}}}
    schema = counted_schema("type Query { some: Query leaf: Int }")
    failing = {"some": now(ValueError("bad"))}
    result = await both(schema, "{ some { leaf } some { leaf } }", root=lambda: failing)
    assert result["errors"] == [
        {"message": "bad", "locations": [{"line": 1, "column": 3}, {"line": 1, "column": 17}], "path": ["some"]}
    ]


async def test_field_of_a_fragment_that_is_spread_twice_has_one_location() -> None:
    result = await nulls("{ some { ...F ...F } } fragment F on Query { must }", now(ValueError("bad")))
    assert result["errors"] == [error("bad", 46, "some", "must")]


async def test_exception_returned_for_an_object_is_its_error() -> None:
    root = {"some": ValueError("no object"), "open": [{"leaf": 1}, ValueError("no item")], "list": [ValueError("none")]}
    assert await both(NULLS, "{ some { leaf } open { leaf } list { leaf } }", root=lambda: root) == {
        "data": {"some": None, "open": [{"leaf": 1}, None], "list": None},
        "errors": [
            error("no object", 3, "some"),
            error("no item", 17, "open", 1),
            error("none", 31, "list", 0),
        ],
    }


async def test_errors_keep_their_extensions_and_their_own_path() -> None:
    coded = GraphQLError("coded", extensions={"code": "SOME", "more": [1]})
    assert (await nulls("{ some { must } }", now(coded)))["errors"] == [
        error("coded", 10, "some", "must") | {"extensions": {"code": "SOME", "more": [1]}}
    ]
    placed = GraphQLError("placed", path=["some", "where"])
    schema = counted_schema("type Query { some: Some } type Some { where: Int leaf: Int }")
    result = await both(schema, "{ some { where leaf } }", root=lambda: {"some": {"where": now(placed), "leaf": 1}})
    assert result["data"] == {"some": {"where": None, "leaf": 1}}


async def test_missing_attribute_is_null() -> None:
    schema = counted_schema("type Query { a: Int b: Int }")
    assert await both(schema, "{ a b }", root=lambda: {"a": 1}) == {"data": {"a": 1, "b": None}}
    assert await both(schema, "{ a b }", root=object) == {"data": {"a": None, "b": None}}


async def test_answer_may_be_deep() -> None:
    depth = 60
    result = await nulls("{ some " * depth + "{ leaf }" + " }" * depth, now(1))
    for _ in range(depth):
        result = next(iter(result.values()))
    assert result == {"some": {"leaf": 1}}


# ---------------------------------------------------------------- types

TYPES = """
    interface Being { name: String }
    interface Pet implements Being { name: String owner: Being }
    type Cat implements Pet & Being { name: String owner: Being meows: Boolean }
    type Dog implements Pet & Being { name: String owner: Being barks: Boolean }
    type Human implements Being { name: String pets: [Pet!] }
    type Stone { weight: Int }
    union Thing = Cat | Dog | Human | Stone
    type Query { things: [Thing] beings: [Being] pet: Pet pets: [Pet!] cat: Cat cats: [Cat] }
"""
TEXT = """{ things {
    __typename
    ... on Being { name }
    ... on Pet { owner { __typename name ... on Human { pets { __typename ... on Dog { barks } } } } }
    ... on Cat { meows }
    ... on Stone { weight }
} }"""
ADA: dict[str, Any] = {"is": "Human", "name": "Ada"}
TOM, REX = {"is": "Cat", "name": "Tom", "owner": ADA, "meows": True}, {"is": "Dog", "name": "Rex", "barks": False}
ADA["pets"] = [TOM, REX]
NO_TYPE = "Abstract type 'Pet' must resolve to an Object type at runtime for field 'Query.pets'"
TYPE_FUNCTIONS = "a 'resolve_type' function or each possible type should provide an 'is_type_of' function"
THINGS = [TOM, REX, {"is": "Stone", "weight": 5}, None, TOM]


def kind_of(value: dict[str, Any], info: Any, abstract: Any) -> Any:
    kind = value["is"]
    return now(kind)(info)


async def kind_of_later(value: dict[str, Any], info: Any, abstract: Any) -> Any:
    await asyncio.sleep(0)
    return kind_of(value, info, abstract)


def schema_with_resolve_type(resolve_type: Any) -> GraphQLSchema:
    schema = counted_schema(TYPES)
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLInterfaceType | GraphQLUnionType):
            type_.resolve_type = resolve_type
    return schema


def schema_with_is_type_of(when: Callable[[Any], Callable[[Any], Any]]) -> GraphQLSchema:
    schema = counted_schema(TYPES)
    for name in ("Cat", "Dog", "Human", "Stone"):
        type_ = schema.get_type(name)
        assert isinstance(type_, GraphQLObjectType)
        type_.is_type_of = _is_type_of(name, when)
    return schema


def _is_type_of(name: str, when: Callable[[Any], Callable[[Any], Any]]) -> Any:
    def is_type_of(value: dict[str, Any], info: GraphQLResolveInfo[Any]) -> Any:
        return when(value["is"] if isinstance(value["is"], Exception) else value["is"] == name)(info)

    return is_type_of


SCHEMAS = {
    "resolve_type": schema_with_resolve_type(kind_of),
    "resolve_type later": schema_with_resolve_type(kind_of_later),
    "is_type_of": schema_with_is_type_of(now),
    "is_type_of later": schema_with_is_type_of(later),
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
async def test_values_of_abstract_types_find_their_types(schema: GraphQLSchema) -> None:
    pets = [{"__typename": "Cat"}, {"__typename": "Dog", "barks": False}]
    owner = {"__typename": "Human", "name": "Ada", "pets": pets}
    tom = {"__typename": "Cat", "name": "Tom", "owner": owner, "meows": True}
    assert await both(schema, TEXT, root=lambda: {"things": THINGS}) == {
        "data": {
            "things": [
                tom,
                {"__typename": "Dog", "name": "Rex", "owner": None},
                {"__typename": "Stone", "weight": 5},
                None,
                tom,
            ]
        }
    }


async def test_typename_of_a_mapping_determines_its_type() -> None:
    root = {"pet": {"__typename": "Dog", "name": "Rex"}, "cat": {"name": "Tom"}}
    result = await both(counted_schema(TYPES), "{ pet { __typename name } cat { name } }", root=lambda: root)
    assert result == {"data": {"pet": {"__typename": "Dog", "name": "Rex"}, "cat": {"name": "Tom"}}}


@pytest.mark.parametrize("schema", ["resolve_type", "resolve_type later"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Nobody", "Abstract type 'Pet' was resolved to a type 'Nobody' that does not exist inside the schema."),
        ("Being", "Abstract type 'Pet' was resolved to a non-object type 'Being'."),
        ("Human", "Runtime Object type 'Human' is not a possible type for 'Pet'."),
        (ValueError("who knows"), "who knows"),
        (
            5,
            f"{NO_TYPE} with value {{'is': 5}}, received '5', which is not a valid Object type name.",
        ),
        (
            None,
            f"{NO_TYPE}. Either the 'Pet' type should provide {TYPE_FUNCTIONS}.",
        ),
    ],
)
async def test_impossible_type_is_an_error_of_its_place(schema: str, kind: Any, message: str) -> None:
    root = {"pets": [TOM, {"is": kind}], "pet": REX}
    result = await both(SCHEMAS[schema], "{ pets { name } pet { name } }", root=lambda: root)
    assert result == {
        "data": {"pets": None, "pet": {"name": "Rex"}},
        "errors": [error(message, 3, "pets", 1)],
    }


@pytest.mark.parametrize("schema", ["is_type_of", "is_type_of later"])
async def test_object_that_its_type_rejects_is_an_error_of_its_place(schema: str) -> None:
    root = {"cats": [TOM, {"is": "Dog"}, {"is": ValueError("who knows")}]}
    assert await both(SCHEMAS[schema], "{ cats { name } }", root=lambda: root) == {
        "data": {"cats": [{"name": "Tom"}, None, None]},
        "errors": [
            error("Expected value of type 'Cat' but got: {'is': 'Dog'}.", 3, "cats", 1),
            error("who knows", 3, "cats", 2),
        ],
    }


async def test_is_type_of_receives_the_place_of_the_field() -> None:
    places: list[list[str | int]] = []
    schema = counted_schema("type Query { a: [Cat] } type Cat { kits: [Cat] name: String }")
    cat = schema.get_type("Cat")
    assert isinstance(cat, GraphQLObjectType)

    def is_type_of(value: Any, info: GraphQLResolveInfo[Any]) -> bool:
        places.append(info.path.as_list())
        return True

    cat.is_type_of = is_type_of
    kit = {"name": "kit"}
    root = {"a": [{"kits": [kit]}, {"kits": [kit, kit]}]}
    await both(schema, "{ a { kits { name } } }", root=lambda: root)
    theirs, ours = places[: len(places) // 2], places[len(places) // 2 :]
    assert sorted(map(str, ours)) == sorted(map(str, theirs))


# ---------------------------------------------------------------- mutations


class Counter:
    """What the mutations of a run change, and their order."""

    def __init__(self) -> None:
        self.value = 0
        self.log: list[str] = []


async def _add(counter: Counter, info: GraphQLResolveInfo[Any], by: int) -> Any:
    counter.log.append(f"{by} begins")
    await asyncio.sleep(0)
    if by < 0:
        raise ValueError("never less")
    counter.value += by
    counter.log.append(f"{by} ends")
    return {"value": counter.value, "now": lambda _info: _value_later(counter)}


async def _value_later(counter: Counter) -> int:
    await asyncio.sleep(0)
    counter.log.append("read")
    return counter.value


MUTATIONS = counted_schema(
    """
    type Sum { value: Int now: Int }
    type Query { a: Int }
    type Mutation { add(by: Int!): Sum addSurely(by: Int!): Sum! quick: Int }
    """,
    {"Mutation.add": _add, "Mutation.addSurely": _add},
)


async def mutate(text: str) -> tuple[dict[str, Any], list[list[str]]]:
    """Return the response, and the events of graphql-core, the compiled engine, graphql-core without propagation."""
    counters: list[Counter] = []

    def root() -> Counter:
        counters.append(Counter())
        return counters[-1]

    result = await both(MUTATIONS, text, root=root)
    return result, [one.log for one in counters]


async def test_root_fields_of_a_mutation_run_one_after_the_other() -> None:
    result, logs = await mutate("mutation { a: add(by: 1) { now } b: add(by: 2) { value now } quick __typename }")
    assert result == {"data": {"a": {"now": 1}, "b": {"value": 3, "now": 3}, "quick": None, "__typename": "Mutation"}}
    assert logs == [["1 begins", "1 ends", "read", "2 begins", "2 ends", "read"]] * 2


async def test_next_root_field_runs_after_a_failed_nullable_one() -> None:
    result, logs = await mutate("mutation { a: add(by: -1) { now } b: add(by: 2) { now } }")
    assert result == {"data": {"a": None, "b": {"now": 2}}, "errors": [error("never less", 12, "a")]}
    assert logs == [["-1 begins", "2 begins", "2 ends", "read"]] * 2


async def test_failed_non_null_root_field_ends_the_operation() -> None:
    result, logs = await mutate(
        "mutation { a: add(by: 1) { value } b: addSurely(by: -1) { now } c: add(by: 2) { now } }"
    )
    assert result == {"data": None, "errors": [error("never less", 36, "b")]}
    assert logs[:2] == [["1 begins", "1 ends", "-1 begins"]] * 2


async def test_merged_root_field_of_a_mutation_runs_once() -> None:
    result, logs = await mutate("mutation { add(by: 1) { value } add(by: 1) { now } }")
    assert result == {"data": {"add": {"value": 1, "now": 1}}}
    assert logs == [["1 begins", "1 ends", "read"]] * 2


async def test_mutation_without_selected_fields_is_empty() -> None:
    assert await mutate("mutation { quick @skip(if: true) }") == ({"data": {}}, [[], []])
