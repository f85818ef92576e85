"""A field that fails takes no row from other fields that need the same row, and the client always gets a response."""

import asyncio
from typing import Any

import pytest

from db.settings import Settings
from tests.faults.served import Town, served, settle
from tests.graph.support.callers import Client
from tests.graph.support.served_app import locked, until

engines = pytest.mark.parametrize("engine", ["compiled", "ordinary"])

FAILED = "first should be from 1 to 100, not 101"
UPDATE_PROFILE = """mutation ($input: UpdateUserInput!) {
  updateUser(input: $input) { user { profile { bio } } userErrors { code } }
}"""
COUNT = "{ posts(first: 1) { totalCount } }"
WRITE = """mutation %s {
  createPost(input: {title: "Once", content: "Content.", published: true}) {
    post { id title author { bad: posts(first: 101) { nodes { id } } profile { bio } } }
    again: post { title author { profile { bio } } }
    userErrors { code }
  }
}"""


async def settled(client: Client) -> Town:
    """Create the users of a town; ida has a profile."""
    town = await settle(client)
    given = {"id": town.ida.id, "profile": {"bio": "Reads."}}
    data = await client.data(UPDATE_PROFILE, by=town.ida, input=given)
    assert data == {"updateUser": {"user": {"profile": {"bio": "Reads."}}, "userErrors": []}}
    return town


def errors_of(body: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(error["message"], error["path"]) for error in body["errors"]]


SIBLING_FAILS = """query %s {
  a: user(id: "%s") { bad: posts(first: 101) { nodes { id } } profile { bio } }
  b: user(id: "%s") { profile { bio } }
}"""
COUNTED_TWICE = """query %s {
  a: user(id: "%s") { bad: posts(first: 101) { nodes { id } } posts(first: 1) { totalCount } }
  b: user(id: "%s") { posts(first: 1) { totalCount } }
}"""


@engines
@pytest.mark.parametrize("sights", [1, 3])
async def test_row_that_a_failed_field_also_needed_reaches_the_other_fields(
    settings: Settings, engine: str, sights: int
) -> None:
    async with served(settings, engine=engine) as client:
        town = await settled(client)
        for number in range(20):
            query = SIBLING_FAILS % (f"N{number}", town.ida.id, town.ida.id)
            for _ in range(sights):
                body = await client.run(query)
                assert body["data"] == {"a": None, "b": {"profile": {"bio": "Reads."}}}
                assert errors_of(body) == [(FAILED, ["a", "bad"])]


@engines
async def test_count_that_a_failed_field_also_needed_reaches_the_other_fields(settings: Settings, engine: str) -> None:
    async with served(settings, engine=engine) as client:
        town = await settled(client)
        for number in range(20):
            body = await client.run(COUNTED_TWICE % (f"C{number}", town.ida.id, town.ida.id))
            assert body["data"] == {"a": None, "b": {"posts": {"totalCount": 1}}}
            assert errors_of(body) == [(FAILED, ["a", "bad"])]


@engines
async def test_many_clients_at_once_are_all_answered(settings: Settings, engine: str) -> None:
    async with served(settings, engine=engine) as client:
        town = await settled(client)
        queries = [SIBLING_FAILS % (f"M{number}", town.ida.id, town.ida.id) for number in range(64)]
        bodies = await asyncio.gather(*map(client.run, queries))
        assert [body["data"] for body in bodies] == [{"a": None, "b": {"profile": {"bio": "Reads."}}}] * 64


@engines
async def test_write_whose_payload_fails_is_answered_and_happens_once(settings: Settings, engine: str) -> None:
    async with served(settings, engine=engine) as client:
        town = await settled(client)
        author = {"profile": {"bio": "Reads."}}
        before = await client.data(COUNT, by=town.ida)
        for number in range(10):
            body = await client.run(WRITE % f"W{number}", by=town.ida)
            payload = body["data"]["createPost"]
            assert payload == {"post": None, "again": {"title": "Once", "author": author}, "userErrors": []}
            assert errors_of(body) == [(FAILED, ["createPost", "post", "author", "bad"])]
        after = await client.data(COUNT, by=town.ida)
        assert after["posts"]["totalCount"] - before["posts"]["totalCount"] == 10


async def test_unexpected_cancellation_is_answered_with_an_internal_error(
    settings: Settings, database_url: str
) -> None:
    async with served(settings, engine="ordinary") as client:
        await settled(client)

        def fields() -> list[asyncio.Task[Any]]:
            """Return the tasks in which graphql-core awaits fields."""
            return [one for one in asyncio.all_tasks() if "Executor." in repr(one.get_coro())]

        async def is_awaiting() -> bool:
            return len(fields()) > 1

        async with locked(database_url, "posts"):
            sending = asyncio.create_task(client.post("{ a: posts { totalCount } b: posts { totalCount } }"))
            await until(is_awaiting, "the wait for fields")
            fields()[0].cancel()
            response = await sending
        assert response.status_code == 500
        assert [error["extensions"]["code"] for error in response.json()["errors"]] == ["INTERNAL_SERVER_ERROR"]
        assert "errors" not in await client.run(COUNT)
