"""A surplus connection, opened under load, is closed when no caller waits for it; the close affects no request.

Whatever happens during the close, the request that last used the connection has its answer; a committed write is
reported as committed.
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
from tests.faults.served import error_counts, served, settle
from tests.graph.support.served_app import waiting
from tests.running.amounts import sample

ROUNDS = 3
POLLS_MAX = 300
POLL_S = 0.005
OPERATIONS = [operations.transfer, operations.update_post, operations.transfer, operations.money, operations.page]
GOODBYE = b"X\x00\x00\x00\x04"  # PostgreSQL's message Terminate


class SilentAtClose(Proxy):
    """A proxy of a database that drops all bytes of a connection once its client starts to close it.

    Attributes:
        breaks: Whether it does so; otherwise it is an ordinary proxy.
    """

    breaks = True

    async def _forward(
        self, connection: Connection, writer: asyncio.StreamWriter, data: bytes, *, to_client: bool
    ) -> bool:
        if self.breaks and not to_client and data.endswith(GOODBYE):
            connection.is_lost = True
        return await super()._forward(connection, writer, data, to_client=to_client)


@asynccontextmanager
async def silent_at_close(database_url: str) -> AsyncIterator[SilentAtClose]:
    """Put the proxy between the server and the database."""
    options = parse_qs(urlsplit(database_url).query)
    proxy = SilentAtClose(options["host"][0], int(options["port"][0]))
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()


async def lock_until_connections_overflow(database_url: str, started: asyncio.Event) -> None:
    """Hold the statements of more callers than there are regular connections."""
    async with (
        connected_superuser(database_url) as superuser,
        connected_superuser(database_url) as holder,
        holder.transaction(),
    ):
        await holder.execute("LOCK TABLE posts, accounts IN ACCESS EXCLUSIVE MODE")
        started.set()
        for _ in range(POLLS_MAX):
            if await waiting(superuser) > 1:
                return
            await asyncio.sleep(POLL_S)


@pytest.mark.parametrize("engine", sample(["compiled", "ordinary"], every=2))
async def test_connection_that_goes_dark_while_it_is_closed_changes_no_answer(
    settings: Settings, database_url: str, engine: str
) -> None:
    async with silent_at_close(database_url) as proxy:
        with_client = SecretStr(proxy.url(database_url))
        async with served(
            settings, engine=engine, database_url=with_client, pool_size=1, pool_max_overflow=3
        ) as client:
            town = await settle(client)
            answers: list[operations.Body] = []
            for _ in range(ROUNDS):
                started = asyncio.Event()
                locking = asyncio.create_task(lock_until_connections_overflow(database_url, started))
                await started.wait()
                answers += await asyncio.gather(*(send(town) for send in OPERATIONS))
                await locking
            proxy.breaks = False  # the other connections close normally
            assert error_counts(answers) == {}
            assert proxy.counts.accepted > 1
            assert await town.bank.balance(town.payee_account) == f"{2 * ROUNDS / 100:.2f}"
