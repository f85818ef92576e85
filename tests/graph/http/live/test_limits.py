"""The limits of live connections: how many, from where, how large, how long, and how fast they are read."""

import asyncio
from contextlib import AsyncExitStack

import orjson
import pytest
from websockets.exceptions import InvalidStatus

from db.settings import Settings
from graph.http.wire import websocket, write_watch
from tests.graph.support.callers import Client, Person
from tests.graph.support.live import LIMIT_S, PUBLISHED, open_subscriptions, publish, socket, until_open
from tests.graph.support.served_app import served, served_with_documents, until


async def refused(client: Client, origin: str | None = None) -> tuple[int, str]:
    """Try to open a WebSocket that is refused, and return the status and the code."""
    with pytest.raises(InvalidStatus) as caught:
        async with socket(client, initialises=False, origin=origin):
            pass
    response = caught.value.response
    return response.status_code, orjson.loads(response.body or b"")["errors"][0]["extensions"]["code"]


@pytest.mark.parametrize("limit", ["live_connections_max", "live_connections_per_address_max"])
async def test_socket_beyond_a_limit_is_refused_and_a_closed_one_makes_room(settings: Settings, limit: str) -> None:
    async with served(settings, **{limit: 2}) as client:
        async with socket(client), socket(client):
            assert await refused(client) == (503, "OVERLOADED")
            assert await client.run("{ __typename }") == {"data": {"__typename": "Query"}}

        async def has_room() -> bool:
            try:
                async with socket(client):
                    return True
            except InvalidStatus:
                return False

        await until(has_room, "a free place")


async def test_user_has_a_limited_number_of_sockets(client: Client, ida: Person, eve: Person) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(client.services.settings.live_connections_per_user_max):
            await stack.enter_async_context(socket(client, by=ida))
        one = await stack.enter_async_context(socket(client, initialises=False))
        await one.send("connection_init", authorization=f"Bearer {ida.token}")
        code, reason = await one.closed()
        assert (code, reason[:32]) == (1013, "this user has 32 live connection")
        async with socket(client, by=eve), socket(client):
            pass


async def test_operations_of_a_socket_are_limited(settings: Settings) -> None:
    async with served(settings, live_operations_per_connection_max=2) as client, socket(client) as one:
        for number in "ab":
            await one.send("subscribe", number, query=PUBLISHED)
        await until_open(client, 2)
        await one.send("subscribe", "c", query=PUBLISHED)
        message = await one.receive()
        assert (message["type"], message["id"]) == ("error", "c")
        assert message["payload"][0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"
        await one.send("complete", "a")
        await until_open(client, 1)
        assert await one.run("d", "{ __typename }") == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("fragments", [1, 50])
async def test_message_that_is_too_large_closes_the_socket(settings: Settings, fragments: int) -> None:
    async with served(settings, socket_message_bytes_max=5000) as client, socket(client) as one:
        assert await one.run("1", "{ __typename } #" + "x" * 4000) == {"data": {"__typename": "Query"}}
        text = '{"type": "ping", "payload": {"x": "' + "x" * 5000 + '"}}'
        size = len(text) // fragments + 1
        await one.connection.send(text[start : start + size] for start in range(0, len(text), size))
        assert (await one.closed())[0] == 1009


async def test_socket_without_an_operation_is_closed_after_a_while(settings: Settings) -> None:
    async with served(settings, socket_idle_s=0.3) as client, socket(client) as one, socket(client) as busy:
        await busy.send("subscribe", "s", query=PUBLISHED)
        await until_open(client, 1)
        assert await one.closed() == (1000, "no operation for 0.3 s")
        await busy.send("ping")
        assert await busy.receive() == {"type": "pong"}
        await busy.send("complete", "s")
        assert (await busy.closed())[0] == 1000


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example"])
async def test_page_of_another_origin_cannot_open_a_socket(client: Client, origin: str) -> None:
    assert await refused(client, origin=origin) == (403, "ORIGIN_NOT_ALLOWED")


async def test_page_of_an_allowed_origin_and_of_the_server_itself_opens_a_socket(settings: Settings) -> None:
    async with served(settings, cors_origins="https://app.example.org") as client:
        own = str(client.http.base_url).rstrip("/")
        for origin in ("https://app.example.org", own):
            async with socket(client, origin=origin) as one:
                assert await one.run("1", "{ __typename }") == {"data": {"__typename": "Query"}}
        assert await refused(client, origin="http://localhost:3000") == (403, "ORIGIN_NOT_ALLOWED")


async def test_every_event_is_charged_and_an_empty_budget_ends_the_subscription(
    client: Client, ida: Person, settings: Settings
) -> None:
    limited = served_with_documents([PUBLISHED], settings, cost_per_minute_max=60)
    async with limited as poor, socket(poor) as one:
        await one.send("subscribe", "s", query=PUBLISHED, extensions={"cost": True})
        await until_open(poor, 1)
        await publish(client, ida, *map(str, range(61)))
        received = []
        while (message := await one.receive())["type"] == "next":
            received.append(message["payload"])
        cost = received[0]["extensions"]["cost"]["requested"]
        assert message["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert 60 // cost - 5 <= len(received) <= 60 // cost  # the work of opening it is charged, too
        await one.send("ping")
        assert await one.receive() == {"type": "pong"}


async def test_client_that_answers_no_ping_is_disconnected(settings: Settings) -> None:
    async with served(settings, live_ping_s=0.1) as client, socket(client) as one:
        await one.send("subscribe", "s", query=PUBLISHED)
        await until_open(client, 1)
        # As if the network was gone: the client's machine confirms bytes, and nothing answers.
        one.connection.transport.pause_reading()
        await until_open(client, 0)


async def test_client_that_answers_pings_stays(settings: Settings) -> None:
    async with served(settings, live_ping_s=0.05) as client, socket(client) as one:
        await one.send("subscribe", "s", query=PUBLISHED)
        await until_open(client, 1)
        await asyncio.sleep(0.5)
        await one.send("ping")
        assert await one.receive() == {"type": "pong"}


async def test_client_that_does_not_read_is_closed_with_4429_and_ends_its_subscription(
    client: Client, ida: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_watch, "ANSWER_S", 0.2)
    monkeypatch.setattr(websocket, "CLOSE_S", LIMIT_S)  # the client begins to read in this time
    query = "subscription { postPublished { post { content } } }"
    create = """mutation ($content: String!) {
      createPost(input: {title: "A", content: $content, published: true}) { userErrors { code } }
    }"""
    async with socket(client) as one:
        await one.send("subscribe", "s", query=query)
        await until_open(client, 1)
        for _ in range(200):  # the buffers of both sides hold some of them
            await client.data(create, by=ida, content="x" * 100_000)
            if open_subscriptions(client) == 0:
                break
        await until_open(client, 0)
        assert (await one.closed())[0] == 4429
