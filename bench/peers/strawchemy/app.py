"""strawchemy: the schema and its resolvers are derived from SQLAlchemy models.

https://strawchemy.pages.dev: mapped types, filters and orders, one statement for each root field, which Strawberry's
FastAPI router serves with a session for each request.

Why it is fair: it runs on Folio's own versions of Strawberry, SQLAlchemy, asyncpg and uvicorn, with a pool of eight
connections in autocommit, as its reads need no transaction. Strawberry's caches of parsed and validated documents are
on. The models have only the columns that the cases need. Lists have their condition, and at the root their order, in
the schema. Pages continue after a row by a filter that uses the index, not by an offset. It has no limits, no log and
no metrics.

It takes no part in the writes, nor in the pages with their total: it counts only the rows of the page.
"""

import datetime
import os
from collections.abc import AsyncIterator
from typing import Any

import strawberry
import uvicorn
from fastapi import FastAPI
from sqlalchemy import BigInteger, ForeignKey, Select, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TIMESTAMP
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.fastapi import GraphQLRouter
from strawchemy import Strawchemy, StrawchemyAsyncRepository, StrawchemyConfig

POOL_SIZE = 8

engine = create_async_engine(
    os.environ["BENCH_DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"),
    pool_size=POOL_SIZE,
    max_overflow=0,
    pool_timeout=60,
    isolation_level="AUTOCOMMIT",
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
    posts: Mapped[list["PostRow"]] = relationship(
        primaryjoin="and_(UserRow.id == foreign(PostRow.author_id), PostRow.published)", viewonly=True
    )


class PostRow(Base):
    """A row of posts."""

    __tablename__ = "posts"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    content: Mapped[str]
    published: Mapped[bool]
    views: Mapped[int]
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime.datetime]
    author: Mapped[UserRow] = relationship(viewonly=True)


mapper = Strawchemy(StrawchemyConfig("postgresql", repository_type=StrawchemyAsyncRepository))
NEWEST_USERS = (UserRow.created_at.desc(), UserRow.id.desc())
NEWEST = (PostRow.created_at.desc(), PostRow.id.desc())
POPULAR = (PostRow.views.desc(), PostRow.id.desc())


@mapper.filter(UserRow, include={"id", "created_at"})
class UserFilter:
    """A filter of users."""


@mapper.filter(PostRow, include={"id", "views", "created_at"})
class PostFilter:
    """A filter of posts."""


@mapper.order(PostRow, include={"id", "views", "created_at"})
class PostOrder:
    """An order of posts. Only lists at the root can have a default order."""


@mapper.type(UserRow, include={"id", "username", "created_at"})
class User:
    """A user."""

    posts: list["Post"] = mapper.field(pagination=True, order_by_input=PostOrder)


@mapper.type(PostRow, include={"id", "title", "content", "views", "created_at"})
class Post:
    """A post."""

    author: User


def published(_: strawberry.Info) -> Select[PostRow]:
    """Return the statement of the posts that any caller may see."""
    return select(PostRow).where(PostRow.published)


@strawberry.type
class Query:
    """The reads."""

    user: User | None = mapper.field()
    users: list[User] = mapper.field(filter_input=UserFilter, pagination=True, default_order_by=NEWEST_USERS)
    post: Post | None = mapper.field(filter_statement=published)
    posts: list[Post] = mapper.field(
        filter_input=PostFilter, pagination=True, default_order_by=NEWEST, filter_statement=published
    )
    popular_posts: list[Post] = mapper.field(
        filter_input=PostFilter, pagination=True, default_order_by=POPULAR, filter_statement=published
    )


async def get_context() -> AsyncIterator[dict[str, Any]]:
    """Yield a session for each request."""
    async with session_maker() as session:
        yield {"session": session}


schema = strawberry.Schema(Query, extensions=[ParserCache, ValidationCache])
app = FastAPI()
app.include_router(GraphQLRouter(schema, context_getter=get_context), prefix="/graphql")

if __name__ == "__main__":
    uvicorn.run(
        app, port=int(os.environ["BENCH_PORT"]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
