"""The server from outside: other settings, locks that make operations slow, and sockets that misbehave."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from db.connections.leases import Driver
from db.settings import Settings
from graph.app import create_app
from graph.operations.cache import RequestRefused
from tests.db.support.backends import POLL_S, POLLS_MAX, connected_superuser
from tests.graph.support.callers import Client, Person, http_client, serving

SPARE_S = 5
ALIVE = {"data": {"__typename": "Query"}}


@asynccontextmanager
async def served(settings: Settings, **changes: Any) -> AsyncIterator[Client]:
    """Serve the application with some settings changed, and yield an anonymous client of it."""
    app = create_app(settings.model_copy(update=changes))
    async with serving(app) as address, http_client(address) as http:
        yield Client(http, app.state.services)


@asynccontextmanager
async def served_with_documents(documents: Sequence[str], settings: Settings, **changes: Any) -> AsyncIterator[Client]:
    """Serve like `served`, with documents that were validated before: no budget is charged for their validation.

    The code that follows runs within one minute of the budgets, because the next one refills a part of a spent budget.
    """
    await until_minute_has_left(SPARE_S)
    app = create_app(settings.model_copy(update=changes))
    for text in documents:
        with contextlib.suppress(RequestRefused):
            app.state.operations.find(text, None).priced({})
    async with serving(app) as address, http_client(address) as http:
        yield Client(http, app.state.services)


async def until_minute_has_left(seconds: float) -> None:
    """Wait until the minute of the budgets has `seconds` left: the next one refills a part of a spent budget."""
    left_s = 60 - time.time() % 60
    if left_s < seconds:
        await asyncio.sleep(left_s)


@asynccontextmanager
async def locked(database_url: str, table: str) -> AsyncIterator[None]:
    """Lock `table`, so that every statement that reads or writes it waits."""
    async with connected_superuser(database_url) as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition that becomes true soon."""
    for _ in range(POLLS_MAX):
        if await condition():
            return
        await asyncio.sleep(POLL_S)
    raise AssertionError(f"{what} does not happen")


async def waiting(superuser: Driver) -> int:
    """Return how many statements of the pool wait for a lock."""
    count: int = await superuser.fetchval(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'folio%' AND wait_event_type = 'Lock'"
    )
    return count


def block_process(seconds: float) -> None:
    """Block the whole process, server and client, like a machine that is suspended."""
    time.sleep(seconds)


async def is_alive(client: Client) -> bool:
    """Return whether the server still answers."""
    return await client.run("{ __typename }") == ALIVE


def posted(query: str, *, by: Person | None = None, length: int | None = None) -> bytes:
    """Return a POST as bytes on the wire; if `length` is given, the request declares it instead of the true length."""
    body = orjson.dumps({"query": query})
    authorization = f"authorization: Bearer {by.token}\r\n" if by else ""
    head = (
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body) if length is None else length}\r\n{authorization}\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def sent(client: Client, data: bytes, *, resets: bool = False) -> AsyncIterator[asyncio.StreamReader]:
    """Send bytes over a new connection, which is closed at the end, whatever the server has answered by then.

    A connection that is closed (by FIN) looks like a half-closed one; one that is reset (by RST) does not.
    """
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(data)
        await writer.drain()
        yield reader
    finally:
        if resets:
            reset(writer)
        writer.close()


@asynccontextmanager
async def opened(client: Client, data: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Send bytes over a new connection, on which the caller may send more. It is closed at the end."""
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(data)
        yield reader, writer
    finally:
        writer.close()


@asynccontextmanager
async def half_closed(client: Client, data: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Send bytes over a new connection, close its sending side (FIN), and continue to read."""
    async with opened(client, data) as (reader, writer):
        writer.write_eof()
        yield reader


def reset(writer: asyncio.StreamWriter) -> None:
    """Make a connection end by RST when it is closed."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
