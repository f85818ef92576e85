"""The cache of operations: each text is prepared once, also a refused one, and no flood of texts exceeds its bound."""

import asyncio
import contextlib
import dataclasses
import gc
import tracemalloc

import orjson
import pytest
from fastapi import FastAPI
from graphql import execute_sync, get_introspection_query, parse

from graph.analysis.limits import WRITTEN_VALUES_MAX
from graph.operations.cache import (
    ERROR_BYTES,
    OPERATION_CACHED_LENGTH_MAX,
    OPERATIONS_CACHED_BYTES_MAX,
    OPERATIONS_ON_PROBATION_BYTES_MAX,
    TOKEN_BYTES,
    Operation,
    Operations,
    RequestRefused,
)
from graph.operations.introspections import INTROSPECTED_ON_PROBATION_BYTES_MAX
from graph.operations.segmented_cache import ENTRY_BYTES
from graph.operations.validation import VALIDATION_ERRORS_MAX
from graph.schema.root import graphql_schema
from tests.graph.support.callers import Client

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
    assert first.execution.document is second.execution.document
    assert operations.find(TWO, "A") is first
    assert operations.find(TWO, "B") is second


def test_refused_text_is_checked_once(operations: Operations) -> None:
    for text in ("{", "{ nope }"):
        first, second = refusal(operations, text), refusal(operations, text)
        assert first is not second
        assert [id(error) for error in first.errors] == [id(error) for error in second.errors]


def test_refusals_do_not_share_their_list_of_errors(operations: Operations) -> None:
    refusal(operations, "{ nope }").errors.clear()
    assert [error.message for error in refusal(operations, "{ nope }").errors] == [
        "Cannot query field 'nope' on type 'Query'. Did you mean 'node' or 'nodes'?"
    ]


def test_unknown_name_is_refused_and_does_not_affect_the_cache(operations: Operations) -> None:
    first = operations.find(TWO, "A")
    for name in (None, "C", ""):
        codes = [error.extensions for error in refusal(operations, TWO, name).errors]
        assert codes == [{"code": "OPERATION_RESOLUTION_FAILURE"}]
    assert operations.find(TWO, "A") is first


# ---------------------------------------------------------------- bounds


# The largest document that is cached, with two-character tokens, because tokens determine the memory.
GREEDY = "1 " * (WRITTEN_VALUES_MAX - 1)
GREEDY_BYTES = WRITTEN_VALUES_MAX * TOKEN_BYTES


@pytest.mark.long("a flood of documents")
def test_flood_of_different_texts_does_not_make_the_cache_grow(operations: Operations) -> None:
    sizes = set()
    for number in range(40):
        operations.find(f"query Q{number} {{ nodes(ids: [{GREEDY}]) {{ id }} }}", None)
        sizes.add(operations.size)
    assert 4 < max(sizes) <= OPERATIONS_ON_PROBATION_BYTES_MAX // GREEDY_BYTES
    assert operations.size_bytes <= OPERATIONS_ON_PROBATION_BYTES_MAX


@pytest.mark.long("a flood of documents")
def test_flood_of_repeated_texts_does_not_make_the_cache_grow(operations: Operations) -> None:
    for number in range(100):
        text = f"query Q{number} {{ nodes(ids: [{GREEDY}]) {{ id }} }}"
        assert operations.find(text, None) is operations.find(text, None)
    assert 30 < operations.size <= OPERATIONS_CACHED_BYTES_MAX // GREEDY_BYTES
    assert operations.size_bytes <= OPERATIONS_CACHED_BYTES_MAX


def test_documents_take_no_more_memory_than_is_counted(operations: Operations) -> None:
    texts = [
        "query Q%d { __typename }",
        "query Q%d { posts(first: 3) { nodes { id title author { username } } } }",
        "query Q%d { nodes(ids: [" + "1 " * 500 + "]) { id } }",
        "query Q%d { " + "nope " * 100 + "}",
        "{" * 500 + "%d",
    ]
    for text in texts:  # the part that all texts share exists before the measurement
        prepare(operations, text % 0)
    gc.collect()
    tracemalloc.start()
    try:
        for text in texts:
            before, counted = tracemalloc.get_traced_memory()[0], operations.size_bytes
            for number in range(1, 11):
                prepare(operations, text % number)
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0] - before
            assert (text, taken <= operations.size_bytes - counted <= 3 * taken) == (text, True)
    finally:
        tracemalloc.stop()


def prepare(operations: Operations, text: str) -> None:
    with contextlib.suppress(RequestRefused):
        operations.find(text, None).priced({})


def test_flood_of_different_refusals_evicts_the_first_of_them(operations: Operations) -> None:
    many = OPERATIONS_ON_PROBATION_BYTES_MAX // ERROR_BYTES
    known = [refusal(operations, f"{{ {number}").errors[0] for number in range(many)]
    # The last one is still cached, the first one was evicted.
    assert refusal(operations, f"{{ {many - 1}").errors[0] is known[-1]
    assert refusal(operations, "{ 0").errors[0] is not known[0]


@pytest.mark.parametrize(
    ("text", "name"), [("{ __typename } #N", None), ("{ N", None), ("query N { __typename }", "N")]
)
def test_document_that_is_repeated_takes_no_more_memory_than_is_counted(
    operations: Operations, text: str, name: str | None
) -> None:
    tracemalloc.start()
    try:
        for number in range(20):
            long = f"N{number}" * 15_000
            for _ in range(2):  # new string objects each time, as from the body of another request
                with contextlib.suppress(RequestRefused):
                    operations.find(text.replace("N", long), name and name.replace("N", long))
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] <= 1.1 * operations.size_bytes
    finally:
        tracemalloc.stop()


def test_repeated_operation_and_refusal_survive_a_flood(operations: Operations) -> None:
    used = [operations.find("{ __typename }", None) for _ in range(2)][1]
    refused = [refusal(operations, "{ nope }").errors[0] for _ in range(2)][1]
    once = operations.find("query Once { __typename }", None)
    for number in range(400):
        operations.find(f"query Q{number} {{ __typename }}", None)
    assert operations.find("{ __typename }", None) is used
    assert refusal(operations, "{ nope }").errors[0] is refused
    assert operations.find("query Once { __typename }", None) is not once


def test_text_that_is_too_long_is_not_cached(operations: Operations) -> None:
    longest = padded("{ __typename }", OPERATION_CACHED_LENGTH_MAX)
    assert operations.find(longest, None) is operations.find(longest, None)
    too_long = longest + " "
    assert operations.find(too_long, None) is not operations.find(too_long, None)
    assert operations.find(too_long, None).execution is not operations.find(too_long, None).execution
    wrong = padded("{ nope }", OPERATION_CACHED_LENGTH_MAX + 1)
    assert refusal(operations, wrong).errors[0] is not refusal(operations, wrong).errors[0]


def test_cached_refusal_does_not_keep_the_parsed_document_alive(operations: Operations) -> None:
    for text in ("{", "{ nope }", "{ ...F } fragment F on Query { ...F }", "{" + "__typename " * 1000 + "}"):
        [error] = refusal(operations, text).errors
        assert (error.nodes, error.original_error, error.__traceback__) == (None, None, None)


def test_no_more_errors_are_cached_than_are_reported(operations: Operations) -> None:
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


# ---------------------------------------------------------------- introspection


async def test_introspection_is_answered_from_the_cache(app: FastAPI, client: Client) -> None:
    document = get_introspection_query()
    first, second = await client.post(document), await client.post(document)
    assert first.content == second.content
    assert first.json()["data"] == execute_sync(graphql_schema, parse(document)).data
    operations = app.state.operations
    assert operations.introspected(operations.find(document, None)) == orjson.dumps(first.json()["data"])


@pytest.mark.parametrize(
    ("document", "is_introspection"),
    [
        ("{ __typename }", True),
        ('{ a: __type(name: "Post") { name } ...F } fragment F on Query { ... { __schema { types { name } } } }', True),
        ("mutation { __typename }", True),
        ("{ __typename users { totalCount } }", False),
        ("{ ...F } fragment F on Query { __typename users { totalCount } }", False),
        ("query ($name: String!) { __type(name: $name) { name } }", False),
        ("query ($more: Boolean!) { __typename again: __typename @include(if: $more) }", False),
    ],
)
def test_operation_on_the_schema_alone_is_an_introspection(
    operations: Operations, document: str, is_introspection: bool
) -> None:
    assert operations.find(document, None).is_introspection is is_introspection


def introspections(operations: Operations, number: int) -> list[Operation]:
    """Return operations with different selections."""
    return [operations.find(f"{{ a{one}: __typename }}", None) for one in range(number)]


@pytest.mark.parametrize(
    ("document", "same"),
    [
        ("{ __schema { types { name } } } # of tool 7", True),
        ("query Another {\n  __schema {\n\t types { name, } } }", True),
        ("{ __schema { types { kind } } }", False),
        ("{ all: __schema { types { name } } }", False),
        ("mutation { __typename }", False),
        ("{ ...F } fragment F on Query { __schema { types { name } } }", False),
    ],
)
def test_introspections_with_the_same_selections_share_an_entry(
    operations: Operations, document: str, same: bool
) -> None:
    operations.keep_introspected(operations.find("{ __schema { types { name } } }", None), b"found")
    assert operations.introspected(operations.find(document, None)) == (b"found" if same else None)


def test_introspections_that_spread_other_fragments_are_not_the_same(operations: Operations) -> None:
    text = "{ ...F } fragment F on Query { __schema { types { name } } }"
    first, second = operations.find(text, None), operations.find(text.replace("name", "kind"), None)
    operations.keep_introspected(first, b"names")
    assert operations.introspected(second) is None


def test_comments_do_not_fill_the_cache_of_introspections(operations: Operations) -> None:
    useful, flooding = introspections(operations, 2)
    operations.keep_introspected(useful, b"x" * 1000)
    for number in range(50):  # each would be cached with a copy of its data
        same = operations.find(f"{{ a1: __typename }} # {number}", None)
        assert same.introspection == flooding.introspection
        if operations.introspected(same) is None:
            operations.keep_introspected(same, b"y" * (INTROSPECTED_ON_PROBATION_BYTES_MAX // 4))
    assert operations.introspected(useful) == b"x" * 1000


def test_flood_of_introspections_does_not_make_the_cache_grow(operations: Operations) -> None:
    found = introspections(operations, 6)
    for operation in found:
        operations.keep_introspected(operation, b"x" * (INTROSPECTED_ON_PROBATION_BYTES_MAX // 3 - 1_000))
        if operation is found[0]:
            assert operations.introspected(operation) is not None  # the second use protects it from eviction
    kept = [operations.introspected(operation) is not None for operation in found]
    assert kept == [True, False, False, True, True, True]
    operations.keep_introspected(found[1], b"x" * (INTROSPECTED_ON_PROBATION_BYTES_MAX + 1))
    assert operations.introspected(found[1]) is None


def test_data_of_introspections_takes_no_more_memory_than_is_counted(operations: Operations) -> None:
    operation = introspections(operations, 1)[0]
    number = 1_000
    tracemalloc.start()
    try:
        for one in range(number):
            other = dataclasses.replace(operation, introspection=f"{one:032x}")
            operations.keep_introspected(other, orjson.dumps({"a0": one}))
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # The cache counts 150 bytes more than ENTRY_BYTES for each entry.
    assert taken < number * (ENTRY_BYTES + 200)
    assert operations.introspected(dataclasses.replace(operation, introspection=f"{number - 1:032x}")) is not None
