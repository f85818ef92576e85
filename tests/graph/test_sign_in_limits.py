"""Guessing passwords: who guesses waits, ever longer, and nobody else does; the owner is told."""

import asyncio
import logging
from typing import Any

import pytest

from db.connections.leases import Driver
from tests.graph.callers import PASSWORD, Client, Person, SignUp

SIGN_IN = """mutation($login: String!, $password: String!) { signIn(input: {login: $login, password: $password}) {
    accessToken failedSignIns viewer { username } userErrors { field message code }
} }"""
WRONG = "a wrong password"
HOME, STRANGER = "192.0.2.10", "198.51.100.66"
GUESSES = 11


async def sign_in(client: Client, address: str, login: str = "ada", password: str = PASSWORD) -> dict[str, Any]:
    """Sign in from an address, as the proxy that stands before the server tells it."""
    body = {"query": SIGN_IN, "variables": {"login": login, "password": password}}
    response = await client.http.post("/graphql", json=body, headers={"x-forwarded-for": address})
    payload: dict[str, Any] = response.json()["data"]["signIn"]
    return payload


def codes(payload: dict[str, Any]) -> list[str]:
    return [error["code"] for error in payload["userErrors"]]


@pytest.fixture
async def ada(sign_up: SignUp) -> Person:
    return await sign_up("ada")


async def test_stranger_who_guesses_locks_nobody_out_but_themself(client: Client, ada: Person, sign_up: SignUp) -> None:
    await sign_up("bob")
    assert codes(await sign_in(client, HOME)) == []
    guesses = [await sign_in(client, STRANGER, password=WRONG) for _ in range(GUESSES)]
    assert [codes(guess) for guess in guesses] == [["INVALID_CREDENTIALS"]] * 10 + [["TOO_MANY_ATTEMPTS"]]
    assert guesses[-1]["userErrors"][0]["message"] == "too many attempts; try again in 30 seconds"
    # The right password does not help the stranger, who would else know that it is right.
    assert codes(await sign_in(client, STRANGER)) == ["TOO_MANY_ATTEMPTS"]
    for address in (HOME, "203.0.113.5"):
        assert (codes(await sign_in(client, address)), codes(await sign_in(client, address, "bob"))) == ([], [])
    assert codes(await sign_in(client, STRANGER, "bob")) == []


async def test_user_signs_in_where_they_have_before_while_many_addresses_guess(client: Client, ada: Person) -> None:
    assert codes(await sign_in(client, HOME)) == []

    async def guess(number: int) -> list[str]:
        return codes(await sign_in(client, f"198.51.100.{number}", password=WRONG))

    answers = await asyncio.gather(*(guess(number) for number in range(150)))
    assert answers.count(["INVALID_CREDENTIALS"]) == 100
    assert answers.count(["TOO_MANY_ATTEMPTS"]) == 50
    assert codes(await sign_in(client, "203.0.113.5")) == ["TOO_MANY_ATTEMPTS"]
    assert [codes(await sign_in(client, HOME, login)) for login in ("ada", "ADA@example.com")] == [[], []]
    assert await client.data("{ viewer { username } }", by=ada) == {"viewer": {"username": "ada"}}


async def test_address_of_a_known_one_is_its_network_in_ipv6(client: Client, ada: Person) -> None:
    assert codes(await sign_in(client, "2001:db8:0:1::1")) == []
    for number in range(GUESSES):
        await sign_in(client, f"2001:db8:0:2::{number:x}", password=WRONG)
    assert codes(await sign_in(client, "2001:db8:0:2::ffff")) == ["TOO_MANY_ATTEMPTS"]
    assert codes(await sign_in(client, "2001:db8:0:1::2")) == []


async def test_owner_is_told_how_many_attempts_have_failed(
    client: Client, ada: Person, caplog: pytest.LogCaptureFixture, superuser: Driver
) -> None:
    caplog.set_level(logging.WARNING)
    assert (await sign_in(client, HOME))["failedSignIns"] == 0
    failed = [(await sign_in(client, STRANGER, login, WRONG))["failedSignIns"] for login in ("ada", "ADA@example.com")]
    assert failed == [None, None]
    assert caplog.records == []
    for _ in range(GUESSES):
        await sign_in(client, STRANGER, password=WRONG)
    [record] = caplog.records
    assert record.__dict__["fields"] == {"user_id": ada.number, "wait_s": 30, "known_address": False}
    # Those that came too early were not looked at, and are not told.
    assert (await sign_in(client, HOME))["failedSignIns"] == 11
    assert (await sign_in(client, HOME))["failedSignIns"] == 0
    # No address is kept in clear.
    places = str([dict(row) for row in await superuser.fetch("SELECT * FROM sign_in_places")])
    assert places.count("place") == 1
    assert HOME not in places
