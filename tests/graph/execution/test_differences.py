"""Async iterables, and the differences between the engines that the executor's README states."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.graph.execution.test_waves import Engine, World, compiled, engine, failing, found, ordinary, run

__all__ = ["engine"]  # the fixture


# ---------------------------------------------------------------- async iterables


async def test_async_iterable_is_closed_at_the_first_item_that_makes_the_list_null(engine: Engine) -> None:
    world = World()

    async def count() -> AsyncIterator[Any]:
        try:
            yield 1
            while True:
                yield None
                await asyncio.sleep(0)
        finally:
            world.events.append("closed")

    sdl = "type Query { list: [Int!] }"
    result = await run(engine, "{ list }", sdl, {"Query.list": lambda *_: count()}, world)
    assert found(result) == ({"list": None}, [["list", 1]])
    assert world.events == ["closed"]


async def test_awaitable_in_an_inner_list_does_not_end_an_async_iterable(engine: Engine) -> None:
    async def rows() -> AsyncIterator[Any]:
        yield [asyncio.sleep(0, 1)]
        yield [2]

    result = await run(
        engine, "{ rows }", "type Query { rows: [[Int!]!]! }", {"Query.rows": lambda *_: rows()}, World()
    )
    assert found(result) == ({"rows": [[1], [2]]}, [])


# ---------------------------------------------------------------- differences that the executor's README states


@pytest.mark.parametrize(("run_by", "order"), [(compiled, ["late", "quick"]), (ordinary, ["quick", "late"])])
async def test_errors_are_in_the_order_of_the_response_and_not_of_time(run_by: Engine, order: list[str]) -> None:
    world = World()
    resolvers = {"Query.late": world.fail_later, "Query.quick": failing}
    result = await run(run_by, "{ late quick }", "type Query { late: Int quick: Int }", resolvers, world)
    assert found(result) == ({"late": None, "quick": None}, [[one] for one in order])


@pytest.mark.parametrize(("run_by", "paths"), [(compiled, [["must"]]), (ordinary, [["some", "must"], ["must"]])])
async def test_no_error_of_cancelled_work_is_reported(run_by: Engine, paths: list[list[str]]) -> None:
    world = World()

    async def fail_at_once(*_: Any) -> None:
        raise LookupError("failed")

    sdl = "type Query { must: Int! some: Some } type Some { must: Int! }"
    resolvers = {"Query.must": fail_at_once, "Query.some": lambda *_: {}, "Some.must": fail_at_once}
    result = await run(run_by, "{ must some { must } }", sdl, resolvers, world)
    assert found(result) == (None, paths)


@pytest.mark.parametrize(("run_by", "calls"), [(compiled, 2), (ordinary, 3)])
async def test_iterator_that_raised_is_read_no_further(run_by: Engine, calls: int) -> None:
    world = World()

    class Breaking:
        def __iter__(self) -> "Breaking":
            return self

        def __next__(self) -> int:
            world.events.append("next")
            if len(world.events) == 2:
                raise LookupError("broke")
            if len(world.events) == 3:
                raise StopIteration
            return 1

    result = await run(run_by, "{ list }", "type Query { list: [Int] }", {"Query.list": lambda *_: Breaking()}, world)
    assert (found(result), len(world.events)) == (({"list": None}, [["list"]]), calls)


@pytest.mark.parametrize(("run_by", "items"), [(compiled, 3), (ordinary, 1)])
async def test_async_iterable_is_read_to_its_end_though_a_field_below_an_item_fails(run_by: Engine, items: int) -> None:
    world = World()

    async def some(*_: Any) -> AsyncIterator[int]:
        for number in range(3):
            world.events.append("item")
            yield number

    sdl = "type Query { list: [Some!] } type Some { must: Int! }"
    resolvers = {"Query.list": lambda *_: some(), "Some.must": failing}
    result = await run(run_by, "{ list { must } }", sdl, resolvers, world)
    assert (found(result), len(world.events)) == (({"list": None}, [["list", 0, "must"]]), items)
