"""The end of a snapshot or transaction: no caller uses its connection afterwards; and the kernel's keepalive."""

import asyncio
import socket
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from bench.soak.network_proxy import proxied_database
from db.connections import pool
from db.connections.database import OpenTransaction, Snapshot
from db.connections.leases import Driver
from db.connections.statements import Statement
from db.connections.transaction import ClosedTransactionError
from db.errors import Unavailable
from db.settings import async_url
from tests.db.support.backends import (
    BOXES,
    GATE,
    OpenDatabase,
    boxes,
    connected_superuser,
    increment,
    states,
    waiting_backend,
)

ONE = Statement(text("SELECT 1"))

pytestmark = pytest.mark.usefixtures("boxes_table")


async def test_read_still_running_at_the_end_of_a_snapshot_is_cancelled_before_its_connection_is_reused(
    open_database: OpenDatabase, closed_gate: Driver
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    async with database.read() as snapshot:
        reading = asyncio.create_task(snapshot.fetch(GATE, {}))
        queueing = asyncio.create_task(snapshot.fetch(BOXES, {}))
        await waiting_backend(closed_gate)
    assert (reading.cancelled(), queueing.cancelled()) == (True, True)
    assert await boxes(database) == [0, 0]
    assert (database.counters.connects, await states(closed_gate)) == (1, ["idle"])


async def test_ended_snapshot_and_transaction_refuse_to_fetch(open_database: OpenDatabase) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    kept: list[Snapshot | OpenTransaction] = []
    async with database.read() as snapshot:
        kept.append(snapshot)

    async def work(transaction: OpenTransaction) -> None:
        kept.append(transaction)
        await increment(transaction, 1)

    await database.write(work)
    for one in kept:
        with pytest.raises(ClosedTransactionError):
            await one.fetch(BOXES, {})
        with pytest.raises(ClosedTransactionError):
            _ = one.driver
    assert await boxes(database) == [1, 0]


async def test_error_that_ends_a_snapshot_reaches_all_its_readers(
    open_database: OpenDatabase, superuser: Driver
) -> None:
    database = open_database(pool_size=2, pool_max_overflow=0, lock_timeout_ms=50)
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE boxes IN ACCESS EXCLUSIVE MODE")
        async with database.read() as snapshot:
            for _ in range(2):
                with pytest.raises(Unavailable) as caught:
                    await snapshot.fetch(BOXES, {})
                assert caught.value.code == "DATABASE_BUSY"
        assert database.counters.statements == 1


async def test_work_in_a_snapshot_is_retried_after_a_lost_connection_even_if_it_hides_the_error(
    open_database: OpenDatabase, closed_gate: Driver
) -> None:
    database = open_database(pool_size=2, pool_max_overflow=0)
    tries: list[str] = []

    async def work(snapshot: Snapshot) -> str:
        try:
            await snapshot.fetch(GATE, {})
        except Unavailable as error:
            tries.append(error.code)
            return "an error in its place"
        tries.append("read")
        return "the rows"

    reading = asyncio.create_task(database.read_as_one(work))
    first = await waiting_backend(closed_gate)
    await closed_gate.execute("SELECT pg_terminate_backend($1)", first)
    await waiting_backend(closed_gate, without=first)
    await closed_gate.execute("SELECT pg_advisory_unlock(1)")
    assert (await reading, tries) == ("the rows", ["DATABASE_UNAVAILABLE", "read"])


async def test_table_that_a_snapshot_may_read_is_not_rewritten_before_its_end(
    open_database: OpenDatabase, database_url: str, superuser: Driver
) -> None:
    database = open_database(pool_size=1, pool_max_overflow=0)
    async with connected_superuser(database_url) as migrator:
        async with database.read(["boxes"]) as snapshot:
            await snapshot.fetch(ONE, {})
            # This snapshot would see a rewritten table as empty.
            migrating = asyncio.create_task(migrator.execute("ALTER TABLE boxes ALTER COLUMN n TYPE bigint"))
            await asyncio.sleep(0.1)
            assert [tuple(row) for row in await snapshot.fetch(BOXES, {})] == [(0,), (0,)]
            assert not migrating.done()
        await migrating
    assert await boxes(database) == [0, 0]


async def test_tcp_connections_have_keepalive(open_database: OpenDatabase, database_url: str) -> None:
    async with proxied_database(database_url) as proxy:
        database = open_database(database_url=SecretStr(async_url(proxy.url(database_url))))
        connection = await database.leases.take()
        driver: Any = connection.driver
        peer = driver._transport.get_extra_info("socket")  # noqa: SLF001 - the pool does the same
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == pool.KEEPALIVE_IDLE_S
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == pool.USER_TIMEOUT_MS
        database.leases.give_back(connection)
        await database.close()
