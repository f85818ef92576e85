"""A real standby: it is read from, says that it takes no writes, and takes them as soon as it is promoted."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from alembic import command
from pydantic import SecretStr

from db.connections.leases import Driver
from db.embedded import EmbeddedServer, embedded_postgres
from db.embedded_places import PORT, SOCKET_NAME, prepare, run_program
from db.migrating import alembic_config
from db.settings import Settings
from tests.db.backends import connected_superuser
from tests.db.clusters import reachable_directory
from tests.faults import operations
from tests.faults.served import served, settle, told
from tests.graph.edge import until

FAST = {"fsync": "off", "synchronous_commit": "off", "folio.throwaway": "on"}
WRITES = [*operations.SINGLE_STATEMENTS, *operations.TRANSACTIONS]


@pytest.fixture(scope="module")
def primary() -> Iterator[EmbeddedServer]:
    """A PostgreSQL whose database `folio` is migrated."""
    with reachable_directory() as path, embedded_postgres(path / "data", options=FAST) as server:
        command.upgrade(alembic_config(server.url()), "head")
        yield server


@contextmanager
def standby(of: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """A standby of another server, to which it goes on streaming for as long as the block runs."""
    with reachable_directory() as path:
        cluster = prepare(path / "standby")
        run_program(
            cluster,
            "pg_basebackup",
            *("--pgdata=pgdata", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
            *(f"--host={of.socket_dir}", f"--port={PORT}", "--username=postgres"),
        )
        # The primary's socket is among its data, and so is the lock of the socket.
        (cluster.pgdata / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)
        # A standby bears at least as many connections as its primary.
        options = f"-c listen_addresses= -c unix_socket_directories=. -c port={PORT} -c max_connections=100"
        run_program(cluster, "pg_ctl", "start", "--pgdata=pgdata", "--log=server.log", "--wait", f"--options={options}")
        try:
            yield EmbeddedServer(cluster.pgdata, cluster.log_file)
        finally:
            run_program(cluster, "pg_ctl", "stop", "--pgdata=pgdata", "--mode=immediate", "--wait")


async def caught_up(standby: Driver, primary: Driver) -> bool:
    """Say whether the standby has replayed all that the primary has written by now."""
    written = await primary.fetchval("SELECT pg_current_wal_insert_lsn()::text")
    return bool(await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written))


def at(settings: Settings, server: EmbeddedServer) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(server.url())})


async def test_standby_refuses_writes_by_name_and_takes_them_once_it_is_promoted(
    settings: Settings, primary: EmbeddedServer
) -> None:
    with standby(primary) as follower:
        async with (
            connected_superuser(follower.url()) as behind,
            connected_superuser(primary.url()) as ahead,
            served(at(settings, primary)) as first,
            served(at(settings, follower)) as second,
        ):
            town = await settle(first)

            async def level() -> bool:
                return await caught_up(behind, ahead)

            await until(level, "replication")
            there = replace(town, client=second)
            for kind in [*operations.READS, *operations.SNAPSHOTS] * 2:
                assert await kind.ask(there) == await kind.ask(town)
            for kind in WRITES:
                [error] = (await kind.ask(there))["errors"]
                assert error["extensions"]["code"] == "DATABASE_UNAVAILABLE"
                assert "no writes" in error["message"]
            ready = await second.http.get("/readyz")
            assert (ready.status_code, "no writes" in ready.json()["reason"]) == (503, True)

            assert await behind.fetchval("SELECT pg_promote()")
            assert told([await kind.ask(there) for kind in WRITES]) == {}
            assert (await second.http.get("/readyz")).json() == {"status": "ok"}
