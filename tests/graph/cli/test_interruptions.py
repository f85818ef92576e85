"""Ctrl-C at any moment: during the first import, while a command waits, in the middle of its work, during its COMMIT.

A command ends with exit code 130 and one line, which states whether its work was kept; never with a traceback.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import uvloop

from db.connections.database import Database, OpenTransaction
from db.embedded.server import EmbeddedServer
from graph.cli.support.terminal import Interrupted, interruptible, run_with_database
from graph.schema.root import schema_text
from tests.conftest import superuser_dsn
from tests.graph.cli.conftest import IDA, execute_as_superuser
from tests.graph.cli.test_serving import ROOT, free_port
from tests.graph.support.commands import CALLS, LIMIT_S, LINES, Needs, Running, called, start
from tests.running.amounts import sample

INTERRUPTED = 130

# The message of each command that writes, if it was interrupted before its commit.
UNDONE = {
    "seed": "nothing was seeded",
    "import": "nothing was imported",
    "export": "the output is not complete",
    "audit": "the audit is not complete",
    "user create": "no user was created",
    "user list": "the list is not complete",
    **dict.fromkeys(
        ("user promote", "user demote", "user activate", "user deactivate", "user set-password"), "nothing was changed"
    ),
    **dict.fromkeys(
        ("migrate upgrade", "migrate downgrade"),
        "each migration is applied completely or not at all; `folio migrate current` prints the database's revision",
    ),
}


# ---------------------------------------------------------------- the first second


@pytest.mark.parametrize("delay_ms", sample(range(0, 1500, 125), every=4))
def test_interruption_while_python_imports_shows_no_traceback_of_folio(delay_ms: int) -> None:
    script = "import re; from graph.cli import main; main()"  # the entry point that pip writes
    command = [sys.executable, "-c", script, "schema", "print"]
    with subprocess.Popen(  # noqa: S603 - constants
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        _wait_for_python(process.pid)
        time.sleep(delay_ms / 1000)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT_S)
    if process.returncode == INTERRUPTED:
        assert err == "folio: interrupted\n"
    elif process.returncode == 0:  # the signal was too late
        assert (out, err) == (schema_text(), "")
    else:  # Python prints its own traceback for a signal before our first line
        assert process.returncode in {1, -signal.SIGINT}
        assert "graph/cli/app.py" not in err


def _wait_for_python(pid: int) -> None:
    """Wait until the interpreter handles SIGINT, which it does before it imports any module."""
    mask = 1 << (signal.SIGINT - 1)
    for _ in range(LIMIT_S * 1000):
        status = Path(f"/proc/{pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) & mask:
            return
        time.sleep(0.001)
    raise AssertionError("the interpreter leaves SIGINT alone")


# ---------------------------------------------------------------- while it waits for the database


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'"


@asynccontextmanager
async def locked(server: EmbeddedServer, database_url: str, table: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Lock a table; yield a function that waits until a statement waits for the lock."""
    name = database_url.partition("?")[0].rpartition("/")[2]
    holder, watcher = [await asyncpg.connect(superuser_dsn(server, name)) for _ in range(2)]
    await holder.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

    async def awaited() -> None:
        for _ in range(LIMIT_S * 50):
            if await watcher.fetchval(WAITING, name):
                return
            await asyncio.sleep(0.02)
        raise AssertionError("no statement waits")

    try:
        yield awaited
    finally:
        await holder.close()
        await watcher.close()


@pytest.mark.parametrize("command", [name for name, (_, needs) in CALLS.items() if needs & Needs.DATABASE])
async def test_command_that_waits_for_the_database(
    command: str, database_url: str, server: EmbeddedServer, files: Path
) -> None:
    if command != "seed":
        await execute_as_superuser(server, database_url, IDA)
    async with locked(server, database_url, "alembic_version") as awaited:
        arguments = called(command, files, free_port())
        running = start(arguments, files / "work", FOLIO_DATABASE_URL=database_url)
        await awaited()
        await assert_interrupted(running, UNDONE.get(command))


async def assert_interrupted(running: Running, undone: str | None) -> None:
    running.interrupt()
    ended = await asyncio.to_thread(running.ended)
    line = f"folio: interrupted; {undone}\n" if undone else "folio: interrupted\n"
    assert (ended.code, ended.err, ended.out) == (INTERRUPTED, line, "")


@pytest.mark.parametrize("command", ["seed", "import", "user create", "user set-password"])
async def test_command_in_the_middle_of_its_write(
    command: str, database_url: str, server: EmbeddedServer, files: Path
) -> None:
    if command == "user set-password":
        await execute_as_superuser(server, database_url, IDA)
    async with locked(server, database_url, "users") as awaited:
        running = start(called(command, files), files / "work", FOLIO_DATABASE_URL=database_url)
        await awaited()
        await assert_interrupted(running, UNDONE[command])
    assert await users(server, database_url) == (1 if command == "user set-password" else 0)


async def users(server: EmbeddedServer, database_url: str) -> int:
    connection = await asyncpg.connect(superuser_dsn(server, database_url.partition("?")[0].rpartition("/")[2]))
    count: int = await connection.fetchval("SELECT count(*) FROM users WHERE role <> 'system'")
    await connection.close()
    return count


# ---------------------------------------------------------------- while it computes


async def test_seed_that_makes_millions_of_rows(database_url: str, server: EmbeddedServer, files: Path) -> None:
    arguments = ["seed", "--users", "2000000", "--posts", "0", "--accounts", "2000000"]
    running = start(arguments, files / "work", FOLIO_DATABASE_URL=database_url)
    while cpu_seconds(running) < 2:
        await asyncio.sleep(0.05)
    started = time.monotonic()
    await assert_interrupted(running, "nothing was seeded")
    assert time.monotonic() - started < 20  # all rows take twice as long on an otherwise idle processor
    assert await users(server, database_url) == 0


def cpu_seconds(running: Running) -> float:
    """Return the CPU time of the command in seconds."""
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


# ---------------------------------------------------------------- while it waits for a pipe


async def test_import_that_waits_for_its_pipe(database_url: str, server: EmbeddedServer, files: Path) -> None:
    pipe = files / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    os.write(writer, LINES.encode())
    running = start(["import", "-"], files / "work", stdin=pipe, FOLIO_DATABASE_URL=database_url)
    await importing(server, database_url)
    await assert_interrupted(running, "nothing was imported")
    os.close(writer)
    assert await users(server, database_url) == 0


async def importing(server: EmbeddedServer, database_url: str) -> None:
    """Wait until an import has begun and waits for lines."""
    name = database_url.partition("?")[0].rpartition("/")[2]
    watcher = await asyncpg.connect(superuser_dsn(server))
    idle = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = $1 AND state = 'idle in transaction' AND query ~ 'CREATE TEMP'"
    )
    for _ in range(LIMIT_S * 50):
        if await watcher.fetchval(idle, name):
            break
        await asyncio.sleep(0.02)
    await watcher.close()


KILL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def test_interruption_before_the_wait_for_a_file_ends_the_wait() -> None:
    reader, writer = os.pipe()

    async def work() -> None:
        signal.raise_signal(signal.SIGINT)  # the event loop reacts at the next await
        with interruptible():
            os.write(writer, b"it waits")

    with pytest.raises(KeyboardInterrupt):
        uvloop.run(work())
    os.close(writer)
    assert os.read(reader, 100) == b""
    os.close(reader)


async def test_import_that_loses_its_connection(database_url: str, server: EmbeddedServer, files: Path) -> None:
    pipe = files / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    running = start(["import", "-"], files / "work", stdin=pipe, FOLIO_DATABASE_URL=database_url)
    await importing(server, database_url)
    name = database_url.partition("?")[0].rpartition("/")[2]
    await execute_as_superuser(server, database_url, KILL)
    os.write(writer, LINES.encode())
    os.close(writer)
    ended = await asyncio.to_thread(running.ended)
    assert (ended.code, ended.err.count("\n")) == (1, 1), ended.err
    place = f'the database "{name}" at {server.socket_dir}/.s.PGSQL.5432 as user "folio"'
    assert ended.err.startswith(f"folio: {place}: the transaction broke off; nothing was imported, try again")
    assert await users(server, database_url) == 0


# ---------------------------------------------------------------- during COMMIT

SLOW_COMMIT = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.username = 'ada') EXECUTE FUNCTION wait()
"""


@pytest.mark.parametrize("command", ["seed", "import"])
async def test_commit_that_has_been_sent_is_not_interrupted(
    command: str, database_url: str, server: EmbeddedServer, files: Path
) -> None:
    await execute_as_superuser(server, database_url, SLOW_COMMIT)
    running = start(called(command, files), files / "work", FOLIO_DATABASE_URL=database_url)
    await committing(server, database_url)
    running.interrupt()
    ended = await asyncio.to_thread(running.ended)
    if command == "seed":  # the seed still gathers statistics afterwards
        line = "folio: interrupted; everything had been written already\n"
        assert (ended.code, ended.err) == (INTERRUPTED, line)
    else:
        assert ended.code == 0
        assert ended.err.startswith("imported 1 users, 1 posts and 0 comments")
    assert await users(server, database_url) == (3 if command == "seed" else 1)


async def committing(server: EmbeddedServer, database_url: str) -> None:
    """Wait until a transaction commits."""
    name = database_url.partition("?")[0].rpartition("/")[2]
    watcher = await asyncpg.connect(superuser_dsn(server))
    for _ in range(LIMIT_S * 50):
        commits = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND state = 'active' AND query = 'COMMIT'"
        if await watcher.fetchval(commits, name):
            break
        await asyncio.sleep(0.02)
    await watcher.close()


@pytest.mark.parametrize("is_early", [True, False])
def test_interruption_just_before_commit(is_early: bool, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLIO_DATABASE_URL", database_url)

    async def work(database: Database) -> None:
        async def insert(transaction: OpenTransaction) -> None:
            await transaction.driver.execute("DELETE FROM users WHERE role = 'system'")
            if is_early:
                signal.raise_signal(signal.SIGINT)

        await database.write(insert)

    async def left(database: Database) -> int:
        async with database.read() as snapshot:
            count: int = await snapshot.driver.fetchval("SELECT count(*) FROM users")
            return count

    if is_early:
        with pytest.raises(Interrupted, match="nothing was deleted"):
            run_with_database(work, writes=True, undone="nothing was deleted")
    else:
        run_with_database(work, writes=True, undone="nothing was deleted")
    assert run_with_database(left) == (1 if is_early else 0)


# ---------------------------------------------------------------- while the embedded server starts


@pytest.mark.parametrize("delay_ms", sample(range(100, 2500, 600), every=4))
def test_embedded_server_that_is_being_made(delay_ms: int, files: Path) -> None:
    running = start(["migrate", "upgrade"], files / "work", FOLIO_DATA_DIR=str(files / "data"))
    time.sleep(delay_ms / 1000)
    running.interrupt()
    ended = running.ended()
    assert (ended.code, ended.err) in [
        (0, ""),
        (INTERRUPTED, "folio: interrupted\n"),
        (INTERRUPTED, f"folio: interrupted; {UNDONE['migrate upgrade']}\n"),
    ]
    assert not list(files.glob("data/postgres/pgdata/postmaster.pid"))
    again = start(["migrate", "upgrade"], files / "work", FOLIO_DATA_DIR=str(files / "data")).ended()
    assert (again.code, again.err) == (0, "")
