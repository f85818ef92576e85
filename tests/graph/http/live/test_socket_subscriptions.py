"""Subscriptions over a WebSocket: events in order, resumed by their cursors, refused, completed and closed."""

import asyncio
from typing import Any

import orjson
import pytest

from tests.graph.support.callers import Client, Person
from tests.graph.support.live import CREATE, LIMIT_S, PUBLISHED, Socket, open_subscriptions, publish, socket
from tests.graph.support.served_app import until


async def titles(one: Socket, number: str, count: int) -> list[str]:
    """Receive events, and return the titles of their posts."""
    found = []
    for _ in range(count):
        message = await one.receive()
        assert (message["type"], message["id"]) == ("next", number), message
        found.append(message["payload"]["data"]["postPublished"]["post"]["title"])
    return found


async def subscribed(client: Client, one: Socket, number: str, query: str, **variables: Any) -> None:
    """Subscribe, and wait until the subscription is open."""
    before = open_subscriptions(client)
    await one.send("subscribe", number, query=query, variables=variables)

    async def is_open() -> bool:
        return open_subscriptions(client) == before + 1

    await until(is_open, "the subscription")


async def test_each_event_is_sent_once_in_order(client: Client, ida: Person) -> None:
    async with socket(client) as one:
        await subscribed(client, one, "s", PUBLISHED)
        names = [f"Post {n}" for n in range(10)]
        await publish(client, ida, *names)
        assert await titles(one, "s", 10) == names
        await one.send("ping")
        assert await one.receive() == {"type": "pong"}  # nothing follows


async def test_subscription_and_queries_share_a_socket(client: Client, ida: Person) -> None:
    async with socket(client, by=ida) as one:
        await subscribed(client, one, "s", PUBLISHED)
        create = CREATE.replace("$title: String!", '$title: String = "A"')
        await one.send("subscribe", "m", query=create)
        messages = [await one.receive() for _ in range(3)]
        assert sorted((each["id"], each["type"]) for each in messages) == [
            ("m", "complete"),
            ("m", "next"),
            ("s", "next"),
        ]


async def test_client_that_comes_back_with_its_cursor_gets_what_it_missed_and_then_goes_on(
    client: Client, ida: Person
) -> None:
    async with socket(client) as one:
        await subscribed(client, one, "s", PUBLISHED)
        await publish(client, ida, "first")
        cursor = (await one.receive())["payload"]["data"]["postPublished"]["cursor"]
    await publish(client, ida, "missed", "missed too")
    async with socket(client) as one:
        await one.send("subscribe", "again", query=PUBLISHED, variables={"after": cursor})
        assert await titles(one, "again", 2) == ["missed", "missed too"]
        await publish(client, ida, "live")
        assert await titles(one, "again", 1) == ["live"]


async def test_complete_of_the_client_ends_the_subscription_and_nothing_is_sent_any_more(
    client: Client, ida: Person
) -> None:
    async with socket(client) as one:
        await subscribed(client, one, "s", PUBLISHED)
        await one.send("complete", "s")

        async def is_closed() -> bool:
            return open_subscriptions(client) == 0

        await until(is_closed, "the end of the subscription")
        await publish(client, ida, "unseen")
        assert await one.run("s", "{ __typename }") == {"data": {"__typename": "Query"}}  # the id is free


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ('subscription { postPublished(after: "x") { cursor } }', "BAD_USER_INPUT"),
        ('subscription { accountActivity(accountId: "account_1") { cursor } }', None),
    ],
)
async def test_refused_subscription_gets_an_error_message(client: Client, query: str, code: str | None) -> None:
    async with socket(client) as one:
        await one.send("subscribe", "s", query=query)
        message = await one.receive()
        assert (message["type"], message["id"]) == ("error", "s")
        if code is not None:
            assert message["payload"][0]["extensions"]["code"] == code
        assert open_subscriptions(client) == 0


@pytest.mark.parametrize("resets", [False, True])
async def test_lost_connection_leaves_no_task_and_no_subscription(client: Client, *, resets: bool) -> None:
    before = {task.get_name() for task in asyncio.all_tasks()}
    async with socket(client) as one:
        await subscribed(client, one, "a", PUBLISHED)
        await subscribed(client, one, "b", PUBLISHED)
        if resets:
            one.connection.transport.abort()

    async def is_gone() -> bool:
        return open_subscriptions(client) == 0 and not client.services.events.feeds

    await until(is_gone, "the end of the subscriptions")
    async with asyncio.timeout(LIMIT_S):
        while {task.get_name() for task in asyncio.all_tasks()} - before - {"feed"} != set():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_plain_request_cannot_subscribe(client: Client, method: str) -> None:
    query = "subscription { postPublished { cursor } }"
    if method == "POST":
        answer = await client.post(query)
    else:
        answer = await client.http.get("/graphql", params={"query": query}, headers={"accept": "application/json"})
    assert answer.status_code == 406
    assert orjson.loads(answer.content)["errors"][0]["extensions"]["code"] == "NOT_ACCEPTABLE"
    assert open_subscriptions(client) == 0
