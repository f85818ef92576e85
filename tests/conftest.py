"""The database of a test: its own clone of one migrated template, on a PostgreSQL that the test run starts itself.

Code under test commits as in production, and no test sees another's rows. All pytest-xdist workers share the server:
whoever comes first starts it, the last one out stops it.
"""

import asyncio
import fcntl
import itertools
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

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

# What survives a crash is not what these tests are about.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "folio.throwaway": "on",  # or no server would be ready on it
    "max_connections": "300",
}

_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Make a directory that all workers share. They inherit the variable, and find it set."""
    if SHARED_DIR_VARIABLE not in os.environ:
        os.environ[SHARED_DIR_VARIABLE] = str(make_run_directory())
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell starts what is to run in the background so, and tests of Ctrl-C would hand that down.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("FOLIO_")]:
        del os.environ[name]  # a developer's own settings are not what is tested


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the shared directory once every worker is gone."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ.pop(SHARED_DIR_VARIABLE))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests run on the ordinary engine alone; without this, queries run on both and mutations compiled."""
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
    """The URL of a migrated database that this test has to itself."""
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
    """Settings as a developer has them, but for passwords that cost next to nothing to hash, and come without end."""
    return Settings(
        engine=request.config.getoption("--engine"),
        database_url=SecretStr(async_url(database_url)),
        secret_key=SecretStr(SECRET_KEY),
        passwords_per_minute_per_address_max=0,  # all tests come from one address
        password_hash_memory_kib=8,
        password_hash_iterations=1,
    )


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The pool on this test's database."""
    opened = Database(settings)
    yield opened
    await opened.close()
