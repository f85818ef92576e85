"""Slow bodies block no other client: they take no slot, and no address has more than its share of them."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import orjson
import pytest

from db.settings import Settings
from graph.http.admission.places import NoPlaceError, Places
from tests.graph.support.callers import Client
from tests.graph.support.raw import query_body, request
from tests.graph.support.served_app import is_alive, posted, sent, served, until

SLOW = posted("{ __typename }", length=1000)

needs_loopback_network = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="has one loopback address")


@asynccontextmanager
async def sent_from(client: Client, address: str, data: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """Send bytes from an address of this machine."""
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port, local_addr=(address, 0))
    try:
        writer.write(data)
        yield reader
    finally:
        writer.close()


async def refusal(reader: asyncio.StreamReader) -> tuple[bytes, object]:
    """Return the status line of a response and the message of its first error."""
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r")[0])
        return head.split(b"\r\n")[0], orjson.loads(await reader.readexactly(length))["errors"][0]


async def test_bodies_that_do_not_arrive_take_no_slot(settings: Settings) -> None:
    async with served(settings, operations_in_flight_max=3) as client, AsyncExitStack() as stack:
        for _ in range(30):
            await stack.enter_async_context(sent(client, SLOW))
        await asyncio.sleep(0.2)
        answers = [await client.post("{ __typename }") for _ in range(5)]
        by_get = await client.http.get("/graphql?query={__typename}", headers={"accept": "application/json"})
    assert [one.status_code for one in [*answers, by_get]] == [200] * 6


async def test_body_that_arrives_in_pieces_is_answered_while_others_wait(settings: Settings) -> None:
    async with served(settings, operations_in_flight_max=1) as client, AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(sent(client, SLOW))
        raw = request(query_body("{ __typename }"))
        url = client.http.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        for part in (raw[:-5], raw[-5:]):
            writer.write(part)
            await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_address_has_no_more_than_its_share_of_the_pending_bodies(settings: Settings) -> None:
    async with served(settings, bodies_arriving_max=8) as client:
        async with sent(client, SLOW), sent(client, SLOW):
            await asyncio.sleep(0.2)
            async with sent(client, SLOW) as third:
                found = await refusal(third)
            assert await is_alive(client)
        message = (
            "too many requests wait for their bodies: 2 from this address already; "
            "send the body with the headers, or try again shortly"
        )
        assert found == (
            b"HTTP/1.1 503 Service Unavailable",
            {"message": message, "extensions": {"code": "OVERLOADED"}},
        )

        async def is_free() -> bool:
            async with sent(client, SLOW) as again:
                try:
                    async with asyncio.timeout(0.2):
                        return not await again.read(1)
                except TimeoutError:
                    return True

        await until(is_free, "the place of those who left")


@needs_loopback_network
async def test_addresses_with_the_most_bodies_make_room_for_others(settings: Settings) -> None:
    async with served(settings, bodies_arriving_max=8) as client, AsyncExitStack() as stack:
        attackers = [
            await stack.enter_async_context(sent_from(client, f"127.0.0.{2 + number // 2}", SLOW))
            for number in range(8)
        ]
        await asyncio.sleep(0.3)
        url = client.http.base_url
        reader, writer = await asyncio.open_connection(url.host, url.port)
        raw = request(query_body("{ __typename }"))
        writer.write(raw[:-5])
        found = await refusal(attackers[0])
        writer.write(raw[-5:])
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
    message = "too many requests wait for their bodies; send the body with the headers, or try again shortly"
    assert found == (b"HTTP/1.1 503 Service Unavailable", {"message": message, "extensions": {"code": "OVERLOADED"}})


def test_fairly_shared_slots_are_not_taken_by_one_more_address() -> None:
    places: Places[int] = Places(4)
    assert [places.take(address, number) for number, address in enumerate("abcd")] == [None] * 4
    with pytest.raises(NoPlaceError, match=r"^4 already$"):
        places.take("e", 4)
    places.leave("a", 0)
    places.leave("a", 0)
    assert (places.take("e", 4), places.taken) == (None, 4)
