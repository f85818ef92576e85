"""Requests whose clients disconnect, at any byte and moment: they leave nothing behind, and keys show the outcome."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import orjson
import pytest

from db.settings import Settings
from tests.db.support.backends import POLL_S, POLLS_MAX, connected_superuser
from tests.faults import operations
from tests.faults.recovery import Health, metrics
from tests.faults.served import CREATE_POST, Town, served, served_by_process, settle
from tests.faults.storms import PAY, Payment, Storm, with_client
from tests.graph.support.bank import new_key
from tests.graph.support.callers import PASSWORD, Person
from tests.graph.support.served_app import reset
from tests.running.amounts import examples
from tests.running.repeating import Cases

REQUESTS = examples(500)
AT_ONCE = 25
POOL = {"pool_size": 5, "pool_max_overflow": 3}
CONNECTIONS_MAX = 8
LEAVES_AFTER_S = 0.03
TABLES = ["accounts", "posts", "users", "transactions"]


def raw(query: str, by: Person | None = None, **variables: Any) -> bytes:
    """Return a request as bytes on the wire."""
    body = orjson.dumps({"query": query, "variables": variables})
    head = (
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n"
    )
    authorization = f"authorization: Bearer {by.token}\r\n" if by else ""
    return f"{head}{authorization}\r\n".encode() + body


def requests(town: Town, storm: Storm, rng: Random) -> Sequence[bytes]:
    """Return requests of all kinds; the storm records the transfers among them."""
    payments = []
    for number in range(REQUESTS):
        kind = rng.randrange(7)
        if kind < 2:
            one = Payment(new_key())
            storm.payments.append(one)
            payments.append(raw(PAY, town.ida, input=storm.input_of(one)))
        else:
            payments.append(
                [
                    raw(operations.NESTED),
                    raw(operations.PAGE, town.eve),
                    raw(operations.MONEY, town.ida, id=town.payer_account),
                    raw(operations.SIGN_IN, input={"login": "ida", "password": PASSWORD}),
                    raw(CREATE_POST, town.ida, title=f"Post {number}"),
                ][kind - 2]
            )
    return payments


async def aborted(town: Town, request: bytes, rng: Random) -> None:
    """Send a request or a part of it, then disconnect: at once, later, or during the response; by FIN or by RST."""
    url = town.client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    when = rng.randrange(4)
    writer.write(request[: rng.randrange(len(request))] if when == 0 else request)
    if when != 1:
        await asyncio.sleep(rng.uniform(0, LEAVES_AFTER_S))
    if when == 2:
        await asyncio.wait_for(reader.read(rng.randrange(1, 300)), 20)
    if rng.random() < 0.5:
        reset(writer)
    elif rng.random() < 0.5:
        writer.write_eof()
    writer.close()


async def lock_repeatedly(url: str, rng: Random) -> None:
    """Lock a table briefly again and again, so that many requests are in the middle of a statement."""
    async with connected_superuser(url) as superuser:
        while True:
            async with superuser.transaction():
                await superuser.execute(f"LOCK TABLE {rng.choice(TABLES)} IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(LEAVES_AFTER_S)
            await asyncio.sleep(LEAVES_AFTER_S)


async def abort_all(town: Town, url: str, storm: Storm, rng: Random) -> None:
    """Send all requests, some concurrently, and read no response to its end."""
    waiting = list(requests(town, storm, rng))
    holding = asyncio.create_task(lock_repeatedly(url, rng))

    async def some() -> None:
        while waiting:
            await aborted(town, waiting.pop(), rng)

    async with asyncio.TaskGroup() as clients:
        for _ in range(AT_ONCE):
            clients.create_task(some())
    holding.cancel()
    await asyncio.wait([holding])


@asynccontextmanager
async def healthy(town: Town, url: str) -> AsyncIterator[Storm]:
    """Require that the block leaves nothing behind, and that the next requests are answered as before."""
    health, storm = await Health.of(town, url, CONNECTIONS_MAX), Storm(town)
    yield storm
    await health.ensure_recovered("aborted requests")
    async with connected_superuser(url) as superuser:
        rows = {row[0] for row in await superuser.fetch("SELECT key::text FROM idempotency_keys")}
        made = sum(one.key in rows for one in storm.payments)
        assert 0 < made < len(storm.payments)  # some transfers were made, and some were not
        await storm.settle(superuser)


@pytest.mark.long("a storm")
async def test_aborted_requests_leave_no_connection_lease_lock_or_file_behind(
    settings: Settings, database_url: str, cases: Cases
) -> None:
    rng = cases.random()
    async with served(settings) as client:
        town = await settle(client)
    async with served_by_process(town.client, **POOL) as other_process:
        town = with_client(other_process.client, town)
        async with healthy(town, database_url) as storm:
            files = (await metrics(town))["process_open_fds"]
            await abort_all(town, database_url, storm, rng)
        assert (await metrics(town))["process_open_fds"] <= files + CONNECTIONS_MAX


async def test_aborted_requests_leave_no_task_turn_or_share_behind(
    settings: Settings, database_url: str, cases: Cases
) -> None:
    rng = cases.random()
    async with served(settings, **POOL) as client:
        town = await settle(client)

        def kept() -> dict[str, int]:
            database = client.database
            return {
                "shares": len(database.shares),
                "turns": len(vars(database)["_turns"]),
                "transfers in line": len(vars(client.services.transfers)["_line"]),
                "tasks": len(asyncio.all_tasks()),
            }

        async with healthy(town, database_url) as storm:
            before = kept()
            await abort_all(town, database_url, storm, rng)
            for _ in range(POLLS_MAX):
                if kept() == before:
                    break
                await asyncio.sleep(POLL_S)
            assert kept() == before
