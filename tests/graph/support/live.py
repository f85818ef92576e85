"""Clients of live connections: a WebSocket with graphql-transport-ws, message by message, and streams of events."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from tests.graph.support.callers import Client, Person
from tests.graph.support.served_app import until

SUBPROTOCOL = Subprotocol("graphql-transport-ws")
LIMIT_S = 20
ACK = {"type": "connection_ack"}
PUBLISHED = "subscription ($after: String) { postPublished(after: $after) { cursor post { title } } }"
CREATE = """mutation ($title: String!) {
  createPost(input: {title: $title, content: "C", published: true}) { post { id } userErrors { code } }
}"""


class Socket:
    """One WebSocket of a test."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, type_: str, number: str | None = None, **payload: Any) -> None:
        """Send a message."""
        message: dict[str, Any] = {"type": type_}
        if number is not None:
            message["id"] = number
        if payload:
            message["payload"] = payload
        await self.connection.send(orjson.dumps(message).decode())

    async def receive(self) -> Any:
        """Receive a message."""
        async with asyncio.timeout(LIMIT_S):
            return orjson.loads(await self.connection.recv())

    async def initialise(self, by: Person | None = None) -> None:
        """Initialise the connection."""
        await self.send("connection_init", **({"authorization": f"Bearer {by.token}"} if by else {}))
        assert await self.receive() == ACK

    async def run(self, number: str, query: str, **variables: Any) -> Any:
        """Run an operation with one result, and return the payload of its first message."""
        await self.send("subscribe", number, query=query, variables=variables)
        message = await self.receive()
        assert message["id"] == number
        if message["type"] == "next":
            assert await self.receive() == {"type": "complete", "id": number}
        return message["payload"]

    async def closed(self) -> tuple[int, str]:
        """Wait until the server closes the socket, and return the code and the reason."""
        async with asyncio.timeout(LIMIT_S):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self.connection.recv()
        assert self.connection.close_code is not None
        return self.connection.close_code, self.connection.close_reason or ""


@asynccontextmanager
async def socket(
    client: Client,
    *,
    by: Person | None = None,
    initialises: bool = True,
    subprotocols: list[Subprotocol] | None = None,
    origin: str | None = None,
    **options: Any,
) -> AsyncIterator[Socket]:
    """Open a WebSocket, and initialise it."""
    url = f"ws://{client.http.base_url.host}:{client.http.base_url.port}/graphql"
    offered = [SUBPROTOCOL] if subprotocols is None else subprotocols
    options = {"compression": None, "proxy": None, "ping_interval": None, **options}
    opened = connect(url, subprotocols=offered or None, origin=Origin(origin) if origin else None, **options)
    async with opened as connection:
        one = Socket(connection)
        if initialises:
            await one.initialise(by)
        yield one


async def publish(client: Client, by: Person, *titles: str) -> None:
    """Publish posts, one after the other."""
    for title in titles:
        data = await client.data(CREATE, by=by, title=title)
        assert data["createPost"]["userErrors"] == []


def open_subscriptions(client: Client) -> int:
    """Return how many streams are open."""
    return sum(feed.holders for feed in client.services.events.feeds.values())


async def until_open(client: Client, number: int) -> None:
    """Wait until so many subscriptions are open."""

    async def is_so() -> bool:
        return open_subscriptions(client) == number

    await until(is_so, f"{number} open subscriptions")


class Events:
    """A stream of events that a test receives."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, Any]:
        """Receive an event: its name and its data. Comments are skipped."""
        async with asyncio.timeout(LIMIT_S):
            name, data = "", None
            async for line in self._lines:
                field, _, value = line.partition(":")
                if line and field == "event":
                    name = value.strip()
                elif line and field == "data":
                    data = orjson.loads(value) if value.strip() else None
                elif not line and name:
                    return name, data
        raise EOFError

    async def ended(self) -> bool:
        """Wait until the stream ends, and return whether nothing came before its end."""
        try:
            await self.next()
        except EOFError:
            return True
        return False


@asynccontextmanager
async def stream(
    client: Client, query: str, *, by: Person | None = None, method: str = "POST", **variables: Any
) -> AsyncIterator[Events]:
    """Request a stream of the events of an operation."""
    headers = {"accept": "text/event-stream", **({"authorization": f"Bearer {by.token}"} if by else {})}
    content: dict[str, Any] = {"json": {"query": query, "variables": variables}}
    if method == "GET":
        content = {"params": {"query": query, "variables": orjson.dumps(variables).decode()}}
    async with client.http.stream(method, "/graphql", headers=headers, **content) as response:
        yield Events(response)
