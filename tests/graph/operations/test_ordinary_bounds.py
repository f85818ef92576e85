"""Limits of the ordinary engine: it runs small operations, and introspections in another thread."""

import threading
from typing import Any

import pytest
from fastapi import FastAPI
from graphql import get_introspection_query

from graph.analysis.limits import VALUES_MAX
from graph.operations.dispatch import ORDINARY_VALUES_MAX, SHORT_DOCUMENT_LENGTH_MAX
from tests.graph.http.responses.test_large_answers import FIELDS, OF_USERS
from tests.graph.support.callers import Client


async def test_only_a_long_document_with_a_small_response_is_compiled_at_its_second_execution(
    app: FastAPI, client: Client
) -> None:
    served_by = app.state.operations.engines
    served_by.compiled_from = 2  # the value of a real server
    short = "{ posts(first: 5) { nodes { id } } }"
    long = "{ viewer { " + " ".join(f"name{number}: username" for number in range(40)) + " } }"
    large = long.replace("{ viewer {", "{ users(first: 100) { nodes {") + " }"
    assert len(short) < SHORT_DOCUMENT_LENGTH_MAX < len(long)
    compiled = []
    for query in (short, large, long, long):
        before = served_by.ordinary_runs["first execution"]
        await client.data(query)
        compiled.append(served_by.ordinary_runs["first execution"] == before)
    assert compiled == [True, True, False, True]


async def test_large_operation_that_cannot_be_compiled_is_refused(client: Client) -> None:
    query = "{ __schema { queryType { name } } " + (OF_USERS % FIELDS)[1:]
    found = await client.run(query)
    (error,) = found["errors"]
    assert error["extensions"]["code"] == "OPERATION_TOO_LARGE"
    assert f"at most {ORDINARY_VALUES_MAX} allowed if it is not compiled (introspection)" in error["message"]
    assert "in a separate operation" in error["message"]
    small = await client.run("{ __schema { queryType { name } } posts(first: 5) { nodes { id } } }")
    assert small["data"]["posts"] == {"nodes": []}


async def test_large_operation_has_a_plan_for_any_conditions(app: FastAPI, client: Client) -> None:
    names = range(4)
    declared = ", ".join(f"$c{n}: Boolean!" for n in names)
    fields = " ".join(f"b{n}: title @include(if: $c{n})" for n in names)
    query = f"query ({declared}) " + OF_USERS % (FIELDS + " " + fields)
    served_by = app.state.operations.engines
    held = app.state.operations.size_bytes
    sizes = []
    for number in range(16):
        chosen: dict[str, Any] = {f"c{n}": bool(number >> n & 1) for n in names}
        assert (await client.data(query, **chosen)) == {"users": {"nodes": []}}
        sizes.append(app.state.operations.size_bytes - held)
    assert served_by.ordinary_runs["many conditions"] == 0
    # Old plans are evicted for new ones, and not counted any more.
    assert max(sizes[4:]) < 1.3 * sizes[3]


async def test_introspections_run_in_another_thread_and_are_bounded(
    app: FastAPI, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    served_by, threads = app.state.operations.engines, []
    introspected = served_by._introspected  # noqa: SLF001 - to observe the thread in which it runs

    def watched(*arguments: Any) -> Any:
        threads.append(threading.current_thread())
        return introspected(*arguments)

    monkeypatch.setattr(served_by, "_introspected", watched)
    query = get_introspection_query(input_value_deprecation=True, specified_by_url=True)
    assert (await client.run(query))["data"]["__schema"]["types"]
    assert [thread is threading.current_thread() for thread in threads] == [False]
    body = query.partition("{")[2].rpartition("fragment FullType")[0].rpartition("}")[0]
    twenty = " ".join(f"a{n}: {body.strip()}" for n in range(20))
    fragments = query[query.index("fragment FullType") :]
    (error,) = (await client.run(f"{{ {twenty} }} {fragments}"))["errors"][:1]
    assert error["extensions"]["code"] in {"OPERATION_TOO_LARGE", "GRAPHQL_VALIDATION_FAILED"}
    assert str(VALUES_MAX) in error["message"] or "selections" in error["message"]
