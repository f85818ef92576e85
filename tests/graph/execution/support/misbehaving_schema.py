"""A schema in which every field misbehaves in some way, in the same way for both engines.

Random numbers decide what a resolver returns; their seed is made of the seed of the run, the place in the response and
the arguments. So the value depends neither on the engine nor on the order of its calls.
"""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
    get_nullable_type,
    is_list_type,
)

from tests.graph.execution.support.comparing import counted_schema

LEAVES = ("Int", "Float", "String", "ID", "Boolean", "Color", "Odd")
WRAPPINGS = ("{}", "{}!", "[{}]", "[{}!]", "[{}]!", "[{}!]!", "[[{}]]", "[[{}!]]", "[[{}]!]", "[[{}!]!]!", "[[[{}!]]]!")
OBJECTS = ("Person", "Robot", "Being", "Named", "Anything")
ARGUMENTS = """(
    count: Int = 3, needed: Boolean! = true, color: Color = RED, colors: [Color!] = [RED, BLUE],
    filter: Filter, filters: [Filter!] = [{at: 1}], choice: Choice, odd: Odd, id: ID
)"""
TROUBLE = (0.0, 0.01, 0.05, 0.2)
"""How often something goes wrong at a place, by the seed of the run: deep answers need that it is seldom."""


def _fields(prefix: str, named: str, arguments: str = "") -> list[str]:
    return [f"{prefix}{number}{arguments}: {one.format(named)}" for number, one in enumerate(WRAPPINGS)]


def _sdl() -> str:
    leaves = [line for name in LEAVES for line in _fields(name.lower(), name)]
    objects = [line for name in OBJECTS for line in _fields(name.lower(), name)]
    asked = ["asked" + line for line in _fields("", "Person", ARGUMENTS)[:2]] + [f"told{ARGUMENTS}: String"]
    common, being = "name: String friend: Named friends: [Named!]", "id: ID! twin: Being!"
    everything = "\n".join([*leaves, *objects, *asked])
    return f"""
        interface Named {{ {common} }}
        interface Being implements Named {{ {common} {being} }}
        type Person implements Being & Named {{ {common} {being} {everything} }}
        type Robot implements Being & Named {{ {common} {being} model: String! maker: Person! {" ".join(leaves)} }}
        type Rock implements Named {{ {common} weight: Float! under: [Anything!]! }}
        union Anything = Person | Rock | Robot
        scalar Odd
        enum Color {{ RED GREEN BLUE }}
        input Filter {{ at: Int! = 7 names: [String] = ["x", null] color: Color inner: Filter odd: Odd }}
        input Choice @oneOf {{ number: Int name: String filter: Filter }}
        type Query {{ {everything} }}
        type Mutation {{
            change{ARGUMENTS}: Person changeSurely{ARGUMENTS}: Person! count: Int countSurely: Int!
            beings: [Being!]! things: [Anything]
        }}
    """


@dataclass(slots=True)
class Thing:
    """An object; its number decides how its type is reported."""

    kind: str
    number: int

    def random(self, of: str) -> Random:
        return Random(f"{self.number} {of}")  # noqa: S311 - no secret


class Trouble(Exception):  # noqa: N818 - named as the schema names it
    """The error that resolvers raise."""


@dataclass(frozen=True, slots=True)
class Later:
    """An awaitable value. Not a coroutine, so that an engine may drop it without a warning."""

    value: Any
    rounds: int

    def __await__(self) -> Generator[Any, None, Any]:
        for _ in range(self.rounds):
            yield from asyncio.sleep(0).__await__()
        if isinstance(self.value, Trouble):
            raise self.value
        return self.value


class Values:
    """Makes the value of one field."""

    def __init__(self, random: Random, trouble: float) -> None:
        self._random = random
        self._trouble = trouble

    def of(self, type_: Any) -> Any:
        """Return a value for a position of this type: a valid one, or one that is not."""
        value = self._plain(type_)
        if self._random.random() < 0.25:
            return Later(value, self._random.randrange(4))
        return value

    def _plain(self, type_: Any) -> Any:
        if self._random.random() < self._trouble:
            return self._random.choice(
                [None, None, Undefined, Trouble("given"), Trouble("given, too"), 17, "text", b"bytes", {"a": 1}, object]
            )
        type_ = get_nullable_type(type_)
        if is_list_type(type_):
            return self._list([self.of(type_.of_type) for _ in range(self._random.randrange(4))])
        if isinstance(type_, GraphQLScalarType | GraphQLEnumType):
            return self._leaf(type_.name)
        return self._object(type_)

    def _object(self, type_: Any) -> Thing:
        names = {"Being": ["Person", "Robot"], "Named": ["Person", "Robot", "Rock"]}
        kind = self._random.choice(names.get(type_.name, ["Person", "Rock", "Robot"]))
        if isinstance(type_, GraphQLObjectType) and self._random.random() >= self._trouble:
            kind = type_.name
        return Thing(kind, self._random.randrange(10**6))

    def _leaf(self, name: str) -> Any:
        values: dict[str, list[Any]] = {
            "Int": [0, -5, 7.0, "12", True, 2**31 - 1],
            "Float": [0.5, 3, "1.5", False, -0.0],
            "String": ["a", "", 5, True, 1.5],
            "ID": ["x", 7, "7"],
            "Boolean": [True, False, 1, 0, 2.5],
            "Color": ["RED", "GREEN", "BLUE"],
            "Odd": ["fine", [1, 2], {"deep": [None]}],
        }
        wrong: dict[str, list[Any]] = {
            "Int": [2**31, 1.5, "x", [1]],
            "Float": [float("nan"), float("inf"), "", {}],
            "String": [[], {"a": 1}],
            "ID": [1.5, []],
            "Boolean": ["true", []],
            "Color": ["PINK", [], 3],
            "Odd": ["bad", "none", "undefined"],
        }
        return self._random.choice(wrong[name] if self._random.random() < self._trouble else values[name])

    def _list(self, items: list[Any]) -> Any:
        breaks = self._random.randrange(len(items) + 1) if self._random.random() < self._trouble else None
        form = self._random.randrange(5 if breaks is None else 2)
        if form == 0:
            return _async_items(items, breaks)
        if form == 1:
            return _items(items, breaks)
        return tuple(items) if form == 2 else items


def _items(items: list[Any], breaks: int | None) -> Iterator[Any]:
    for index, item in enumerate(items):
        if index == breaks:
            raise Trouble(f"broke before {index}")
        yield item
    if breaks == len(items):
        raise Trouble("broke at the end")


async def _async_items(items: list[Any], breaks: int | None) -> AsyncIterator[Any]:
    for item in _items(items, breaks):
        await asyncio.sleep(0)
        yield item


def resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    """Resolve any field of the schema."""
    seed = info.context.seed
    random = Random(f"{seed} {info.path.as_list()} {getattr(source, 'number', None)} {arguments!r}")  # noqa: S311
    trouble = TROUBLE[seed % len(TROUBLE)]
    if random.random() < trouble:
        raise Trouble(f"raised at {info.path.as_list()}")
    return Values(random, trouble).of(info.return_type)


def _typed(value: Any, info: GraphQLResolveInfo[Any], abstract: Any) -> Any:
    """Resolve the type of an abstract position, which may fail in every possible way."""
    if not isinstance(value, Thing):
        return None
    random = value.random(abstract.name)
    name: Any = value.kind
    if random.random() < TROUBLE[info.context.seed % len(TROUBLE)]:
        name = random.choice([None, 5, "Nobody", "Color", "Rock", "Being", Trouble("no type")])
    if random.random() < 0.3:
        return Later(name, random.randrange(3))
    if isinstance(name, Trouble):
        raise name
    return name


def _is_type_of(name: str) -> Any:
    def is_type_of(value: Any, info: GraphQLResolveInfo[Any]) -> Any:
        random = value.random(name) if isinstance(value, Thing) else Random(name)  # noqa: S311
        verdict: Any = isinstance(value, Thing) and value.kind == name
        if random.random() < TROUBLE[info.context.seed % len(TROUBLE)]:
            verdict = random.choice([False, Trouble("what is it?")])
        if random.random() < 0.3:
            return Later(verdict, random.randrange(3))
        if isinstance(verdict, Trouble):
            raise verdict
        return verdict

    return is_type_of


def _odd(value: Any) -> Any:
    if value == "bad":
        raise Trouble("bad")
    return {"none": None, "undefined": Undefined}.get(value, value) if isinstance(value, str) else value


def misbehaving_schema(*, default_typing: bool) -> GraphQLSchema:
    """Return the schema; `resolve_type` determines its abstract types, or each object type's `is_type_of`."""
    schema = counted_schema(_sdl(), otherwise=resolve)
    for type_ in schema.type_map.values():
        if type_.name.startswith("__"):
            continue
        if isinstance(type_, GraphQLObjectType):
            if type_.name in {"Person", "Robot", "Rock"} and (default_typing or type_.name == "Robot"):
                type_.is_type_of = _is_type_of(type_.name)
        elif isinstance(type_, GraphQLInterfaceType | GraphQLUnionType) and not default_typing:
            type_.resolve_type = _typed
        elif type_.name == "Odd":
            assert isinstance(type_, GraphQLScalarType)
            type_.coerce_output_value = _odd
    return schema
