"""Live connections end with what they depend on: the token, the session, the user's rights."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest
from fastapi import FastAPI

from db.connections.leases import Driver
from graph.http.live import connections
from tests.graph.support.callers import Client, Person, SignUp
from tests.graph.support.live import PUBLISHED, socket, stream, until_open
from tests.graph.support.served_app import locked, until, waiting

SIGN_OUT = "mutation { signOut { signedOut } }"
DEACTIVATE = """mutation ($id: ID!) {
  updateUser(input: {id: $id, isActive: false}) { user { id } userErrors { code message } }
}"""


@pytest.fixture(autouse=True)
def short_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check sessions often."""
    monkeypatch.setattr(connections, "SESSION_CHECK_S", 0.05)


async def test_socket_closes_when_the_user_signs_out_elsewhere(client: Client, ida: Person) -> None:
    async with socket(client, by=ida) as one, socket(client) as other:
        await client.data(SIGN_OUT, by=ida)
        assert await one.closed() == (4403, "the session has ended; sign in again")
        assert await other.run("1", "{ __typename }") == {"data": {"__typename": "Query"}}


async def test_socket_closes_when_the_user_is_deactivated(client: Client, ida: Person, sign_up: SignUp) -> None:
    anna = await sign_up("anna", admin=True)
    async with socket(client, by=ida) as one:
        data = await client.data(DEACTIVATE, by=anna, id=ida.id)
        assert data["updateUser"]["userErrors"] == []
        assert (await one.closed())[0] == 4403


async def test_socket_closes_when_the_rights_of_the_user_change(
    client: Client, sign_up: SignUp, superuser: Driver
) -> None:
    anna = await sign_up("anna", admin=True)
    async with socket(client, by=anna) as one:
        await superuser.execute("UPDATE users SET role = 'member' WHERE id = $1", anna.number)
        assert await one.closed() == (4403, "the rights of the user have changed; connect again")


async def test_socket_closes_when_its_token_expires(
    client: Client, ida: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with socket(client, by=ida) as one:
        assert (await one.run("1", "{ viewer { username } }"))["data"] == {"viewer": {"username": "ida"}}
        later = time.time() + 10_000
        monkeypatch.setattr(time, "time", lambda: later)
        assert await one.closed() == (4403, "the access token has expired; connect again with a new one")


async def test_stream_ends_with_an_error_when_the_user_signs_out(client: Client, ida: Person) -> None:
    async with stream(client, PUBLISHED, by=ida) as events:
        await until_open(client, 1)
        await client.data(SIGN_OUT, by=ida)
        name, data = await events.next()
        assert (name, data["errors"][0]["extensions"]["code"]) == ("next", "UNAUTHENTICATED")
        assert await events.next() == ("complete", None)
        assert await events.ended()
    await until_open(client, 0)


async def test_sessions_of_many_sockets_are_checked_by_one_statement(
    app: FastAPI, client: Client, sign_up: SignUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [await sign_up(f"user_{number}") for number in range(5)]
    monkeypatch.setattr(connections, "SESSION_CHECK_S", 1000)
    async with AsyncExitStack() as stack:
        for person in people:
            for _ in range(2):
                await stack.enter_async_context(socket(client, by=person))
        await asyncio.sleep(0.2)  # the last check with the short interval
        before = client.database.counters.statements
        await app.state.live.check(client.database)
        assert client.database.counters.statements == before + 1


async def test_database_that_does_not_answer_ends_no_socket(
    client: Client, ida: Person, database_url: str, superuser: Driver
) -> None:
    async with socket(client, by=ida) as one:
        async with locked(database_url, "sessions"):

            async def is_checking() -> bool:
                return await waiting(superuser) > 0

            await until(is_checking, "the check of the session")
        assert (await one.run("1", "{ viewer { username } }"))["data"] == {"viewer": {"username": "ida"}}
