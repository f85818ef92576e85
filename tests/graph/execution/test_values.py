"""Values of every form that a resolver may return, in positions of every kind of nullability, and their results."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from tests.graph.execution.support.comparing import both, counted_schema

Given = Callable[..., Any]
NOTHING = "Cannot return null for non-nullable field Query.value."
NO_LIST = "Expected Iterable, but did not find one for field 'Query.value'."


def items(*values: Any) -> Given:
    """Return a generator; an exception among the values is raised at its place."""

    def given(info: Any) -> Iterator[Any]:
        for value in values:
            if isinstance(value, LookupError):
                raise value
            yield value

    return given


def async_items(*values: Any) -> Given:
    async def given(info: Any) -> AsyncIterator[Any]:
        for value in items(*values)(info):
            await asyncio.sleep(0)
            yield value

    return given


def later(value: Any) -> Given:
    async def given(info: Any) -> Any:
        await asyncio.sleep(0)
        if isinstance(value, Exception):
            raise value
        return value

    return given


def each_later(*values: Any) -> Given:
    return lambda info: [later(value)(info) for value in values]


def at_once(value: Any) -> Given:
    def given(info: Any) -> Any:
        return value

    return given


async def value_of(type_: str, given: Given) -> tuple[Any, list[tuple[str, list[str | int]]]]:
    """Return the value of the field on both engines, and the messages and paths of its errors."""
    schema = counted_schema(f"type Query {{ value: {type_} }}")
    result = await both(schema, "{ value }", root=lambda: {"value": given})
    errors = [(one["message"], one["path"]) for one in result.get("errors", [])]
    return result["data"] and result["data"]["value"], errors


FORMS = [
    at_once,
    later,
    lambda value: items(*value),
    lambda value: async_items(*value),
    lambda value: each_later(*value),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("type_", ["[Int]", "[Int]!", "[Int!]", "[Int!]!"])
async def test_iterable_of_any_form_is_a_list(type_: str, form: Callable[[Any], Given]) -> None:
    assert await value_of(type_, form([1, 2])) == ([1, 2], [])
    assert await value_of(type_, form([])) == ([], [])


@pytest.mark.parametrize("form", FORMS)
async def test_null_item_is_null_or_makes_the_list_null(form: Callable[[Any], Given]) -> None:
    assert await value_of("[Int]", form([1, None, 2])) == ([1, None, 2], [])
    assert await value_of("[Int]!", form([1, None, 2])) == ([1, None, 2], [])
    for type_ in ("[Int!]", "[Int!]!"):
        assert await value_of(type_, form([1, None, 2])) == (None, [(NOTHING, ["value", 1])])


@pytest.mark.parametrize("form", [at_once, later, lambda value: items(*value), lambda value: async_items(*value)])
async def test_exception_among_the_items_is_the_error_of_its_place(form: Callable[[Any], Given]) -> None:
    assert await value_of("[Int]", form([1, ValueError("bad"), 2])) == ([1, None, 2], [("bad", ["value", 1])])
    assert await value_of("[Int!]", form([1, ValueError("bad"), 2])) == (None, [("bad", ["value", 1])])


async def test_item_that_fails_later_is_the_error_of_its_place() -> None:
    failing = each_later(1, ValueError("bad"), 2)
    assert await value_of("[Int]", failing) == ([1, None, 2], [("bad", ["value", 1])])
    assert await value_of("[Int!]!", failing) == (None, [("bad", ["value", 1])])


@pytest.mark.parametrize("form", [items, async_items])
async def test_iterator_that_breaks_is_the_error_of_the_whole_list(form: Callable[..., Given]) -> None:
    assert await value_of("[Int]", form(1, LookupError("broke"))) == (None, [("broke", ["value"])])
    assert await value_of("[Int!]!", form(1, LookupError("broke"))) == (None, [("broke", ["value"])])


@pytest.mark.parametrize("form", [at_once, later])
@pytest.mark.parametrize("value", [7, "text", b"bytes", {"a": 1}, object])
async def test_value_that_is_not_iterable_is_an_error(value: Any, form: Callable[[Any], Given]) -> None:
    if value is object:  # an engine would call a class
        value = object()
    assert await value_of("[String]", form(value)) == (None, [(NO_LIST, ["value"])])


@pytest.mark.parametrize("value", [(1, 2), {1: "a", 2: "b"}.keys(), range(1, 3), frozenset([1, 2])])
async def test_any_collection_is_a_list(value: Any) -> None:
    assert await value_of("[Int]", at_once(value)) == ([1, 2], [])


async def test_lists_of_lists_keep_their_nulls_apart() -> None:
    rows = [[1, None], None, [2]]
    assert await value_of("[[Int]]", at_once(rows)) == (rows, [])
    assert await value_of("[[Int!]]", at_once(rows)) == ([None, None, [2]], [(NOTHING, ["value", 0, 1])])
    assert await value_of("[[Int]!]", at_once(rows)) == (None, [(NOTHING, ["value", 1])])
    assert await value_of("[[Int!]!]!", at_once([[1], [2, None]])) == (None, [(NOTHING, ["value", 1, 1])])


async def test_inner_lists_may_be_awaitable_or_fail() -> None:
    def given(info: Any) -> list[Any]:
        return [later([1])(info), items(2, LookupError("broke"))(info), async_items(3)(info), each_later(4, 5)(info)]

    assert await value_of("[[Int!]]", given) == ([[1], None, [3], [4, 5]], [("broke", ["value", 1])])


@pytest.mark.parametrize("form", [at_once, later])
async def test_null_and_errors_of_a_single_value(form: Callable[[Any], Given]) -> None:
    assert await value_of("Int", form(None)) == (None, [])
    assert await value_of("Int!", form(None)) == (None, [(NOTHING, ["value"])])
    assert await value_of("Int", form(ValueError("bad"))) == (None, [("bad", ["value"])])
    assert await value_of("Int!", form(ValueError("bad"))) == (None, [("bad", ["value"])])


@pytest.mark.parametrize(
    ("type_", "value", "message"),
    [
        ("Int", "x", "Int cannot represent non-integer value: 'x'"),
        ("Int", 2**31, "Int cannot represent non 32-bit signed integer value: 2147483648"),
        ("Int", 1.5, "Int cannot represent non-integer value: 1.5"),
        ("Float", float("nan"), "Float cannot represent non numeric value: nan"),
        ("Boolean", "true", "Boolean cannot represent a non boolean value: 'true'"),
        ("String", [1], "String cannot represent value: [1]"),
        ("ID", 1.5, "ID cannot represent value: 1.5"),
    ],
)
async def test_leaf_that_its_type_rejects_is_an_error(type_: str, value: Any, message: str) -> None:
    assert await value_of(type_, at_once(value)) == (None, [(message, ["value"])])
    assert await value_of(f"[{type_}]", at_once([value])) == ([None], [(message, ["value", 0])])


@pytest.mark.parametrize(
    ("type_", "value", "written"),
    [
        ("Int", True, 1),
        ("Int", "12", 12),
        ("Int", 3.0, 3),
        ("Float", 2, 2.0),
        ("Float", False, 0),
        ("String", 1.5, "1.5"),
        ("String", True, "true"),
        ("ID", 7, "7"),
        ("Boolean", 0, False),
    ],
)
async def test_leaf_is_serialized_by_its_type(type_: str, value: Any, written: Any) -> None:
    found, errors = await value_of(type_, at_once(value))
    assert (repr(found), errors) == (repr(written), [])


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({"b": 2, "c": 3, "e": 5}, "a=1 b=2 c=3 d=4 e=5"),
        ({"b": 2, "e": None}, "a=1 b=2 c=30 d=4 e=None"),
        ({"b": 2}, "a=1 b=2 c=30 d=4"),
    ],
)
async def test_arguments_have_the_order_of_the_schema(given: dict[str, Any], seen: str) -> None:
    def resolve(_source: Any, _info: Any, **arguments: Any) -> str:
        return " ".join(f"{name}={value}" for name, value in arguments.items())

    schema = counted_schema(
        "type Query { value(a: Int, b: Int!, c: Int = 30, d: Int = 4, e: Int): String }", {"Query.value": resolve}
    )
    document = "query ($b: Int!, $c: Int, $e: Int) { value(e: $e, c: $c, a: 1, b: $b) }"
    assert await both(schema, document, given) == {"data": {"value": seen}}
