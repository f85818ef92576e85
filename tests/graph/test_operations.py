"""The cache of operations: each text is prepared once, refusals too, and no flood of texts makes it grow."""

import asyncio

import pytest

from graph.operations import (
    OPERATION_CACHED_LENGTH_MAX,
    OPERATIONS_CACHED_MAX,
    VALIDATION_ERRORS_MAX,
    Operation,
    Operations,
    RequestRefused,
)
from graph.schema import graphql_schema
from tests.graph.callers import Client

TWO = "query A { __typename } query B { posts { totalCount } }"


@pytest.fixture
def operations() -> Operations:
    return Operations(graphql_schema, introspection=True, suggestions=True)


def refusal(operations: Operations, text: str, name: str | None = None) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        operations.find(text, name)
    return caught.value


def padded(text: str, length: int) -> str:
    return text + " " * (length - len(text))


# ---------------------------------------------------------------- once for each text


def test_same_text_is_the_same_operation(operations: Operations) -> None:
    first = operations.find("{ __typename }", None)
    assert isinstance(first, Operation)
    assert operations.find("{ " + "__typename }", None) is first
    assert operations.find("{ __typename  }", None) is not first


def test_operations_of_one_text_share_its_document(operations: Operations) -> None:
    first, second = operations.find(TWO, "A"), operations.find(TWO, "B")
    assert (first.name, second.name) == ("A", "B")
    assert first.document is second.document
    assert operations.find(TWO, "A") is first
    assert operations.find(TWO, "B") is second


def test_refused_text_is_checked_once(operations: Operations) -> None:
    for text in ("{", "{ nope }"):
        first, second = refusal(operations, text), refusal(operations, text)
        assert first is not second
        assert [id(error) for error in first.errors] == [id(error) for error in second.errors]


def test_list_of_errors_of_one_refusal_is_not_that_of_the_next(operations: Operations) -> None:
    refusal(operations, "{ nope }").errors.clear()
    assert [error.message for error in refusal(operations, "{ nope }").errors] == [
        "Cannot query field 'nope' on type 'Query'. Did you mean 'node' or 'nodes'?"
    ]


def test_name_that_is_not_there_is_refused_and_spoils_nothing(operations: Operations) -> None:
    first = operations.find(TWO, "A")
    for name in (None, "C", ""):
        codes = [error.extensions for error in refusal(operations, TWO, name).errors]
        assert codes == [{"code": "OPERATION_RESOLUTION_FAILURE"}]
    assert operations.find(TWO, "A") is first


# ---------------------------------------------------------------- bounds


def test_flood_of_different_texts_does_not_make_the_cache_grow(operations: Operations) -> None:
    for number in range(OPERATIONS_CACHED_MAX + 50):
        operations.find(f"query Q{number} {{ __typename }}", None)
    assert operations.size == OPERATIONS_CACHED_MAX


def test_flood_of_different_refusals_does_not_make_the_cache_grow(operations: Operations) -> None:
    known = [refusal(operations, f"{{ {number}").errors[0] for number in range(OPERATIONS_CACHED_MAX + 1)]
    # The last is still there, the first had to go.
    assert refusal(operations, f"{{ {OPERATIONS_CACHED_MAX}").errors[0] is known[-1]
    assert refusal(operations, "{ 0").errors[0] is not known[0]


def test_operation_in_use_outlives_a_flood(operations: Operations) -> None:
    used, idle = operations.find("{ __typename }", None), operations.find("query Idle { __typename }", None)
    for number in range(OPERATIONS_CACHED_MAX):
        operations.find(f"query Q{number} {{ __typename }}", None)
        assert operations.find("{ __typename }", None) is used
    assert operations.find("query Idle { __typename }", None) is not idle


def test_text_that_is_too_long_is_not_kept(operations: Operations) -> None:
    longest = padded("{ __typename }", OPERATION_CACHED_LENGTH_MAX)
    assert operations.find(longest, None) is operations.find(longest, None)
    too_long = longest + " "
    assert operations.find(too_long, None) is not operations.find(too_long, None)
    assert operations.find(too_long, None).document is not operations.find(too_long, None).document
    wrong = padded("{ nope }", OPERATION_CACHED_LENGTH_MAX + 1)
    assert refusal(operations, wrong).errors[0] is not refusal(operations, wrong).errors[0]


def test_refusal_that_is_kept_does_not_keep_the_parsed_document_alive(operations: Operations) -> None:
    for text in ("{", "{ nope }", "{ ...F } fragment F on Query { ...F }", "{" + "__typename " * 1000 + "}"):
        [error] = refusal(operations, text).errors
        assert (error.nodes, error.original_error, error.__traceback__) == (None, None, None)


def test_no_more_errors_are_kept_than_are_told(operations: Operations) -> None:
    refused = refusal(operations, "{" + " ".join(f"nope{number}" for number in range(400)) + "}")
    assert len(refused.errors) == VALIDATION_ERRORS_MAX + 1


# ---------------------------------------------------------------- over HTTP


async def test_refused_document_is_answered_the_same_every_time(client: Client) -> None:
    for document in ("{", "{ nope }", "{ pots { nope } } fragment F on Post { id }", TWO):
        first = await client.post(document)
        later = await asyncio.gather(*(client.post(document) for _ in range(5)))
        assert [(one.status_code, one.content) for one in later] == [(first.status_code, first.content)] * 5


async def test_refused_variables_are_answered_the_same_every_time(client: Client) -> None:
    document = "query ($first: Int!) { posts(first: $first) { totalCount } }"
    first = await client.run(document, first="x")
    assert await client.run(document, first=1) == {"data": {"posts": {"totalCount": 0}}}
    assert await client.run(document, first="x") == first
    assert await client.run(document, first="y") != first


async def test_failure_of_one_caller_is_not_shown_to_the_next(client: Client) -> None:
    document = "query ($id: ID!) { user(id: $id) { username } }"
    assert list(await client.run(document, id="nonsense")) == ["data", "errors"]
    assert await client.run(document, id="user_1") == {"data": {"user": {"username": "treasury"}}}


async def test_operation_that_runs_twice_at_once_is_executed_for_each_caller(client: Client) -> None:
    document = "query ($id: ID!, $more: Boolean!) { user(id: $id) { id username @include(if: $more) } }"
    bodies = await asyncio.gather(
        *(client.run(document, id=f"user_{number % 2 + 1}", more=number % 3 == 0) for number in range(12))
    )
    treasury, nobody = {"id": "user_1"}, None
    shown = [{**treasury, "username": "treasury"} if number % 3 == 0 else treasury for number in range(12)]
    expected = [{"data": {"user": shown[number] if number % 2 == 0 else nobody}} for number in range(12)]
    assert bodies == expected
