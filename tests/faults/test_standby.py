"""A real standby: it serves reads and audits, reports that it is read-only, and accepts writes after its promotion."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from alembic import command
from pydantic import SecretStr

from db.connections.database import Database
from db.connections.leases import Driver
from db.embedded.places import PORT, SOCKET_NAME, prepare, run_program
from db.embedded.server import EmbeddedServer, embedded_postgres
from db.errors import Unavailable
from db.ledger.audit import audit
from db.settings import Settings
from db.setup.schema_version import alembic_config
from tests.db.support.backends import connected_superuser
from tests.db.support.clusters import reachable_directory
from tests.db.support.rows import new_account, new_user
from tests.faults import operations
from tests.faults.served import error_counts, served, settle
from tests.graph.support.served_app import until

pytestmark = pytest.mark.long("a primary and its standby")

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
    """A standby of another server; it streams from it until the block ends."""
    with reachable_directory() as path:
        cluster = prepare(path / "standby")
        run_program(
            cluster,
            "pg_basebackup",
            *("--pgdata=pgdata", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
            *(f"--host={of.socket_dir}", f"--port={PORT}", "--username=postgres"),
        )
        # The data directory contains the primary's socket and the lock of the socket.
        (cluster.pgdata / f"{SOCKET_NAME}.lock").unlink(missing_ok=True)
        # A standby must allow at least as many connections as its primary.
        options = f"-c listen_addresses= -c unix_socket_directories=. -c port={PORT} -c max_connections=100"
        run_program(cluster, "pg_ctl", "start", "--pgdata=pgdata", "--log=server.log", "--wait", f"--options={options}")
        try:
            yield EmbeddedServer(cluster.pgdata, cluster.log_file)
        finally:
            run_program(cluster, "pg_ctl", "stop", "--pgdata=pgdata", "--mode=immediate", "--wait")


async def caught_up(standby: Driver, primary: Driver) -> bool:
    """Return whether the standby has replayed everything that the primary has written by now."""
    written = await primary.fetchval("SELECT pg_current_wal_insert_lsn()::text")
    return bool(await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written))


def settings_for(settings: Settings, server: EmbeddedServer) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(server.url())})


async def test_standby_refuses_writes_with_a_named_error_and_accepts_them_after_promotion(
    settings: Settings, primary: EmbeddedServer
) -> None:
    with standby(primary) as follower:
        async with (
            connected_superuser(follower.url()) as behind,
            connected_superuser(primary.url()) as ahead,
            served(settings_for(settings, primary)) as first,
            served(settings_for(settings, follower)) as second,
        ):
            town = await settle(first)

            async def level() -> bool:
                return await caught_up(behind, ahead)

            await until(level, "replication")
            there = replace(town, client=second)
            for kind in [*operations.READS, *operations.SNAPSHOTS] * 2:
                assert await kind.send(there) == await kind.send(town)
            for kind in WRITES:
                [error] = (await kind.send(there))["errors"]
                assert error["extensions"]["code"] == "DATABASE_UNAVAILABLE"
                assert "no writes" in error["message"]
            ready = await second.http.get("/readyz")
            assert (ready.status_code, "no writes" in ready.json()["reason"]) == (503, True)

            assert await behind.fetchval("SELECT pg_promote()")
            assert error_counts([await kind.send(there) for kind in WRITES]) == {}
            assert (await second.http.get("/readyz")).json() == {"status": "ok"}


async def test_standby_is_audited_like_the_primary_and_reports_what_ends_its_snapshot(
    settings: Settings, primary: EmbeddedServer
) -> None:
    with standby(primary) as follower:
        async with connected_superuser(follower.url()) as behind, connected_superuser(primary.url()) as ahead:
            first, second = Database(settings_for(settings, primary)), Database(settings_for(settings, follower))
            account = await new_account(first, await new_user(first), holding="5.00")

            async def level() -> bool:
                return await caught_up(behind, ahead)

            await until(level, "replication")
            expected = await audit(first)
            found = await audit(second)
            assert (found.clean, found.last, found.accounts) == (True, expected.last, expected.accounts)
            await ahead.execute("UPDATE accounts SET balance = balance + 1 WHERE id = $1", account)
            await until(level, "replication")
            assert (await audit(second)).differences == (await audit(first)).differences
            assert (await audit(second)).differences[0].id == account
            await ahead.execute("UPDATE accounts SET balance = balance - 1 WHERE id = $1", account)
            await first.close()
            await second.close()


# A delay for each row that is read from accounts with the application's rights.
SLOW = """
CREATE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN true; END $$;
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY slow ON accounts USING (slow());
"""
FAST_AGAIN = """
ALTER TABLE accounts DISABLE ROW LEVEL SECURITY;
DROP POLICY slow ON accounts;
DROP FUNCTION slow;
"""
SLEEPING = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')"


async def test_audit_that_a_standby_ends_reports_why_and_what_to_do(
    settings: Settings, primary: EmbeddedServer
) -> None:
    with standby(primary) as follower:
        async with connected_superuser(follower.url()) as behind, connected_superuser(primary.url()) as ahead:
            await ahead.execute(SLOW)
            await ahead.execute("INSERT INTO accounts (owner_id, currency_code) VALUES (1, 'EUR')")
            await behind.execute("ALTER SYSTEM SET max_standby_streaming_delay = 0")
            await behind.execute("SELECT pg_reload_conf()")
            database = Database(settings_for(settings, follower).model_copy(update={"statement_timeout_ms": 600_000}))

            async def level() -> bool:
                return await caught_up(behind, ahead)

            async def is_at_work() -> bool:
                return bool(await behind.fetchval(SLEEPING))

            await until(level, "replication")
            auditing = asyncio.create_task(audit(database))
            await until(is_at_work, "the audit")
            # Remove row versions that its snapshot still sees.
            await ahead.execute("UPDATE accounts SET currency_code = 'EUR'")
            await ahead.execute("VACUUM accounts")
            with pytest.raises(Unavailable, match="set hot_standby_feedback = on or raise max_standby_streaming_delay"):
                await auditing
            await ahead.execute(FAST_AGAIN)
            await database.close()
