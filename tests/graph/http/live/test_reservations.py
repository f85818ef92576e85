"""Server-sent events, one stream for all operations of a client: reserved, opened, used and ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from graph.http.live import reservations
from tests.graph.support.callers import Client, Person
from tests.graph.support.live import LIMIT_S, PUBLISHED, Events, publish, until_open
from tests.graph.support.served_app import until

TOKEN = "x-graphql-event-stream-token"


class Reserved:
    """A reserved stream, and requests that belong to it."""

    def __init__(self, client: Client, token: str, events: Events) -> None:
        self.client = client
        self.token = token
        self.events = events

    async def run(
        self, number: str | None, query: str, *, by: Person | None = None, **variables: Any
    ) -> httpx.Response:
        """Send an operation."""
        headers = {TOKEN: self.token, **({"authorization": f"Bearer {by.token}"} if by else {})}
        extensions = {} if number is None else {"operationId": number}
        body = {"query": query, "variables": variables, "extensions": extensions}
        return await self.client.http.post("/graphql", json=body, headers=headers)

    async def complete(self, number: str) -> httpx.Response:
        """End an operation."""
        return await self.client.http.delete("/graphql", params={"operationId": number}, headers={TOKEN: self.token})


async def reserve(client: Client) -> str:
    """Reserve a stream, and return its token."""
    answer = await client.http.put("/graphql")
    assert answer.status_code == 201
    return answer.text


@asynccontextmanager
async def reserved(client: Client) -> AsyncIterator[Reserved]:
    """Reserve a stream, and open it."""
    token = await reserve(client)
    headers = {"accept": "text/event-stream"}
    async with client.http.stream("GET", "/graphql", params={"token": token}, headers=headers) as response:
        assert response.status_code == 200
        yield Reserved(client, token, Events(response))


async def test_results_of_several_operations_arrive_in_one_stream(client: Client, ida: Person) -> None:
    async with reserved(client) as one:
        assert (await one.run("s", PUBLISHED)).status_code == 202
        assert (await one.run("q", "{ viewer { username } }", by=ida)).status_code == 202
        assert await one.events.next() == ("next", {"id": "q", "payload": {"data": {"viewer": {"username": "ida"}}}})
        assert await one.events.next() == ("complete", {"id": "q"})
        await publish(client, ida, "a")
        name, data = await one.events.next()
        assert (name, data["id"]) == ("next", "s")
        assert data["payload"]["data"]["postPublished"]["post"] == {"title": "a"}
        assert (await one.complete("s")).status_code == 200
        assert await one.events.next() == ("complete", {"id": "s"})
        await until_open(client, 0)


async def test_invalid_operation_is_refused_by_the_response_to_its_request(client: Client) -> None:
    async with reserved(client) as one:
        answer = await one.run("s", "subscription { nothing }")
        assert answer.json()["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert (await one.run(None, "{ __typename }")).status_code == 400
        assert (await one.run("s", PUBLISHED)).status_code == 202  # the id is free
        assert (await one.run("s", PUBLISHED)).status_code == 409


async def test_stream_is_opened_once(client: Client) -> None:
    async with reserved(client) as one:
        headers = {"accept": "text/event-stream", TOKEN: one.token}
        assert (await client.http.get("/graphql", headers=headers)).status_code == 409


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_unknown_token_is_refused(client: Client, method: str) -> None:
    headers = {"accept": "text/event-stream", TOKEN: "unknown"}
    assert (await client.http.request(method, "/graphql", headers=headers)).status_code == 404


async def test_reservation_that_is_not_used_lapses(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "RESERVATION_S", 0.05)
    token = await reserve(client)

    async def has_lapsed() -> bool:
        answer = await client.http.delete("/graphql", headers={TOKEN: token})
        return answer.status_code == 404

    await until(has_lapsed, "the end of the reservation")


async def test_open_stream_does_not_lapse(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "RESERVATION_S", 0.05)
    async with reserved(client) as one:
        await asyncio.sleep(0.2)
        assert (await one.run("q", "{ __typename }")).status_code == 202


async def test_end_of_the_stream_ends_its_subscriptions(client: Client) -> None:
    async with reserved(client) as one:
        for number in "abc":
            assert (await one.run(number, PUBLISHED)).status_code == 202
        await until_open(client, 3)
    await until_open(client, 0)
    async with asyncio.timeout(LIMIT_S):
        while (await client.http.delete("/graphql", headers={TOKEN: one.token})).status_code != 404:
            await asyncio.sleep(0.01)
