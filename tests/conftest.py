"""The database of a test: its own clone of one migrated template, on a PostgreSQL that the test run starts itself.

Code under test commits as in production, and no test sees another's rows. All pytest-xdist workers share the server:
the first worker starts it, the last one stops it.
"""

import asyncio
import fcntl
import gc
import itertools
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import cast

import asyncpg
import pytest
from alembic import command
from pydantic import SecretStr

from db.connections.database import Database
from db.embedded.server import EmbeddedServer, embedded_postgres
from db.settings import Settings, async_url
from db.setup.schema_version import alembic_config
from tests.running.places import make_run_directory

pytest_plugins = ["tests.running.repeating", "tests.running.lengths"]

TEMPLATE = "folio_template"
SECRET_KEY = "a secret of the tests, long enough to sign with: 0123456789"
SHARED_DIR_VARIABLE = "TESTS_SHARED_DIR"

# These tests do not test durability.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "folio.throwaway": "on",  # otherwise no server would be ready on it
    "max_connections": "300",
}

_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Make a directory that all workers share. Workers inherit the variable, and do not make another one."""
    if SHARED_DIR_VARIABLE not in os.environ:
        os.environ[SHARED_DIR_VARIABLE] = str(make_run_directory())
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell starts background processes with SIGINT ignored. Processes in tests of Ctrl-C would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("FOLIO_")]:
        del os.environ[name]  # the tests must not depend on a developer's settings
    # httpx imports it several times in each request. Otherwise Python searches its whole path for it each time.
    cast("dict[str, ModuleType | None]", sys.modules).setdefault("sniffio", None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Freeze all objects that exist before the first test: no collection of garbage visits them again."""
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the shared directory after all workers have ended."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ.pop(SHARED_DIR_VARIABLE))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--engine ordinary`. Without it, queries run on both engines, and mutations on the compiled one."""
    parser.addoption("--engine", choices=["compiled", "ordinary"], default="compiled", help="the engine under test")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The directory that all workers of this test run share."""
    return Path(os.environ[SHARED_DIR_VARIABLE])


@pytest.fixture(scope="session")
def server(shared_dir: Path) -> Iterator[EmbeddedServer]:
    """The PostgreSQL server of this test run."""
    with embedded_postgres(shared_dir / "postgres", options=FAST) as running:
        yield running


def superuser_dsn(server: EmbeddedServer, database: str = "postgres") -> str:
    return server.url(database, "postgres").replace("+asyncpg", "")


async def superuser_execute(server: EmbeddedServer, *statements: str) -> None:
    connection = await asyncpg.connect(superuser_dsn(server))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _exists(server: EmbeddedServer, name: str) -> bool:
    connection = await asyncpg.connect(superuser_dsn(server))
    try:
        return bool(await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name))
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def template(server: EmbeddedServer, shared_dir: Path) -> str:
    """The name of a migrated, empty database to clone."""
    with (shared_dir / "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not asyncio.run(_exists(server, TEMPLATE)):
            asyncio.run(superuser_execute(server, f"CREATE DATABASE {TEMPLATE}_draft OWNER folio"))
            command.upgrade(alembic_config(server.url(f"{TEMPLATE}_draft")), "head")
            asyncio.run(superuser_execute(server, f"ALTER DATABASE {TEMPLATE}_draft RENAME TO {TEMPLATE}"))
    return TEMPLATE


@pytest.fixture
async def database_url(server: EmbeddedServer, template: str) -> AsyncIterator[str]:
    """The URL of a migrated database that only this test uses."""
    name = f"t_{os.getpid()}_{next(_numbers)}"
    await superuser_execute(server, f"CREATE DATABASE {name} TEMPLATE {template} OWNER folio STRATEGY FILE_COPY")
    yield server.url(name)
    await superuser_execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty_database_url(server: EmbeddedServer) -> AsyncIterator[str]:
    """The URL of a database without any table."""
    name = f"e_{os.getpid()}_{next(_numbers)}"
    await superuser_execute(server, f"CREATE DATABASE {name} OWNER folio")
    yield server.url(name)
    await superuser_execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(database_url: str, request: pytest.FixtureRequest) -> Settings:
    """The defaults of development, except that hashing a password is cheap and the number of sign-ins has no limit."""
    return Settings(
        engine=request.config.getoption("--engine"),
        database_url=SecretStr(async_url(database_url)),
        secret_key=SecretStr(SECRET_KEY),
        passwords_per_minute_per_address_max=0,  # all tests send from one address
        password_hash_memory_kib=8,
        password_hash_iterations=1,
    )


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The pool on this test's database."""
    opened = Database(settings)
    yield opened
    await opened.close()
