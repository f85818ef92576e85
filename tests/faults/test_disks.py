"""A full or broken disk of the database: clients get a named error, no transfer is half done, and service resumes.

The write-ahead log and the tables are each on a small file system, whose errors are the kernel's own.
"""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from pydantic import SecretStr

from bench.soak.processes import Cluster
from db.connections.faults import DRIVER_ERRORS
from db.embedded.server import EmbeddedError, EmbeddedServer, embedded_postgres
from db.settings import Settings
from db.setup.schema_version import alembic_config
from tests.conftest import superuser_execute
from tests.db.support.backends import connected_superuser
from tests.db.support.clusters import reachable_directory
from tests.faults import operations
from tests.faults.disks import Disk, disk_for
from tests.faults.recovery import Health
from tests.faults.served import Town, codes, error_counts, served, served_by_process, settle
from tests.faults.storms import Storm, storm, with_client

pytestmark = pytest.mark.long("servers on disks of their own")

OPTIONS = {"min_wal_size": "32MB", "max_wal_size": "64MB", "wal_recycle": "off", "recovery_init_sync_method": "syncfs"}
TIMES = {"operation_deadline_ms": 10_000, "statement_timeout_ms": 2000, "pool_size": 5, "pool_max_overflow": 3}
REFUSED = 24
RUNNING_S = 60
FULL = "the database's disk is full; try again later"
BROKEN = "the database cannot read or write its files; try again later"
SEGMENT_LEFT = "SELECT 16777216 - file_offset FROM pg_walfile_name_offset(pg_current_wal_insert_lsn())"
NEARLY_BYTES = 100_000  # room for some hundred transfers

_numbers = itertools.count(1)


@dataclass(frozen=True)
class OnDisks:
    """A PostgreSQL whose write-ahead log and whose tables are each on a small disk."""

    server: EmbeddedServer
    cluster: Cluster
    wal: Disk
    tables: Disk

    def repair(self, disk: Disk) -> None:
        """Mount a disk again, and restart the database."""
        with contextlib.suppress(OSError):  # it may have stopped already
            self.cluster.kill()
        disk.replace()
        self.cluster.start()

    async def ensure_running(self) -> None:
        """Restart the database if it has stopped, and return when it has recovered."""
        async with asyncio.timeout(RUNNING_S):
            while True:
                try:
                    async with connected_superuser(self.server.url()):
                        return
                except asyncpg.CannotConnectNowError:
                    await asyncio.sleep(0.1)
                except OSError:
                    with contextlib.suppress(EmbeddedError):  # it had not stopped yet
                        await asyncio.to_thread(self.cluster.start)


@pytest.fixture(scope="module")
def on_disks() -> Iterator[OnDisks]:
    """A PostgreSQL on such disks; the database `folio` is migrated and serves as a template."""
    with reachable_directory() as path:
        data = path / "data"
        with embedded_postgres(data) as server:
            command.upgrade(alembic_config(server.url()), "head")
        with (
            disk_for(data / "pgdata/pg_wal", path / "wal.img", mib=96) as wal,
            disk_for(data / "pgdata/base", path / "tables.img", mib=160) as tables,
            embedded_postgres(data, options=OPTIONS) as server,
        ):
            yield OnDisks(server, Cluster(data, OPTIONS), wal, tables)


@dataclass(frozen=True)
class Bank:
    """Users with money on those disks, and a server in a separate process.

    Attributes:
        url: the URL of their database.
    """

    town: Town
    disks: OnDisks
    url: str

    async def readiness(self) -> tuple[int, str | None]:
        """Return status and reason of `/readyz`."""
        answer = await self.town.client.http.get("/readyz")
        return answer.status_code, answer.json().get("reason")

    async def health(self) -> Health:
        """Return the state of the server while nothing is broken."""
        return await Health.of(self.town, self.url, TIMES["pool_size"] + TIMES["pool_max_overflow"])

    async def ensure_settled(self, one: Storm) -> None:
        """Compare the ledger with the responses."""
        async with connected_superuser(self.url) as superuser:
            await one.settle(superuser)


@pytest.fixture
async def bank(settings: Settings, on_disks: OnDisks) -> AsyncIterator[Bank]:
    """A bank in a new database."""
    name = f"disks_{next(_numbers)}"
    await superuser_execute(on_disks.server, f"CREATE DATABASE {name} TEMPLATE folio OWNER folio")
    url = on_disks.server.url(name)
    async with served(settings.model_copy(update={"database_url": SecretStr(url)})) as client:
        town = await settle(client)
    async with served_by_process(town.client, **TIMES) as other_process:
        yield Bank(with_client(other_process.client, town), on_disks, url)


# ---------------------------------------------------------------- full


async def test_transfers_while_the_disk_of_the_tables_is_full_are_refused_and_resume_when_there_is_space(
    bank: Bank,
) -> None:
    health = await bank.health()
    async with storm(bank.town) as one:
        await one.ensure_made(50)
        await asyncio.to_thread(bank.disks.tables.fill)
        try:
            await one.ensure_refused(REFUSED)
            readiness = await bank.readiness()
        finally:
            bank.disks.tables.make_room()
        await one.ensure_made(50)
    assert readiness == (503, FULL)
    assert one.messages == {FULL}
    await bank.ensure_settled(one)
    await health.ensure_recovered("a full disk")


async def test_transfers_while_the_disk_of_the_log_is_full_are_settled_or_refused_and_resume_after_a_restart(
    bank: Bank,
) -> None:
    health = await bank.health()
    async with storm(bank.town) as one:
        await one.ensure_made(50)
        await asyncio.to_thread(bank.disks.wal.fill)
        try:
            # PostgreSQL closes all connections, recovers, has no space for its checkpoint, and stops.
            await run_out(bank, one)
            await one.ensure_refused(REFUSED)
            status, _ = await bank.readiness()
        finally:
            bank.disks.wal.make_room()
            await bank.disks.ensure_running()
        await one.ensure_made(50)
    assert status == 503
    await bank.ensure_settled(one)
    await health.ensure_recovered("a full disk")


async def run_out(bank: Bank, one: Storm) -> None:
    """Write until the log's current file and its preallocated files are nearly full: payers then need a new file."""
    async with connected_superuser(bank.url) as superuser:
        while not one.errors and not superuser.is_closed():
            with contextlib.suppress(*DRIVER_ERRORS):  # the server may stop during the write
                filling = max(await superuser.fetchval(SEGMENT_LEFT) - NEARLY_BYTES, 0)
                await superuser.execute(f"SELECT pg_logical_emit_message(false, '', repeat('x', {filling}))")
            await asyncio.sleep(0.5)


# ---------------------------------------------------------------- broken


@pytest.mark.parametrize(
    ("part", "breaks"),
    [("tables", Disk.break_down), ("tables", Disk.turn_read_only), ("wal", Disk.turn_read_only)],
    ids=["tables, errors", "tables, read only", "log, read only"],
)
async def test_transfers_while_a_disk_is_broken_are_settled_or_refused_with_a_named_error(
    bank: Bank, part: str, breaks: Callable[[Disk], None]
) -> None:
    disk: Disk = getattr(bank.disks, part)
    async with storm(bank.town) as one:
        await one.ensure_made(50)
        await asyncio.to_thread(breaks, disk)
        try:
            await one.ensure_refused(REFUSED)
            status, _ = await bank.readiness()
        finally:
            await asyncio.to_thread(bank.disks.repair, disk)
        await one.ensure_made(50)
    assert status == 503
    await bank.ensure_settled(one)


# ---------------------------------------------------------------- damaged


def overwrite(file: Path) -> None:
    file.write_bytes(b"\xff" * file.stat().st_size)


def forbid(file: Path) -> None:
    file.chmod(0)


async def test_unreadable_table_is_a_named_error_and_operations_without_it_are_served(bank: Bank) -> None:
    needing, others = [operations.transfer, operations.balance, operations.money], [operations.page, operations.lookup]
    async with connected_superuser(bank.url) as superuser:
        before = await superuser.fetch("SELECT id, balance FROM accounts ORDER BY id")
        path = await superuser.fetchval("SELECT pg_relation_filepath('accounts')")
        await superuser.execute("CHECKPOINT")
    for damage in (overwrite, Path.unlink, forbid):
        with damaged(bank.disks.cluster, path, damage):
            for send in needing * 2:
                body = await send(bank.town)
                assert codes(body) == ["DATABASE_UNAVAILABLE"]
                [error] = body["errors"]
                assert (error["message"], "outcomeUnknown" in error["extensions"]) == (BROKEN, False)
            assert error_counts([await send(bank.town) for send in others]) == {}
            assert await bank.readiness() == (503, BROKEN)
    async with connected_superuser(bank.url) as superuser:
        assert await superuser.fetch("SELECT id, balance FROM accounts ORDER BY id") == before
    assert error_counts([await send(bank.town) for send in [*needing, *others]]) == {}


@contextmanager
def damaged(cluster: Cluster, path: str, damage: Callable[[Path], None]) -> Iterator[None]:
    """Damage a file of the database until the block ends; PostgreSQL has none of it in memory."""
    file = cluster.data_dir / "pgdata" / path
    kept, state = file.read_bytes(), file.stat()
    cluster.kill()
    damage(file)
    cluster.start()
    try:
        yield
    finally:
        cluster.kill()
        file.write_bytes(kept)
        file.chmod(state.st_mode)
        os.chown(file, state.st_uid, state.st_gid)
        cluster.start()
