"""A Strawberry schema without declarations: every field is opaque, and called with or without Strawberry's wrapper."""

import asyncio
import datetime
import decimal
import enum
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Generic, TypeVar, cast

import strawberry
from graphql import GraphQLSchema
from strawberry import UNSET
from strawberry.extensions import FieldExtension
from strawberry.permission import BasePermission
from strawberry.relay import GlobalID
from strawberry.types import Info

T = TypeVar("T")


@strawberry.enum
class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


@strawberry.input
class Point:
    x: int = 1
    y: int | None = UNSET
    color: Color = Color.GREEN
    inner: "Point | None" = None
    names: list[str] = strawberry.field(default_factory=list)
    maybe: strawberry.Maybe[int | None]


@strawberry.input
class Bare:
    word: str | None
    other: str | None


@strawberry.input(one_of=True)
class Choice:
    number: strawberry.Maybe[int]
    name: strawberry.Maybe[str]


class Denied(BasePermission):
    message = "not for you"

    def has_permission(self, source: Any, info: Info, **kwargs: Any) -> bool:
        return not kwargs.get("secret", True)


class Uppercase(FieldExtension):
    def resolve(self, next_: Any, source: Any, info: Info, **kwargs: Any) -> Any:
        return str(next_(source, info, **kwargs)).upper()


class Framed(FieldExtension):
    """Puts brackets around the result, and changes the argument `word`."""

    def __init__(self, left: str, right: str) -> None:
        self.left, self.right = left, right

    async def resolve_async(self, next_: Any, source: Any, info: Info, **kwargs: Any) -> Any:
        told = await next_(source, info, **{**kwargs, "word": f"{kwargs['word']}{len(kwargs)}"})
        return f"{self.left}{info.field_name} {told}{self.right}"


class Comparing(FieldExtension):
    """Changes the arguments before they are converted."""

    def map_arguments(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"word": kwargs["word"] + "er"}


@strawberry.interface
class Named:
    name: str

    @strawberry.field
    def greeting(self, info: Info, word: str = "Hello") -> str:
        note(info)
        return f"{word}, {self.name}"


@strawberry.type
class Cat(Named):
    lives: int | None

    @strawberry.field
    async def friends(self) -> list[Named | None]:
        await asyncio.sleep(0)
        return [Dog(name="Rex", barks=True), None, Cat(name="Tom", lives=None)]


@strawberry.type
class Dog(Named):
    barks: bool

    @strawberry.field
    def wrong(self) -> "Rock":
        return cast("Rock", self)


@strawberry.type
class Rock:
    weight: float

    @classmethod
    def is_type_of(cls, value: Any, _info: Info) -> bool:
        return isinstance(value, cls)


@strawberry.type
class Page(Generic[T]):
    nodes: list[T]
    total: int


Thing = Annotated[Cat | Dog | Rock, strawberry.union("Thing")]


def note(info: Any) -> None:
    info.context.paths[tuple(info.path.as_list())] += 1


def stand_alone(root: strawberry.Parent[Any], info: Info, n: int) -> str:
    note(info)
    return f"{root} {n} {info.field_name} {info.python_name} {info.path.as_list()}"


def resolve_secret(secret: bool = True) -> str | None:
    return f"secret {secret}"


def say(word: str = "quiet") -> str:
    return word


async def resolve_point(root: Any, info: Info, point: Point, word: str = "told") -> str:
    return f"{root} {info.field_name} {point.x} {point.color} {word}"


async def resolve_self(self: Any, info: Info, word: str = "own") -> str:
    return f"{self} {info.field_name} {word}"


async def resolve_parent(parent: strawberry.Parent[Any], asked: Info, word: str = "told") -> str:
    return f"{parent} {asked.field_name} {word}"


@strawberry.type
class Query:
    alone: str = strawberry.field(resolver=stand_alone)

    @strawberry.field
    def told(
        self,
        info: Info,
        number: int | None = UNSET,
        color: Color = Color.RED,
        colors: list[Color] | None = None,
        point: Point | None = None,
        points: list[Point] | None = None,
        choice: Choice | None = None,
        maybe: strawberry.Maybe[str | None] = None,
        day: datetime.date | None = None,
        amount: decimal.Decimal = decimal.Decimal("1.5"),
        key: uuid.UUID | None = None,
        node_id: GlobalID | None = None,
        nick: Annotated[str, strawberry.argument(name="nickName")] = "none",
    ) -> str:
        note(info)
        given = {name: value for name, value in locals().items() if name not in {"self", "info"}}
        return repr(given)

    @strawberry.field
    def needed(self, point: Point, color: Color, key: strawberry.ID) -> str:
        return repr((point, color, key))

    @strawberry.field
    def bare(self, given: Bare) -> str:
        return repr(given)

    @strawberry.field
    def changing(self, point: Point) -> str:
        assert point.inner is not None
        told = f"{point.x} {point.inner.y} {point.names}"
        point.x, point.inner.y = 0, 0  # arguments belong to the resolver, which may change them
        point.names.append("changed")
        return told

    @strawberry.field
    def things(self) -> list[Thing]:
        return [Cat(name="Tom", lives=9), Dog(name="Rex", barks=False), Rock(weight=1.5)]

    @strawberry.field
    async def page(self) -> Page[Named]:
        return Page(nodes=[Cat(name="Tom", lives=None), Dog(name="Rex", barks=True)], total=2)

    @strawberry.field
    def generated(self, fails: bool = False) -> list[int]:
        return cast("list[int]", _generated(fails))

    guarded: str | None = strawberry.field(resolver=resolve_secret, permission_classes=[Denied])
    loud: str = strawberry.field(resolver=say, extensions=[Uppercase()])
    framed: str = strawberry.field(resolver=resolve_point, extensions=[Framed("[", "]"), Framed("(", ")")])
    framed_too: str = strawberry.field(resolver=resolve_parent, extensions=[Framed("<", ">")])
    mapped: str = strawberry.field(resolver=say, extensions=[Comparing(), Uppercase()])
    framed_method: str = strawberry.field(resolver=resolve_self, extensions=[Framed("{", "}")])

    @strawberry.field
    def fails(self) -> int | None:
        raise ValueError("failed")

    @strawberry.field
    @staticmethod
    def static(n: int = 1) -> int:
        return n


def _generated(fails: bool) -> Iterator[int]:
    yield 1
    if fails:
        raise ValueError("broke")
    yield 2


# The engines need graphql-core's own schema.
SCHEMA: GraphQLSchema = strawberry.Schema(Query, types=[Cat, Dog])._schema  # noqa: SLF001
