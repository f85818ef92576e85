"""Databases that refuse by role, by password or by their properties; and a directory with files for the commands."""

import asyncio
import fcntl
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from db.embedded.server import EmbeddedServer
from tests.conftest import superuser_dsn, superuser_execute
from tests.db.support.clusters import reachable_directory
from tests.graph.support.commands import write_files

# `locked` needs a password, `stranger` has no rights, `reader` has the rights of folio, but is read only.
ROLES = (
    "CREATE ROLE locked LOGIN PASSWORD 'the right one'",
    "CREATE ROLE stranger LOGIN",
    "CREATE ROLE reader LOGIN IN ROLE folio",
    "ALTER ROLE reader SET default_transaction_read_only = on",
)
LATIN = "CREATE DATABASE latin OWNER folio TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc"


@pytest.fixture(scope="session")
def refusing(server: EmbeddedServer, template: str, shared_dir: Path) -> EmbeddedServer:
    """The server, with roles and databases that cannot be used. `whole` is migrated and has the user ida."""
    with (shared_dir / "refusing.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared_dir / "refusing.done").exists():
            asyncio.run(_prepare(server, template))
            (shared_dir / "refusing.done").touch()
    return server


async def _prepare(server: EmbeddedServer, template: str) -> None:
    rules = server.socket_dir / "pg_hba.conf"
    rules.write_text("local all locked scram-sha-256\n" + rules.read_text())
    databases = (f"CREATE DATABASE whole TEMPLATE {template} OWNER folio", "CREATE DATABASE bare OWNER folio", LATIN)
    await superuser_execute(server, *ROLES, *databases, "SELECT pg_reload_conf()")
    whole = await asyncpg.connect(superuser_dsn(server, "whole"))
    await whole.execute(f"{IDA}; GRANT USAGE ON SCHEMA public TO reader")
    await whole.close()


IDA = "INSERT INTO users (email, username, hashed_password) VALUES ('ida@example.com', 'ida', 'none')"


async def execute_as_superuser(server: EmbeddedServer, database_url: str, statement: str) -> None:
    """Run a statement as a superuser in a database."""
    connection = await asyncpg.connect(superuser_dsn(server, database_url.partition("?")[0].rpartition("/")[2]))
    await connection.execute(statement)
    await connection.close()


@pytest.fixture
def files() -> Iterator[Path]:
    """A directory with files for the commands, which PostgreSQL's account may enter."""
    with reachable_directory() as directory:
        write_files(directory)
        (directory / "work").mkdir()
        yield directory
