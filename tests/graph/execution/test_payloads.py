"""What one root resolver returns, completed straight from the returned object: nulls, classes, awaitables, errors."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import strawberry

from graph.execution.output.generation import PAYLOAD_OBJECTS_MAX
from graph.execution.output.results import resolved
from graph.execution.strawberry_adapter import core_schema
from tests.graph.execution.support.comparing import both


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Item(Named):
    count: int | None = None


@strawberry.type
class Guarded:
    name: str = "guarded"

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, Guarded) and value.name == "guarded"


@strawberry.type
class Payload:
    item: Item | None = None
    sure: Item = field(default_factory=lambda: Item(name="sure"))
    items: list[Item] = field(default_factory=list)
    maybe: list[Item | None] | None = None
    guarded: Guarded | None = None
    text: str | None = None


@strawberry.type
class Query:
    nothing: int = 0


VALUES: dict[str, Callable[[], Any]] = {}


@strawberry.type
class Mutation:
    @strawberry.mutation
    def now(self, which: str) -> Payload | None:
        made: Payload | None = VALUES[which]()
        return made

    @strawberry.mutation
    async def later(self, which: str) -> Payload:
        await asyncio.sleep(0)
        made: Payload = VALUES[which]()
        return made


SCHEMA = core_schema(strawberry.Schema(query=Query, mutation=Mutation))
SELECTION = """
{ __typename item { name count } sure { name } items { name count __typename } maybe { name } guarded { name } text }
"""


async def soon(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


def failing() -> Payload:
    raise ValueError("bad")


@dataclass
class Other:
    """Not a class of the schema, but with the same attributes."""

    name: str = "other"
    count: int = 7


class Special(Item):
    """A subclass of a class of the schema."""


def loose(**attributes: Any) -> Payload:
    return Payload(**attributes)


VALUES |= {
    "plain": lambda: Payload(item=Item(name="a", count=1), items=[Item(name="b"), Item(name="c", count=2)], text="t"),
    "empty": Payload,
    "null": lambda: None,
    "null inside": lambda: loose(sure=None),
    "null item": lambda: loose(items=[Item(name="a"), None]),
    "nulls that may be": lambda: loose(maybe=[None, Item(name="a"), None]),
    "no list": lambda: loose(items=5),
    "another iterable": lambda: loose(items=(Item(name="a"), Item(name="b"))),
    "another class": lambda: loose(item=Other()),
    "another class in a list": lambda: loose(items=[Item(name="a"), Other()]),
    "a subclass": lambda: loose(item=Special(name="s"), items=[Special(name="s")]),
    "a guarded type": lambda: loose(guarded=Guarded()),
    "a guarded type that refuses": lambda: loose(guarded=Guarded(name="x")),
    "a wrong leaf": lambda: loose(text={"a": 1}, item=Other(count=1 << 40)),
    "a number that is too large": lambda: loose(item=Item(name="a", count=1 << 40)),
    "an awaitable leaf": lambda: loose(text=soon("later")),
    "an awaitable object": lambda: loose(item=soon(Item(name="later"))),
    "an awaitable item": lambda: loose(items=[Item(name="a"), soon(Item(name="later"))]),
    "an exception inside": lambda: loose(item=ValueError("bad")),
    "an error": failing,
    "another payload": Other,
}


@pytest.mark.parametrize("which", VALUES)
@pytest.mark.parametrize("resolver", ["now", "later"])
async def test_payload_is_completed_as_graphql_core_completes_it(which: str, resolver: str) -> None:
    await both(SCHEMA, f'mutation {{ it: {resolver}(which: "{which}") {SELECTION} }}')


async def test_several_payloads_run_one_after_another() -> None:
    await both(SCHEMA, f'mutation {{ a: now(which: "plain") {SELECTION} b: later(which: "empty") {SELECTION} }}')


@pytest.mark.parametrize(
    ("which", "selection", "general_runs"),
    [
        ("plain", "{ __typename item { name count } items { name __typename } text }", 0),
        ("empty", "{ item { name } items { name } sure { name } }", 0),
        ("a subclass", "{ item { name } items { name } }", 1),
        ("another class", "{ item { name } }", 1),
        ("another class in a list", "{ items { name } }", 1),
        ("another payload", "{ __typename }", 1),
        ("no list", "{ items { name } }", 1),
        ("an error", "{ text }", 1),
        ("null item", "{ items { name } }", 1),
        ("null inside", "{ sure { name } }", 1),
        ("nulls that may be", "{ maybe { name } }", 1),
        ("a number that is too large", "{ item { count } }", 1),
        ("an awaitable leaf", "{ text }", 1),
        ("a guarded type", "{ guarded { name } }", 1),
        ("plain", "{ " + " ".join(f"{one}: item {{ name }}" for one in "abc") + " }", 0),
        ("plain", "{ " + " ".join(f"i{one}: item {{ name }}" for one in range(PAYLOAD_OBJECTS_MAX)) + " }", 1),
    ],
)
async def test_valid_payload_needs_no_general_run(
    which: str, selection: str, general_runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = []

    def noted(run: Any, level: Any, followed: Any = None, **named: Any) -> Any:
        levels.append(level)
        return resolved(run, level, followed, **named)

    monkeypatch.setattr("graph.execution.engine.resolved", noted)
    for resolver in ("now", "later"):
        levels.clear()
        await both(SCHEMA, f'mutation {{ {resolver}(which: "{which}") {selection} }}')
        assert (resolver, len(levels)) == (resolver, general_runs)
