"""A server that stops: subscribers connect elsewhere, nothing is cut in its middle, and the end is soon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from db.connections.leases import Driver
from db.settings import Settings
from graph.app import create_app
from tests.graph.http.live.test_reservations import reserved
from tests.graph.support.callers import Client, Person, http_client, serving
from tests.graph.support.live import LIMIT_S, PUBLISHED, publish, socket, stream, until_open
from tests.graph.support.served_app import locked, until, waiting

RESTART = (1012, "the server restarts; connect again")
CREATE_DRAFT = 'mutation { createPost(input: {title: "A", content: "B"}) { post { title } } }'


class Stopping:
    """A served application that a test stops while it has clients."""

    def __init__(self, stack: AsyncExitStack, client: Client) -> None:
        self._stack = stack
        self.client = client

    def stop(self) -> "asyncio.Task[None]":
        """Stop the server."""
        return asyncio.create_task(self._stack.aclose())


@asynccontextmanager
async def stopping(settings: Settings) -> AsyncIterator[Stopping]:
    """Serve the application."""
    app = create_app(settings)
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(app))
        async with http_client(address) as http:
            yield Stopping(stack, Client(http, app.state.services))


async def stopped(task: "asyncio.Task[None]") -> None:
    """Wait until the server has stopped."""
    async with asyncio.timeout(LIMIT_S):
        await task


async def test_subscribers_get_the_events_so_far_and_a_close_that_lets_them_connect_elsewhere(
    client: Client, ida: Person, settings: Settings
) -> None:
    async with stopping(settings) as server, socket(server.client) as one, socket(server.client) as idle:
        await one.send("subscribe", "s", query=PUBLISHED)
        await until_open(server.client, 1)
        await publish(client, ida, "a")
        assert (await one.receive())["type"] == "next"
        ending = server.stop()
        assert await one.closed() == RESTART
        assert await idle.closed() == RESTART
        await stopped(ending)


async def test_mutation_that_runs_on_a_socket_is_answered_before_the_close(
    ida: Person, settings: Settings, database_url: str, superuser: Driver
) -> None:
    async with stopping(settings) as server, socket(server.client, by=ida) as one:
        async with locked(database_url, "posts"):
            await one.send("subscribe", "m", query=CREATE_DRAFT)

            async def is_running() -> bool:
                return await waiting(superuser) > 0

            await until(is_running, "the mutation")
            ending = server.stop()
            await asyncio.sleep(0.1)
            assert not ending.done()
        assert (await one.receive())["payload"] == {"data": {"createPost": {"post": {"title": "A"}}}}
        assert await one.receive() == {"type": "complete", "id": "m"}
        assert await one.closed() == RESTART
        await stopped(ending)


async def test_streams_end_without_a_complete_event_so_that_clients_connect_again(
    client: Client, ida: Person, settings: Settings
) -> None:
    async with stopping(settings) as server, stream(server.client, PUBLISHED) as events:
        async with reserved(server.client) as one:
            assert (await one.run("s", PUBLISHED)).status_code == 202
            await until_open(server.client, 2)
            await publish(client, ida, "a")
            assert (await events.next())[0] == "next"
            assert (await one.events.next())[0] == "next"
            ending = server.stop()
            assert await events.ended()
            assert await one.events.ended()
        await stopped(ending)
