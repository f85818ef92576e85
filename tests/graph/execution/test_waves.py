"""When work begins and when it is dropped: a slow field delays only what needs it, and a null ends what is below it.

The tests wait for events, never for a time: an engine that waits for work that never ends runs into the time limit.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
from graphql import ExecutionResult, GraphQLSchema, OperationDefinitionNode, execute, parse, validate

from graph.execution import OrdinaryExecutor, Prepared
from tests.graph.execution.support.comparing import counted_schema
from tests.graph.execution.support.declared import AUTHORS, BOOKS, SCHEMA, Loader, Shelf

Engine: TypeAlias = Callable[[GraphQLSchema, str, Any, Any], Awaitable[ExecutionResult]]
PATIENCE_S = 30
"""How long an operation may take on a slow machine. Operations that wait for ever end here."""


async def compiled(schema: GraphQLSchema, text: str, root: Any, context: Any) -> ExecutionResult:
    document = parse(text)
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    assert validate(schema, document) == []
    return await Prepared(schema, document, operation).run({}, context, root)


async def ordinary(schema: GraphQLSchema, text: str, root: Any, context: Any) -> ExecutionResult:
    outcome = execute(schema, parse(text), root, context, executor_class=OrdinaryExecutor)
    return outcome if isinstance(outcome, ExecutionResult) else await outcome


@pytest.fixture(params=[compiled, ordinary])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.param
    return found


@dataclass(slots=True)
class World:
    """The context and the root value of a run: what its resolvers do, and what happened in which order."""

    events: list[str] = field(default_factory=list)
    paths: dict[tuple[str | int, ...], int] = field(default_factory=dict)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def endless(self, *_: Any) -> str:
        """Wait until this is cancelled."""
        self.events.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.events.append("ended")
            self.ended.set()
        return "never"

    async def after_the_end(self, *_: Any) -> str:
        """Wait until an endless field was cancelled."""
        await self.ended.wait()
        return "after"

    async def fail_later(self, *_: Any) -> str:
        """Fail after the sibling fields have begun."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise LookupError("failed")


def failing(*_: Any) -> str:
    raise LookupError("failed")


async def run(engine: Engine, text: str, sdl: str, resolvers: dict[str, Any], world: World) -> ExecutionResult:
    schema = counted_schema(sdl, resolvers)
    world.paths = Calls()
    result = await asyncio.wait_for(engine(schema, text, None, world), PATIENCE_S)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return result


class Calls(dict[tuple[str | int, ...], int]):
    def __missing__(self, _: tuple[str | int, ...]) -> int:
        return 0


def found(result: ExecutionResult) -> tuple[Any, list[list[str | int] | None]]:
    """Return the data, and the paths of the errors."""
    return result.data, [error.path for error in result.errors or ()]


# ---------------------------------------------------------------- a null at the root


ROOT = "type Query { slow: String must: Int! list: [Int!]! other: Query! }"


def wrong(*_: Any) -> str:
    return "no number"


@pytest.mark.parametrize("selected", ["must slow", "slow must", "slow other { must }", "slow other { other { must } }"])
@pytest.mark.parametrize("must", ["failing", "null", "wrong", "later"])
async def test_null_of_the_root_ends_the_operation_at_once(engine: Engine, selected: str, must: str) -> None:
    world = World()
    ways = {"failing": failing, "null": lambda *_: None, "wrong": wrong, "later": world.fail_later}
    resolvers: dict[str, Any] = {"Query.slow": world.endless, "Query.must": ways[must], "Query.other": lambda *_: {}}
    result = await run(engine, f"{{ {selected} }}", ROOT, resolvers, world)
    assert result.data is None
    assert len(result.errors or ()) == 1
    assert world.events in ([], ["begun", "ended"])


async def test_null_item_of_a_list_ends_the_operation_at_once(engine: Engine) -> None:
    world = World()
    resolvers = {"Query.slow": world.endless, "Query.list": lambda *_: [1, None]}
    result = await run(engine, "{ slow list }", ROOT, resolvers, world)
    assert found(result) == (None, [["list", 1]])


async def test_items_that_are_left_are_cancelled_with_their_list(engine: Engine) -> None:
    world = World()
    items = {"Query.list": lambda *_: [world.endless(), world.fail_later(), world.endless()]}
    assert found(await run(engine, "{ list }", ROOT, items, world)) == (None, [["list", 1]])
    assert sorted(world.events) == ["begun", "begun", "ended", "ended"]


async def test_cancelled_operation_cancels_all_its_work(engine: Engine) -> None:
    world = World()
    schema = counted_schema("type Query { a: Int b: Query }", {"Query.a": world.endless, "Query.b": lambda *_: {}})
    world.paths = Calls()
    task = asyncio.ensure_future(engine(schema, "{ a b { a } }", None, world))
    while world.events != ["begun", "begun"]:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(world.events) == ["begun", "begun", "ended", "ended"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


# ---------------------------------------------------------------- a null of an object


OBJECTS = """
    type Query { some: Some somes: [Some!] each: [Some] after: String }
    type Some { slow: String must: Int! side: Some late: String }
"""


@pytest.mark.parametrize(
    "selected", ["must slow", "slow must", "side { slow } must", "slow side { side { slow } } must"]
)
@pytest.mark.parametrize("is_late", [False, True])
async def test_work_below_a_null_object_is_cancelled_at_once(engine: Engine, selected: str, is_late: bool) -> None:
    world = World()
    resolvers: dict[str, Any] = {
        "Query.some": lambda *_: {},
        "Query.after": world.after_the_end if is_late else lambda *_: "after",
        "Some.slow": world.endless,
        "Some.side": lambda *_: {},
        "Some.must": world.fail_later if is_late else failing,
    }
    result = await run(engine, f"{{ some {{ {selected} }} after }}", OBJECTS, resolvers, world)
    assert found(result) == ({"some": None, "after": "after"}, [["some", "must"]])
    assert world.events.count("begun") == world.events.count("ended")


async def test_work_below_one_null_item_is_cancelled_and_its_siblings_go_on(engine: Engine) -> None:
    world = World()
    resolvers = {
        "Query.each": lambda *_: [0, 1, 2],
        "Some.slow": lambda number, _: world.endless() if number == 1 else world.after_the_end(),
        "Some.must": lambda number, _: world.fail_later() if number == 1 else number,
    }
    result = await run(engine, "{ each { slow must } }", OBJECTS, resolvers, world)
    expected = [{"slow": "after", "must": 0}, None, {"slow": "after", "must": 2}]
    assert found(result) == ({"each": expected}, [["each", 1, "must"]])
    assert world.events == ["begun", "ended"]


async def test_work_of_all_items_is_cancelled_with_their_list(engine: Engine) -> None:
    world = World()
    resolvers = {
        "Query.somes": lambda *_: [0, 1],
        "Query.after": world.after_the_end,
        "Some.slow": world.endless,
        "Some.must": lambda number, _: world.fail_later() if number == 1 else number,
    }
    result = await run(engine, "{ somes { slow must } after }", OBJECTS, resolvers, world)
    assert found(result) == ({"somes": None, "after": "after"}, [["somes", 1, "must"]])
    assert world.events == ["begun", "begun", "ended", "ended"]


async def test_no_resolver_is_called_below_an_object_that_became_null() -> None:
    world = World()

    async def stubborn(*_: Any) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return {}
        raise AssertionError

    resolvers = {"Query.some": lambda *_: {}, "Some.side": stubborn, "Some.must": world.fail_later}
    result = await run(compiled, "{ some { must side { late } } }", OBJECTS, resolvers, world)
    assert found(result) == ({"some": None}, [["some", "must"]])
    assert ("some", "side", "late") not in world.paths


async def test_type_that_is_still_resolved_below_a_null_object_is_cancelled(engine: Engine) -> None:
    world = World()
    sdl = "type Query { some: Some after: String } type Some { thing: Thing must: Int! } union Thing = Some"
    resolvers = {
        "Query.some": lambda *_: {},
        "Query.after": world.after_the_end,
        "Some.thing": lambda *_: {},
        "Some.must": world.fail_later,
    }
    schema = counted_schema(sdl, resolvers)
    union: Any = schema.type_map["Thing"]
    union.resolve_type = world.endless
    world.paths = Calls()
    running = engine(schema, "{ some { thing { __typename } must } after }", None, world)
    result = await asyncio.wait_for(running, PATIENCE_S)
    assert found(result) == ({"some": None, "after": "after"}, [["some", "must"]])


# ---------------------------------------------------------------- edges


@dataclass(slots=True)
class Held(Loader):
    """A loader whose calls wait for an event."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    ended: list[str] = field(default_factory=list)

    async def load_level(self, keys: list[Any]) -> Any:
        self.requested.append(list(keys))
        try:
            await self.opened.wait()
        finally:
            self.ended.append("ended")
        return [self.values.get(key) for key in keys]


async def on_shelf(text: str, shelf: Shelf) -> ExecutionResult:
    return await asyncio.wait_for(compiled(SCHEMA, text, None, shelf), PATIENCE_S)


async def test_loader_is_not_called_for_a_null_object() -> None:
    shelf = Shelf()
    result = await on_shelf("{ book(number: 1) { keeper { books(longerThan: -1) { id } mentor { id } } } }", shelf)
    assert found(result) == ({"book": {"keeper": None}}, [["book", "keeper", "books"]])
    assert shelf.authors.requested == [[1]]


async def test_call_of_a_loader_ends_with_an_operation_whose_data_is_null() -> None:
    authors = Held(AUTHORS)
    result = await on_shelf("{ authors { mentor { id } later(fails: true) } }", Shelf(authors=authors))
    assert result.data is None
    assert (authors.requested, authors.ended) == ([[1, 9]], ["ended"])
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_edges_of_a_wave_are_one_call_though_their_objects_come_at_different_times() -> None:
    shelf = Shelf(numbered=Held(BOOKS))
    numbered: Any = shelf.numbered

    async def open_later() -> None:
        while not numbered.requested:
            await asyncio.sleep(0)
        numbered.opened.set()

    text = "{ authors { later books { editor { id } } } book(number: 1) { keeper { id } } }"
    opening = asyncio.ensure_future(open_later())
    result = await on_shelf(text, shelf)
    await opening
    assert result.errors is None
    assert shelf.authors.requested == [[1, 3]]


# ---------------------------------------------------------------- latency


async def test_slow_field_does_not_delay_the_fields_below_its_siblings(engine: Engine) -> None:
    world = World()
    deepest = 4

    async def slow(depth: int, _: Any) -> str:
        world.events.append(f"begun {depth}")
        if depth == deepest:
            world.reached.set()
        await world.reached.wait()
        world.events.append(f"ended {depth}")
        return "slow"

    async def quick(depth: int | None, _: Any) -> int:
        await asyncio.sleep(0)
        return (depth or 0) + 1

    sdl = "type Query { q: Q } type Q { slow: String q: Q }"
    resolvers = {"Query.q": quick, "Q.q": quick, "Q.slow": slow}
    result = await run(engine, "{ q { slow q { slow q { slow q { slow } } } } }", sdl, resolvers, world)
    assert result.errors is None
    assert [event.split()[0] for event in world.events] == ["begun"] * deepest + ["ended"] * deepest


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
