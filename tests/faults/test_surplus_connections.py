"""A connection that was opened under load is closed when nobody waits for it: that is nobody's business but its own.

Whatever happens while it is closed, the request that was served on it before has its answer; a write that was
committed is told as one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from bench.soak.network_proxy import Connection, Proxy
from db.settings import Settings
from tests.db.support.backends import connected_superuser
from tests.faults import operations
from tests.faults.served import served, settle, told
from tests.graph.support.edge import waiting

ROUNDS = 3
POLLS_MAX = 300
POLL_S = 0.005
ASKED = [operations.transfer, operations.update_post, operations.transfer, operations.money, operations.page]
GOODBYE = b"X\x00\x00\x00\x04"  # PostgreSQL's message Terminate


class DarkAtGoodbye(Proxy):
    """A proxy of a database at which a connection goes dark when its client is about to close it.

    Attributes:
        breaks: Whether they do; where not, it is a proxy like others.
    """

    breaks = True

    async def _forward(
        self, connection: Connection, writer: asyncio.StreamWriter, data: bytes, *, to_client: bool
    ) -> bool:
        if self.breaks and not to_client and data.endswith(GOODBYE):
            connection.is_lost = True
        return await super()._forward(connection, writer, data, to_client=to_client)


@asynccontextmanager
async def going_dark(database_url: str) -> AsyncIterator[DarkAtGoodbye]:
    """Stand between the server and the database."""
    options = parse_qs(urlsplit(database_url).query)
    proxy = DarkAtGoodbye(options["host"][0], int(options["port"][0]))
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()


async def lock_until_connections_overflow(database_url: str, begun: asyncio.Event) -> None:
    """Hold up statements until two wait, which one connection cannot have."""
    async with (
        connected_superuser(database_url) as superuser,
        connected_superuser(database_url) as holder,
        holder.transaction(),
    ):
        await holder.execute("LOCK TABLE posts, accounts IN ACCESS EXCLUSIVE MODE")
        begun.set()
        for _ in range(POLLS_MAX):
            if await waiting(superuser) > 1:
                return
            await asyncio.sleep(POLL_S)


@pytest.mark.parametrize("engine", ["compiled", "ordinary"])
async def test_connection_that_goes_dark_while_it_is_closed_changes_no_answer(
    settings: Settings, database_url: str, engine: str
) -> None:
    async with going_dark(database_url) as proxy:
        through = SecretStr(proxy.url(database_url))
        async with served(settings, engine=engine, database_url=through, pool_size=1, pool_max_overflow=3) as client:
            town = await settle(client)
            answers: list[operations.Body] = []
            for _ in range(ROUNDS):
                begun = asyncio.Event()
                locking = asyncio.create_task(lock_until_connections_overflow(database_url, begun))
                await begun.wait()
                answers += await asyncio.gather(*(ask(town) for ask in ASKED))
                await locking
            proxy.breaks = False  # the rest is closed as ever
            assert told(answers) == {}
            assert proxy.counts.accepted > 1
            assert await town.bank.balance(town.till) == f"{2 * ROUNDS / 100:.2f}"
