"""Guessing passwords: only the guesser has to wait, longer each time; the owner of the login is informed."""

import asyncio
import datetime
import logging
from typing import Any

import pytest
from pydantic import SecretStr

from db.connections.leases import Driver
from db.repositories.sign_ins import PLACE_KEPT_S
from db.repositories.sweeping import sweep
from db.settings import Settings
from graph.runtime.tokens import Device, TokenSigner
from tests.conftest import SECRET_KEY
from tests.graph.support.callers import PASSWORD, Client, Person, SignUp

SIGN_IN = """mutation($input: SignInInput!) { signIn(input: $input) {
    accessToken refreshToken deviceToken failedSignIns viewer { username } userErrors { field message code }
} }"""
WRONG = "a wrong password"
HOME, STRANGER = "192.0.2.10", "198.51.100.66"
GUESSES = 11


async def sign_in(
    client: Client, address: str, login: str = "ada", password: str = PASSWORD, **device: str | None
) -> dict[str, Any]:
    """Sign in from an address that the proxy in front of the server reports."""
    body = {"query": SIGN_IN, "variables": {"input": {"login": login, "password": password, **device}}}
    response = await client.http.post("/graphql", json=body, headers={"x-forwarded-for": address})
    payload: dict[str, Any] = response.json()["data"]["signIn"]
    return payload


def codes(payload: dict[str, Any]) -> list[str]:
    return [error["code"] for error in payload["userErrors"]]


@pytest.fixture
async def ada(sign_up: SignUp) -> Person:
    return await sign_up("ada")


async def test_guesses_lock_out_only_the_guesser(client: Client, ada: Person, sign_up: SignUp) -> None:
    await sign_up("bob")
    assert codes(await sign_in(client, HOME)) == []
    guesses = [await sign_in(client, STRANGER, password=WRONG) for _ in range(GUESSES)]
    assert [codes(guess) for guess in guesses] == [["INVALID_CREDENTIALS"]] * 10 + [["TOO_MANY_ATTEMPTS"]]
    assert guesses[-1]["userErrors"][0]["message"] == "too many attempts; try again in 30 seconds"
    # Even the right password is refused: its success would confirm it to the stranger.
    assert codes(await sign_in(client, STRANGER)) == ["TOO_MANY_ATTEMPTS"]
    for address in (HOME, "203.0.113.5"):
        assert (codes(await sign_in(client, address)), codes(await sign_in(client, address, "bob"))) == ([], [])
    assert codes(await sign_in(client, STRANGER, "bob")) == []


async def test_user_signs_in_from_a_known_address_while_many_addresses_guess(client: Client, ada: Person) -> None:
    assert codes(await sign_in(client, HOME)) == []

    async def guess(number: int) -> list[str]:
        return codes(await sign_in(client, f"198.51.100.{number}", password=WRONG))

    answers = await asyncio.gather(*(guess(number) for number in range(150)))
    assert answers.count(["INVALID_CREDENTIALS"]) == 100
    assert answers.count(["TOO_MANY_ATTEMPTS"]) == 50
    assert codes(await sign_in(client, "203.0.113.5")) == ["TOO_MANY_ATTEMPTS"]
    assert [codes(await sign_in(client, HOME, login)) for login in ("ada", "ADA@example.com")] == [[], []]
    assert await client.data("{ viewer { username } }", by=ada) == {"viewer": {"username": "ada"}}


async def test_known_ipv6_address_stands_for_its_network(client: Client, ada: Person) -> None:
    assert codes(await sign_in(client, "2001:db8:0:1::1")) == []
    for number in range(GUESSES):
        await sign_in(client, f"2001:db8:0:2::{number:x}", password=WRONG)
    assert codes(await sign_in(client, "2001:db8:0:2::ffff")) == ["TOO_MANY_ATTEMPTS"]
    assert codes(await sign_in(client, "2001:db8:0:1::2")) == []


async def test_owner_sees_how_many_attempts_have_failed(
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
    assert record.__dict__["fields"] == {"user_id": ada.number, "wait_s": 30, "known_place": False}
    # Attempts that were refused as too early were not checked, and are not reported.
    assert (await sign_in(client, HOME))["failedSignIns"] == 11
    assert (await sign_in(client, HOME))["failedSignIns"] == 0
    # No address is stored in clear text.
    places = str([dict(row) for row in await superuser.fetch("SELECT * FROM sign_in_places")])
    assert places.count("place") == 1
    assert HOME not in places


# ---------------------------------------------------------------- over a long time


async def pass_time(superuser: Driver, seconds: int) -> None:
    """Move all recorded events `seconds` into the past."""
    by = datetime.timedelta(seconds=seconds)
    attempts = (
        "UPDATE sign_in_attempts SET retry_at = retry_at - $1::interval, window_ends_at = window_ends_at - $1::interval"
    )
    await superuser.execute(attempts, by)
    await superuser.execute("UPDATE sign_in_places SET seen_at = seen_at - $1::interval", by)


@pytest.mark.long("three months of guesses")
async def test_known_address_is_never_delayed_by_an_attack_of_several_months(
    client: Client, ada: Person, superuser: Driver, settings: Settings
) -> None:
    assert codes(await sign_in(client, HOME)) == []
    days = PLACE_KEPT_S // 86_400 - 1
    for day in range(days):
        # A few guesses an hour suffice: each as soon as the wait has ended, from new addresses and an old one.
        guesses = [await sign_in(client, f"198.51.{day}.{number}", password=WRONG) for number in range(3)]
        guesses += [await sign_in(client, STRANGER, password=WRONG) for _ in range(GUESSES if day == 0 else 2)]
        assert {one for guess in guesses for one in codes(guess)} <= {"INVALID_CREDENTIALS", "TOO_MANY_ATTEMPTS"}
        if day % 10 == 0:
            await sweep(client.database, settings.refresh_token_ttl_s)
        await pass_time(superuser, 86_400)
    signed_in = await sign_in(client, HOME)
    assert codes(signed_in) == []
    assert signed_in["failedSignIns"] >= days
    # Each sign-in prolongs the time for which the address is known, even if attacks happen between two sign-ins.
    for _ in range(3):
        await pass_time(superuser, PLACE_KEPT_S - 60)
        await sweep(client.database, settings.refresh_token_ttl_s)
        for number in range(100):
            await sign_in(client, f"203.0.{number}.1", password=WRONG)
        assert codes(await sign_in(client, "203.0.113.5")) == ["TOO_MANY_ATTEMPTS"]
        assert codes(await sign_in(client, HOME)) == []


# ---------------------------------------------------------------- devices


async def attack(client: Client, address: str = HOME) -> None:
    """Use up all free attempts of an address."""
    guesses = [codes(await sign_in(client, address, password=WRONG)) for _ in range(GUESSES)]
    assert guesses[-1] == ["TOO_MANY_ATTEMPTS"]


async def test_device_is_not_delayed_by_others_behind_the_same_address(client: Client, ada: Person) -> None:
    device = (await sign_in(client, HOME))["deviceToken"]
    await attack(client)
    assert codes(await sign_in(client, HOME)) == ["TOO_MANY_ATTEMPTS"]
    for address in (HOME, "203.0.113.5"):
        for login in ("ada", " ADA@example.com "):
            again = await sign_in(client, address, login, deviceToken=device)
            assert codes(again) == []
            device = again["deviceToken"]
    # Others still have to wait at this address.
    assert codes(await sign_in(client, HOME, password=WRONG)) == ["TOO_MANY_ATTEMPTS"]


async def test_device_is_known_while_many_addresses_guess(client: Client, ada: Person) -> None:
    device = (await sign_in(client, HOME))["deviceToken"]
    await asyncio.gather(*(sign_in(client, f"198.51.100.{number}", password=WRONG) for number in range(110)))
    new = "203.0.113.5"
    assert codes(await sign_in(client, new)) == ["TOO_MANY_ATTEMPTS"]
    assert codes(await sign_in(client, new, deviceToken=device)) == []


async def test_stolen_device_token_does_not_help_to_guess_and_delays_the_owner_nowhere_else(
    client: Client, ada: Person
) -> None:
    first = await sign_in(client, HOME)
    following = await sign_in(client, HOME, deviceToken=first["deviceToken"])
    stolen = [first["deviceToken"], following["deviceToken"]]  # all tokens of one device count as one
    guesses = [
        codes(await sign_in(client, f"198.51.100.{number}", password=WRONG, deviceToken=stolen[number % 2]))
        for number in range(GUESSES)
    ]
    assert guesses == [["INVALID_CREDENTIALS"]] * 10 + [["TOO_MANY_ATTEMPTS"]]
    assert codes(await sign_in(client, HOME, deviceToken=stolen[0])) == ["TOO_MANY_ATTEMPTS"]
    assert codes(await sign_in(client, HOME)) == []


async def test_invalid_device_token_is_treated_as_absent(
    client: Client, ada: Person, sign_up: SignUp, settings: Settings
) -> None:
    await sign_up("bob")
    signed_in = await sign_in(client, HOME)
    bobs = (await sign_in(client, HOME, "bob"))["deviceToken"]
    good = signed_in["deviceToken"]
    other = settings.model_copy(update={"secret_key": SecretStr(SECRET_KEY[::-1])})
    read = client.services.tokens.read_device(good)
    assert read is not None
    bad = [
        *["", "x", "x" * 100_000, good[:-2], good + "x", bobs, ada.token],
        *[signed_in["accessToken"], signed_in["refreshToken"]],
        TokenSigner(other).sign_device(read, 60),
        client.services.tokens.sign_device(read, -1),
        client.services.tokens.sign_device(Device.new(ada.number, "another hash"), 60),
    ]
    await attack(client)
    for token in (None, *bad):
        assert (token, codes(await sign_in(client, HOME, deviceToken=token))) == (token, ["TOO_MANY_ATTEMPTS"])
        answer = await sign_in(client, f"203.0.113.{bad.index(token) if token in bad else 99}", deviceToken=token)
        assert codes(answer) == []
    assert codes(await sign_in(client, HOME, deviceToken=good)) == []


async def test_device_token_gives_no_access(client: Client, ada: Person) -> None:
    device = (await sign_in(client, HOME))["deviceToken"]
    response = await client.http.post(
        "/graphql", json={"query": "{ viewer { id } }"}, headers={"authorization": f"Bearer {device}"}
    )
    assert response.status_code == 401
    refresh = "mutation($t: String!) { refreshSession(input: {refreshToken: $t}) { userErrors { code } } }"
    answer = await client.data(refresh, t=device)
    assert answer["refreshSession"]["userErrors"] == [{"code": "INVALID_REFRESH_TOKEN"}]


async def test_new_password_invalidates_device_tokens(client: Client, ada: Person) -> None:
    """Otherwise a person who knew the old password could have collected any number of device tokens."""
    device, new = (await sign_in(client, HOME))["deviceToken"], "a new and better one"
    change = "mutation($input: UpdateUserInput!) { updateUser(input: $input) { userErrors { code } } }"
    given = {"id": ada.id, "password": new, "currentPassword": PASSWORD}
    assert await client.data(change, by=ada, input=given) == {"updateUser": {"userErrors": []}}
    await attack(client)
    assert codes(await sign_in(client, HOME, password=new, deviceToken=device)) == ["TOO_MANY_ATTEMPTS"]
    following = (await sign_in(client, "203.0.113.5", password=new, deviceToken=device))["deviceToken"]
    assert codes(await sign_in(client, HOME, password=new, deviceToken=following)) == []
