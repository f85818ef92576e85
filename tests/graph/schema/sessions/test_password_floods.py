"""A flood of sign-ins delays only sign-ins: other requests are answered, and users can sign in again afterwards."""

import asyncio
from collections import Counter

import httpx
import pytest

from db.settings import Settings
from graph.runtime import passwords
from tests.graph.support.callers import Client
from tests.graph.support.served_app import is_alive, served

SIGN_IN = 'mutation { signIn(input: {login: "nobody", password: "wrong"}) { userErrors { code } } }'
BUSY = "too many passwords are being checked; try again shortly"

# A hash takes about a third of a second, and only one is computed at a time.
SLOW_HASHES = {"password_hash_memory_kib": 65_536, "password_hash_iterations": 6, "password_hash_threads": 1}


def signed_in_as(number: int) -> str:
    return SIGN_IN.replace("nobody", f"nobody{number}")


async def test_sign_ins_that_wait_take_no_slot(settings: Settings) -> None:
    async with served(settings, operations_in_flight_max=3, **SLOW_HASHES) as client:
        flood = [asyncio.create_task(client.post(signed_in_as(number))) for number in range(3)]
        while client.services.passwords.waiting < 3:
            await asyncio.sleep(0.01)
        others = [(await client.post("{ __typename }")).status_code for _ in range(3)]
        assert client.services.passwords.waiting
        statuses = [(await one).status_code for one in flood]
        assert await is_alive(client)
    assert (others, statuses) == ([200] * 3, [200] * 3)


async def test_sign_ins_beyond_the_queue_are_refused_at_once_and_the_queue_empties(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "WAITING_PER_THREAD_MAX", 4)
    async with served(settings, **SLOW_HASHES) as client:
        bodies = await asyncio.gather(*(client.run(signed_in_as(number)) for number in range(12)))
        found = Counter(
            (one["errors"][0]["message"], one["errors"][0]["extensions"]["code"]) if "errors" in one else None
            for one in bodies
        )
        assert found == {None: 4, (BUSY, "OVERLOADED"): 8}
        assert client.services.passwords.waiting == 0
        assert "errors" not in await client.run(SIGN_IN)


async def test_sign_ins_of_a_disconnected_client_leave_the_queue(settings: Settings) -> None:
    async with served(settings, operation_deadline_ms=300, **SLOW_HASHES) as client:
        statuses = {
            one.status_code for one in await asyncio.gather(*(client.post(signed_in_as(number)) for number in range(8)))
        }
        assert (503 in statuses, client.services.passwords.waiting) == (True, 0)


async def test_sign_ins_of_an_address_are_limited_for_all_callers(settings: Settings) -> None:
    async with served(settings, passwords_per_minute_per_address_max=3) as client:
        statuses = [(await client.post(signed_in_as(number))).status_code for number in range(3)]
        refused = await client.post(SIGN_IN)
        seconds = refused.headers["retry-after"]
        left = refused.headers["ratelimit"].split(";")[1].removeprefix("r=")
        assert await is_alive(client)
        transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
        async with httpx.AsyncClient(base_url=client.http.base_url, transport=transport) as http:
            elsewhere = await Client(http, client.services).post(SIGN_IN)
    assert (statuses, refused.status_code, elsewhere.status_code) == ([200] * 3, 429, 200)
    assert refused.headers["ratelimit-policy"] == '"sign-in";q=3;w=60'
    message = (
        "this operation counts as a sign-in, "
        f"and {left} of 3 a minute for all of this address are left; wait {seconds} s"
    )
    assert refused.json() == {"errors": [{"message": message, "extensions": {"code": "RATE_LIMITED"}}]}
