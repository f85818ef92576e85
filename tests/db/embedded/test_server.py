"""The embedded PostgreSQL: started once, shared, stopped by its last user, and usable after every kind of crash.

The tests use real servers and real signals. Tests that need no new cluster share one, `used_data_dir`: initdb takes
most of the time.
"""

import asyncio
import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from db.embedded.server import EmbeddedError, EmbeddedServer, embedded_postgres
from tests.db.support.clusters import (
    LIMIT_S,
    entered,
    kill,
    leave,
    postmaster,
    rows,
    serves,
    user,
    wait_until,
)

# ---------------------------------------------------------------- the server


def test_first_start_makes_a_database_owned_by_a_role_without_rights(data_dir: Path) -> None:
    with embedded_postgres(data_dir) as server:
        assert server.url() == f"postgresql+asyncpg://folio@/folio?host={data_dir}/pgdata&port=5432"
        assert server.log_file == data_dir / "server.log"
        assert rows(
            server,
            "SELECT current_user::text, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname = current_user",
        ) == [("folio", False, False, False, False, False)]
        assert rows(
            server,
            "SELECT datname::text, datdba::regrole::text, pg_encoding_to_char(encoding)::text, datlocprovider,"
            " datlocale FROM pg_database WHERE datname = current_database()",
        ) == [("folio", "folio", "UTF8", b"b", "C.UTF-8")]
        assert rows(server, "SELECT datname::text FROM pg_database WHERE datdba = 'folio'::regrole") == [("folio",)]


def test_socket_is_the_only_access_and_closed_to_other_accounts(used_data_dir: Path) -> None:
    with embedded_postgres(used_data_dir) as server:
        assert rows(server, "SHOW listen_addresses") == [("",)]
        assert (server.socket_dir / ".s.PGSQL.5432").stat().st_mode & 0o777 == 0o700
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700
        assert used_data_dir.stat().st_mode & 0o777 == 0o700


async def _fetch_through_sqlalchemy(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(statement))]
    finally:
        await engine.dispose()


@pytest.mark.parametrize(
    "variables",
    [
        {"PGHOST": "127.0.0.1", "PGPORT": "6000", "PGUSER": "x", "PGDATABASE": "x", "PGPASSWORD": "x"},
        {"PGHOST": "a.invalid:1,b.invalid:2", "PGPORT": "6000,6001"},
        {"PGPORT": "6000", "PGSSLMODE": "require"},
        {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/nowhere/root.crt"},
        {"PGSSLMODE": "nonsense"},
        {"PGSSLNEGOTIATION": "direct"},
        {"PGTARGETSESSIONATTRS": "standby"},
        {"PGSERVICE": "x", "PGSERVICEFILE": "/nowhere", "PGPASSFILE": "/nowhere", "PGGSSLIB": "x", "PGOPTIONS": "-x"},
    ],
    ids=["one server", "two servers", "TLS", "certificate", "no TLS mode", "TLS at once", "standby", "files"],
)
def test_variables_that_name_another_server_are_ignored(
    variables: dict[str, str], used_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    statement = "SELECT current_user::text, current_database()::text, current_setting('data_directory')"
    with embedded_postgres(used_data_dir) as server:
        found = asyncio.run(_fetch_through_sqlalchemy(server.url(role="postgres"), statement))
        assert found == rows(server, statement, "postgres") == [("postgres", "folio", f"{used_data_dir}/pgdata")]
    assert {name: os.environ.get(name) for name in variables} == variables


def test_second_start_keeps_the_data_and_a_new_log(used_data_dir: Path) -> None:
    with embedded_postgres(used_data_dir) as server:
        rows(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded_postgres(used_data_dir) as server:
        assert rows(server, "SELECT answer FROM kept") == [(42,)]
        rows(server, "DROP TABLE kept")
        assert server.log_file.read_text().count("starting PostgreSQL") == 1


def test_dropped_database_is_created_again(used_data_dir: Path) -> None:
    with embedded_postgres(used_data_dir) as server:
        outside = EmbeddedServer(server.socket_dir, server.log_file).url("postgres", "postgres").replace("+asyncpg", "")

        async def drop() -> None:
            connection = await asyncpg.connect(outside)
            await connection.execute("DROP DATABASE folio")
            await connection.close()

        asyncio.run(drop())
        with embedded_postgres(used_data_dir):
            assert serves(server)


def test_options_are_added_to_the_default_settings(used_data_dir: Path) -> None:
    options = {"fsync": "off", "jit": "on", "application_name": """it's "quoted" $HOME"""}
    statement = """SELECT name, setting FROM pg_settings WHERE source = 'command line'
                   AND name IN ('application_name', 'fsync', 'jit', 'max_connections', 'TimeZone') ORDER BY name"""
    with embedded_postgres(used_data_dir, options=options) as server:
        assert rows(server, statement) == [
            ("TimeZone", "UTC"),
            ("application_name", """it's "quoted" $HOME"""),
            ("fsync", "off"),
            ("jit", "on"),
            ("max_connections", "100"),
        ]
    with embedded_postgres(used_data_dir) as server:
        assert rows(server, "SELECT current_setting('fsync'), current_setting('jit')") == [("on", "off")]


def test_failed_start_shows_the_end_of_the_log_and_what_to_do(used_data_dir: Path) -> None:
    with pytest.raises(EmbeddedError) as failure, embedded_postgres(used_data_dir, options={"no_such_setting": "1"}):
        pass
    assert 'FATAL:  unrecognized configuration parameter "no_such_setting"' in str(failure.value)
    assert f"the whole log is {used_data_dir}/server.log" in str(failure.value)
    with embedded_postgres(used_data_dir) as server:
        assert serves(server)


# ---------------------------------------------------------------- several users


def test_server_stays_until_its_last_user_leaves(used_data_dir: Path) -> None:
    with user(used_data_dir) as other:
        assert entered(other)
        first = postmaster(used_data_dir)
        with embedded_postgres(used_data_dir) as server:
            leave(other)
            assert serves(server)
            assert postmaster(used_data_dir) == first
        assert not serves(server)
    assert not (used_data_dir / "pgdata/postmaster.pid").exists()


def test_two_uses_in_one_process_share_a_server(used_data_dir: Path) -> None:
    with ExitStack() as first:
        first.enter_context(embedded_postgres(used_data_dir))
        started = postmaster(used_data_dir)
        with embedded_postgres(used_data_dir) as server:
            first.close()
            assert serves(server)
            assert postmaster(used_data_dir) == started
    assert not serves(server)


def test_first_uses_at_the_same_time_make_one_cluster(data_dir: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(user(data_dir)) for _ in range(3)]
        assert [entered(one) for one in users] == [True, True, True]
        assert (data_dir / "server.log").read_text().count("starting PostgreSQL") == 1
        assert not (data_dir / "server.log.1").exists()
        for one in users:
            leave(one)
    assert not (data_dir / "pgdata/postmaster.pid").exists()


def test_error_in_the_block_is_raised_and_the_server_stopped(used_data_dir: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the block's own"), embedded_postgres(used_data_dir):
        raise FileNotFoundError("the block's own")
    assert not (used_data_dir / "pgdata/postmaster.pid").exists()


# ---------------------------------------------------------------- deaths


def test_interrupted_user_stops_a_server_that_the_signal_did_not_reach(used_data_dir: Path) -> None:
    with user(used_data_dir) as other:
        assert entered(other)
        assert os.getsid(postmaster(used_data_dir)) != os.getsid(other.pid)
        os.killpg(other.pid, signal.SIGINT)
        assert other.wait(LIMIT_S) == -signal.SIGINT
    log = (used_data_dir / "server.log").read_text()
    assert log.count("received fast shutdown request") == 1
    assert log.rstrip().endswith("database system is shut down")


def test_server_of_a_killed_user_is_adopted_and_stopped(used_data_dir: Path) -> None:
    with user(used_data_dir) as other:
        assert entered(other)
        kill(other)
    orphan = postmaster(used_data_dir)
    with embedded_postgres(used_data_dir) as server:
        assert serves(server)
        assert postmaster(used_data_dir) == orphan
    assert not serves(server)


def test_killed_server_recovers_its_data(used_data_dir: Path) -> None:
    with embedded_postgres(used_data_dir) as server:
        rows(server, "CREATE TABLE survives AS SELECT 42 AS answer")
        os.kill(postmaster(used_data_dir), signal.SIGKILL)
    assert (used_data_dir / "pgdata/postmaster.pid").exists()
    assert (used_data_dir / "pgdata/.s.PGSQL.5432.lock").exists()
    with embedded_postgres(used_data_dir) as server:
        assert rows(server, "SELECT answer FROM survives") == [(42,)]
        rows(server, "DROP TABLE survives")
        assert "automatic recovery in progress" in server.log_file.read_text()


def test_stale_files_that_name_an_unrelated_living_process_are_ignored(used_data_dir: Path) -> None:
    with embedded_postgres(used_data_dir):
        account = (used_data_dir / "pgdata").stat()
        pid_file = (used_data_dir / "pgdata/postmaster.pid").read_text().split("\n", 1)[1]
    with subprocess.Popen(["/bin/sleep", "60"], user=account.st_uid, group=account.st_gid) as stranger:
        for leftover in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            path = used_data_dir / "pgdata" / leftover
            path.write_text(f"{stranger.pid}\n{pid_file}")
            os.chown(path, account.st_uid, account.st_gid)
        try:
            with embedded_postgres(used_data_dir) as server:
                assert serves(server)
            assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.long("initdb, again and again")
def test_killed_initdb_is_started_again(data_dir: Path) -> None:
    with user(data_dir) as other:
        wait_until((data_dir / "pgdata.new/global/pg_control").exists)
        kill(other)
        assert not (data_dir / "pgdata").exists()
    with embedded_postgres(data_dir) as server:
        assert serves(server)
    assert not (data_dir / "pgdata.new").exists()
