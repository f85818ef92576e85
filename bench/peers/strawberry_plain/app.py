"""Strawberry as in its documentation: ORM rows, its DataLoader, FastAPI's GraphQLRouter.

https://strawberry.rocks/docs/guides/dataloaders and /docs/integrations/fastapi: types with resolvers, one DataLoader
per edge, made for each request by the context getter, SQLAlchemy's async sessions, and a pool of eight connections.

Why it is fair: nothing is slow on purpose, and three things are better than in most applications. Strawberry's caches
of parsed and validated documents are on. The models have only the columns that the cases need, and one statement reads
the first n posts of all authors. It has no limits, no log and no metrics.
"""

import datetime
import os
from collections import defaultdict
from typing import Annotated, Any, TypeAlias

import strawberry
import uvicorn
from fastapi import FastAPI
from sqlalchemy import BigInteger, ForeignKey, Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, undefer
from sqlalchemy.types import TIMESTAMP
from strawberry.dataloader import DataLoader
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.fastapi import GraphQLRouter

POOL_SIZE = 8

engine = create_async_engine(
    os.environ["BENCH_DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"),
    pool_size=POOL_SIZE,
    max_overflow=0,
    pool_timeout=60,
    connect_args={"server_settings": {"jit": "off"}},
)
session_maker = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)


class Base(DeclarativeBase):
    """The base class of the tables."""

    type_annotation_map = {int: BigInteger, datetime.datetime: TIMESTAMP(timezone=True)}  # noqa: RUF012 - as documented


class UserRow(Base):
    """A row of users."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str]
    created_at: Mapped[datetime.datetime]


class PostRow(Base):
    """A row of posts."""

    __tablename__ = "posts"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    content: Mapped[str] = mapped_column(deferred=True)
    published: Mapped[bool]
    views: Mapped[int]
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime.datetime]


_NEWEST = (PostRow.created_at.desc(), PostRow.id.desc())


def newest(statement: Select[Any], row: type[UserRow] | type[PostRow], first: int, after: str | None) -> Select[Any]:
    """Return the statement of a page, newest first, after a cursor or from the start."""
    if after is not None:
        when, _, id_ = after.partition(",")
        position = (datetime.datetime.fromisoformat(when), int(id_))
        statement = statement.where(tuple_(row.created_at, row.id) < position)
    return statement.order_by(row.created_at.desc(), row.id.desc()).limit(first)


async def load_users(keys: list[int]) -> list[UserRow]:
    """Return the users with these ids."""
    async with session_maker() as session:
        rows = await session.scalars(select(UserRow).where(UserRow.id.in_(keys)))
        by_id = {row.id: row for row in rows}
    return [by_id[key] for key in keys]


async def load_posts(keys: list[tuple[int, int]]) -> list[list[PostRow]]:
    """Return, for each author and number, that many of the author's newest posts."""
    place = func.row_number().over(partition_by=PostRow.author_id, order_by=_NEWEST).label("place")
    authors = {author for author, _ in keys}
    ranked = select(PostRow, place).where(PostRow.author_id.in_(authors), PostRow.published).subquery()
    post = aliased(PostRow, ranked)
    statement = select(post).where(ranked.c.place <= max(first for _, first in keys)).order_by(ranked.c.place)
    by_author: dict[int, list[PostRow]] = defaultdict(list)
    async with session_maker() as session:
        for row in await session.scalars(statement):
            by_author[row.author_id].append(row)
    return [by_author[author][:first] for author, first in keys]


async def get_context() -> dict[str, Any]:
    """Return new loaders for each request."""
    return {"users": DataLoader(load_fn=load_users), "posts": DataLoader(load_fn=load_posts)}


Info: TypeAlias = strawberry.Info[dict[str, Any], None]


@strawberry.type
class User:
    """A user."""

    id: strawberry.ID
    username: str
    created_at: datetime.datetime

    @strawberry.field
    async def posts(self, info: Info, first: int) -> "list[Post]":
        """The newest posts."""
        return [to_post(row) for row in await info.context["posts"].load((int(self.id), first))]


@strawberry.type
class Post:
    """A post."""

    id: strawberry.ID
    title: str
    content: str | None
    views: int
    created_at: datetime.datetime
    author_id: strawberry.Private[int]

    @strawberry.field
    async def author(self, info: Info) -> User:
        """The author."""
        return to_user(await info.context["users"].load(self.author_id))


@strawberry.type
class PostPage:
    """A page with its total."""

    total_count: int
    nodes: list[Post]


def to_user(row: UserRow) -> User:
    """Make a GraphQL object from a row."""
    return User(id=strawberry.ID(str(row.id)), username=row.username, created_at=row.created_at)


def to_post(row: PostRow, content: str | None = None) -> Post:
    """Make a GraphQL object from a row. Lists do not load the content."""
    return Post(
        id=strawberry.ID(str(row.id)),
        title=row.title,
        content=content,
        views=row.views,
        created_at=row.created_at,
        author_id=row.author_id,
    )


@strawberry.type
class Query:
    """The reads."""

    @strawberry.field
    async def user(self, id: Annotated[strawberry.ID, strawberry.argument(name="id")]) -> User | None:  # noqa: A002
        """One user."""
        async with session_maker() as session:
            row = await session.get(UserRow, int(id))
        return to_user(row) if row else None

    @strawberry.field
    async def users(self, first: int, after: str | None = None) -> list[User]:
        """The newest users."""
        async with session_maker() as session:
            rows = await session.scalars(newest(select(UserRow), UserRow, first, after))
            return [to_user(row) for row in rows]

    @strawberry.field
    async def post(self, id: Annotated[strawberry.ID, strawberry.argument(name="id")]) -> Post | None:  # noqa: A002
        """One post."""
        statement = select(PostRow).where(PostRow.id == int(id), PostRow.published).options(undefer(PostRow.content))
        async with session_maker() as session:
            row = await session.scalar(statement)
        return to_post(row, row.content) if row else None

    @strawberry.field
    async def posts(self, first: int, after: str | None = None) -> list[Post]:
        """The newest posts."""
        async with session_maker() as session:
            rows = await session.scalars(newest(select(PostRow).where(PostRow.published), PostRow, first, after))
            return [to_post(row) for row in rows]

    @strawberry.field
    async def posts_of_period(self, first: int, since: str, until: str) -> list[Post]:
        """The most viewed posts of a period."""
        begin, end = map(datetime.datetime.fromisoformat, (since, until))
        wanted = (PostRow.published, PostRow.created_at >= begin, PostRow.created_at < end)
        statement = select(PostRow).where(*wanted).order_by(PostRow.views.desc(), PostRow.id.desc()).limit(first)
        async with session_maker() as session:
            return [to_post(row) for row in await session.scalars(statement)]

    @strawberry.field
    async def popular_posts(self, first: int, views_min: int) -> PostPage:
        """The most viewed posts, and the number of posts with at least `views_min` views."""
        wanted = (PostRow.published, PostRow.views >= views_min)
        statement = select(PostRow).where(*wanted).order_by(PostRow.views.desc(), PostRow.id.desc()).limit(first)
        async with session_maker() as session:
            rows = await session.scalars(statement)
            count = await session.scalar(select(func.count()).select_from(PostRow).where(*wanted))
            return PostPage(total_count=count or 0, nodes=[to_post(row) for row in rows])


schema = strawberry.Schema(Query, extensions=[ParserCache, ValidationCache])
app = FastAPI()
app.include_router(GraphQLRouter(schema, context_getter=get_context), prefix="/graphql")

if __name__ == "__main__":
    uvicorn.run(
        app, port=int(os.environ["BENCH_PORT"]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
