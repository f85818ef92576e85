"""Streams of events under test, and the posts, comments and users whose changes they follow."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from db.connections.database import Database
from db.connections.leases import Driver
from db.events import Events, EventStream, EventTopic, LoggedEvent, Subject
from db.events.topics import ALL

POLL_NEVER_S = 3600.0
ARRIVES_S = 60.0
POLL_S = 0.005

INSERT_MANY = (
    "INSERT INTO posts (title, content, published, author_id) SELECT 't', 'c', true, $1 FROM generate_series(1, $2)"
)
EVERYTHING_PUBLISHED = Subject(EventTopic.PUBLISHED, ALL)


@asynccontextmanager
async def live(database: Database, *, poll_s: float = POLL_NEVER_S) -> AsyncIterator[Events]:
    """Run the live updates of a process. Without a poll: what arrives was notified."""
    events = Events(database)
    events.poll_s = poll_s
    async with events.running():
        yield events
    assert events.feeds == {}


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(ARRIVES_S):
        while not condition():
            await asyncio.sleep(POLL_S)


async def taken(stream: EventStream, count: int) -> list[LoggedEvent]:
    """Return the next events of a stream."""
    async with asyncio.timeout(ARRIVES_S):
        return [await anext(stream) for _ in range(count)]


async def rows_of(stream: EventStream, count: int) -> list[int]:
    """Return the rows of the next events of a stream."""
    return [event.row_id for event in await taken(stream, count)]


async def insert_post(driver: Driver, author: int, *, published: bool = True, title: str = "t") -> int:
    """Insert a post, and return its id."""
    sql = "INSERT INTO posts (title, content, published, author_id) VALUES ($1, 'c', $2, $3) RETURNING id"
    number: int = await driver.fetchval(sql, title, published, author)
    return number


async def insert_comment(driver: Driver, author: int, post: int) -> int:
    """Insert a comment, and return its id."""
    sql = "INSERT INTO comments (body, author_id, post_id) VALUES ('b', $1, $2) RETURNING id"
    number: int = await driver.fetchval(sql, author, post)
    return number
