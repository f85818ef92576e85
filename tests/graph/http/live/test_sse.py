"""Server-sent events, a connection per operation: what is a stream, what its events are, and how it ends."""

import asyncio
import socket

import httpx
import orjson
import pytest
from fastapi import FastAPI

from db.settings import Settings
from tests.graph.support.callers import Client, Person
from tests.graph.support.live import LIMIT_S, PUBLISHED, Events, open_subscriptions, publish, stream, until_open
from tests.graph.support.served_app import served

MIXED = "application/graphql-response+json, application/json, text/event-stream, multipart/mixed"


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_events_of_a_subscription_are_streamed_in_order(client: Client, ida: Person, method: str) -> None:
    async with stream(client, PUBLISHED, method=method) as events:
        assert events.response.status_code == 200
        assert events.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert events.response.headers["cache-control"] == "no-store"
        await until_open(client, 1)
        await publish(client, ida, "a", "b", "c")
        for title in ("a", "b", "c"):
            name, data = await events.next()
            assert name == "next"
            assert data["data"]["postPublished"]["post"] == {"title": title}
    await until_open(client, 0)


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_query_as_a_stream_has_one_event_and_completes(client: Client, method: str) -> None:
    async with stream(client, "{ __typename }", method=method) as events:
        assert await events.next() == ("next", {"data": {"__typename": "Query"}})
        assert await events.next() == ("complete", None)
        assert await events.ended()


async def test_mutation_as_a_stream_runs_once(client: Client, ida: Person) -> None:
    create = 'mutation { createPost(input: {title: "A", content: "B"}) { post { title } } }'
    async with stream(client, create, by=ida) as events:
        assert await events.next() == ("next", {"data": {"createPost": {"post": {"title": "A"}}}})
    async with stream(client, create, by=ida, method="GET") as events:
        assert events.response.status_code == 405


@pytest.mark.parametrize(
    "query", ["{", "{ nothing }", "subscription { nothing }", 'subscription { postPublished(after: "x") { cursor } }']
)
async def test_operation_that_is_refused_is_reported_in_the_stream(client: Client, query: str) -> None:
    async with stream(client, query) as events:
        assert events.response.status_code == 200
        name, data = await events.next()
        assert name == "next"
        assert set(data) == {"errors"}
        assert await events.next() == ("complete", None)
    assert open_subscriptions(client) == 0


async def test_invalid_token_is_refused_by_its_status(client: Client) -> None:
    headers = {"accept": "text/event-stream", "authorization": "Bearer nonsense"}
    answer = await client.http.post("/graphql", json={"query": PUBLISHED}, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_client_that_accepts_both_gets_json_for_a_query_and_a_stream_for_a_subscription(
    client: Client, ida: Person
) -> None:
    async with httpx.AsyncClient(base_url=client.http.base_url) as http:  # on one connection
        for _ in range(3):
            answer = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"accept": MIXED})
            assert answer.headers["content-type"].startswith("application/graphql-response+json")
            assert answer.json() == {"data": {"__typename": "Query"}}
        async with http.stream("POST", "/graphql", json={"query": PUBLISHED}, headers={"accept": MIXED}) as response:
            await until_open(client, 1)
            await publish(client, ida, "a")
            assert (await Events(response).next())[0] == "next"


async def test_silent_stream_sends_comments(settings: Settings) -> None:
    async with served(settings, live_ping_s=0.05) as client, stream(client, PUBLISHED) as events:
        received = b""
        async with asyncio.timeout(LIMIT_S):
            async for part in events.response.aiter_raw():
                received += part
                if received.count(b":\n\n") >= 4:
                    break
        assert received.replace(b":\n\n", b"") == b""


async def test_stream_ends_when_its_client_leaves(client: Client) -> None:
    async with stream(client, PUBLISHED):
        await until_open(client, 1)
    await until_open(client, 0)


async def test_page_of_an_allowed_origin_may_read_the_stream(client: Client) -> None:
    headers = {"accept": "text/event-stream", "origin": "http://localhost:3000"}
    async with client.http.stream("POST", "/graphql", json={"query": PUBLISHED}, headers=headers) as response:
        assert response.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert response.headers["vary"] == "accept, authorization, Origin"


async def test_stream_beyond_the_limit_is_refused(settings: Settings) -> None:
    async with served(settings, live_connections_max=1) as client, stream(client, PUBLISHED):
        await until_open(client, 1)
        answer = await client.http.post("/graphql", json={"query": PUBLISHED}, headers={"accept": "text/event-stream"})
        assert answer.status_code == 503
        assert orjson.loads(answer.content)["errors"][0]["extensions"]["code"] == "OVERLOADED"
        assert (await client.run("{ __typename }"))["data"] == {"__typename": "Query"}


async def test_kernel_ends_a_stream_whose_client_has_vanished(app: FastAPI, client: Client, ida: Person) -> None:
    """A network that loses everything needs another machine. This shows that the kernel has its instruction."""
    limit = getattr(socket, "TCP_USER_TIMEOUT", None)
    if limit is None:
        pytest.skip("this system has no TCP_USER_TIMEOUT")
    async with stream(client, PUBLISHED):
        await until_open(client, 1)
        sockets = [one.transport.get_extra_info("socket") for one in vars(app)["connections"]]
        found = {one.getsockopt(socket.IPPROTO_TCP, limit) for one in sockets}
    assert found == {int(2000 * client.services.settings.live_ping_s)}
