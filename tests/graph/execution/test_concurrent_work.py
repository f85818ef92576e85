"""Concurrent work of an operation ends with the operation, however the operation ends."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from graphql import (
    ExecutionResult,
    GraphQLObjectType,
    OperationDefinitionNode,
    build_schema,
    execute,
    parse,
)

from graph.execution import OrdinaryExecutor, Prepared
from graph.execution.run.values import INFO_HELPERS, gathered


class Worker:
    """Records how its work proceeds."""

    def __init__(self) -> None:
        self.events: list[str] = []

    async def work(self) -> str:
        self.events.append("begun")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            self.events.append("ended")
        return "done"


async def failing() -> str:
    await asyncio.sleep(0)
    raise LookupError("failed")


async def test_gathered_results_keep_their_order() -> None:
    assert await gathered([asyncio.sleep(0.01, "a"), asyncio.sleep(0, "b")]) == ["a", "b"]


async def test_an_error_cancels_the_other_gathered_awaitables() -> None:
    worker = Worker()
    with pytest.raises(LookupError):
        await gathered([worker.work(), failing()])
    assert worker.events == ["begun", "ended"]


async def test_a_cancellation_cancels_all_gathered_awaitables() -> None:
    workers = Worker(), Worker()
    running = asyncio.create_task(gathered([one.work() for one in workers]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [one.events for one in workers] == [["begun", "ended"]] * 2


async def test_a_coroutine_that_is_not_awaited_any_more_is_not_started() -> None:
    worker = Worker()
    INFO_HELPERS.track([worker.work(), "no awaitable"])
    await asyncio.sleep(0.01)
    assert (worker.events, asyncio.all_tasks()) == ([], {asyncio.current_task()})


async def test_a_task_that_is_not_awaited_any_more_continues_for_others_and_its_error_is_not_logged() -> None:
    logged: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    task, shared = asyncio.create_task(failing()), asyncio.create_task(asyncio.sleep(0, "shared"))
    INFO_HELPERS.track([task, shared])
    await asyncio.sleep(0.01)
    del task
    assert (await shared, logged) == ("shared", [])


async def test_type_resolver_that_is_not_needed_any_more_is_cancelled() -> None:
    schema = build_schema(
        "interface A { a: Int } type B implements A { a: Int } type C implements A { a: Int } type Query { a: A, b: B }"
    )
    worker = Worker()
    verdicts: dict[str, Callable[..., Any]] = {"B": lambda *_: worker.work(), "C": lambda *_: True}
    for name, verdict in verdicts.items():
        type_ = schema.get_type(name)
        assert isinstance(type_, GraphQLObjectType)
        type_.is_type_of = verdict
    document = parse("{ a { __typename } }")
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    result = await Prepared(schema, document, operation).run({}, None, {"a": {"a": 1}})
    assert result == ExecutionResult({"a": {"__typename": "C"}}, None)
    await asyncio.sleep(0.01)
    assert (worker.events, asyncio.all_tasks()) == ([], {asyncio.current_task()})


ORDINARY = build_schema("type Query { slow: String, sync: String!, late: String! }")


@pytest.mark.parametrize("failing_field", ["sync", "late"])
async def test_an_error_at_the_root_ends_the_fields_beside_it_on_the_ordinary_engine(failing_field: str) -> None:
    worker = Worker()

    async def fail_late(*_: object) -> str:
        await asyncio.sleep(0.01)  # the worker has begun by then
        raise LookupError("failed")

    def fail_at_once(*_: object) -> str:
        raise LookupError("failed")

    fields = ORDINARY.type_map["Query"]
    assert isinstance(fields, GraphQLObjectType)
    for name, resolve in (("slow", lambda *_: worker.work()), ("sync", fail_at_once), ("late", fail_late)):
        fields.fields[name].resolve = resolve
    outcome = execute(ORDINARY, parse(f"{{ slow {failing_field} }}"), executor_class=OrdinaryExecutor)
    result = outcome if isinstance(outcome, ExecutionResult) else await outcome
    assert (result.data, len(result.errors or ())) == (None, 1)
    assert worker.events in ([], ["begun", "ended"])
    assert asyncio.all_tasks() == {asyncio.current_task()}
