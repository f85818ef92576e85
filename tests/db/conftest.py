"""Fixtures that the database tests share: pools whose connections are counted at the end, and a superuser."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

import db.models  # noqa: F401 - every mapped class, or a test that needs few fails where it runs alone
from db.access import Viewer
from db.connections.database import Database
from db.connections.leases import Driver
from db.embedded.server import embedded_postgres
from db.settings import Settings
from tests.db.support.backends import connected_superuser, create_boxes
from tests.db.support.books import ACCOUNTS, Books
from tests.db.support.clusters import reachable_directory
from tests.db.support.rows import new_account, new_user, new_users


@pytest.fixture
async def database(database: Database) -> AsyncIterator[Database]:
    """A pool on this test's database. At the end all its connections must be returned."""
    yield database
    assert database.leases.in_use == 0


@pytest.fixture
async def open_database(settings: Settings) -> AsyncIterator[Callable[..., Database]]:
    """A function that opens a pool on this test's database with the given settings, checked like `database`."""
    opened = []

    def open_one(**changes: object) -> Database:
        opened.append(Database(settings.model_copy(update=changes)))
        return opened[-1]

    yield open_one
    for database in opened:
        assert database.leases.in_use == 0
        await database.close()


@pytest.fixture
async def superuser(database_url: str) -> AsyncIterator[Driver]:
    """A superuser's connection to this test's database."""
    async with connected_superuser(database_url) as connection:
        yield connection


@pytest.fixture
async def boxes_table(superuser: Driver) -> None:
    """The table `boxes` of `tests.db.support.backends`."""
    await create_boxes(superuser)


@pytest.fixture
async def closed_gate(superuser: Driver) -> AsyncIterator[Driver]:
    """The superuser, holding the lock that `GATE` of `tests.db.support.backends` waits for."""
    await superuser.execute("SELECT pg_advisory_lock(1)")
    yield superuser
    await superuser.execute("SELECT pg_advisory_unlock_all()")


@pytest.fixture
async def authors(database: Database) -> list[int]:
    """The ids of three users."""
    return await new_users(database, 3)


@pytest.fixture
async def payer(database: Database) -> Viewer:
    """A user with money."""
    return await new_user(database)


@pytest.fixture
async def payer_account(database: Database, payer: Viewer) -> int:
    """An account of the payer with 100.00 EUR."""
    return await new_account(database, payer, holding="100.00")


@pytest.fixture
async def payee(database: Database) -> Viewer:
    """A user without money."""
    return await new_user(database)


@pytest.fixture
async def payee_account(database: Database, payee: Viewer) -> int:
    """An empty account of the payee, in EUR."""
    return await new_account(database, payee)


@pytest.fixture
async def books(database: Database, superuser: Driver) -> Books:
    """Three accounts and the system account, without entries."""
    owner = await new_user(database)
    accounts = [await new_account(database, owner, holding="1.00") for _ in range(ACCOUNTS)]
    system = await superuser.fetchval("SELECT id FROM accounts WHERE is_system")
    return Books(database, superuser, [*accounts, system])


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the account of PostgreSQL can enter."""
    with reachable_directory() as path:
        yield path


@pytest.fixture
def data_dir(directory: Path) -> Path:
    """A path where no cluster exists yet."""
    return directory / "data"


@pytest.fixture(scope="module")
def used_data_dir() -> Iterator[Path]:
    """A cluster that the tests of a module share, because initdb takes most of the time."""
    with reachable_directory() as path:
        with embedded_postgres(path / "data"):
            pass
        yield path / "data"
