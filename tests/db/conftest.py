"""What the tests of the database share: pools that lose no connection, and a superuser."""

from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy.pool import QueuePool

from db.engine import Database, Driver
from db.settings import Settings
from tests.db.backends import connected_superuser, make_boxes


def connections_out(database: Database) -> int:
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


@pytest.fixture
async def database(database: Database) -> AsyncIterator[Database]:
    """The pool on this test's database, which has every connection back at the end."""
    yield database
    assert connections_out(database) == 0


@pytest.fixture
async def open_database(settings: Settings) -> AsyncIterator[Callable[..., Database]]:
    """A function that opens a pool on this test's database with the settings given; likewise."""
    opened = []

    def open_one(**changes: object) -> Database:
        opened.append(Database(settings.model_copy(update=changes)))
        return opened[-1]

    yield open_one
    for database in opened:
        assert connections_out(database) == 0
        await database.close()


@pytest.fixture
async def superuser(database_url: str) -> AsyncIterator[Driver]:
    """A superuser's connection to this test's database."""
    async with connected_superuser(database_url) as connection:
        yield connection


@pytest.fixture
async def two_boxes(superuser: Driver) -> None:
    """The table `boxes` of `tests.db.backends`."""
    await make_boxes(superuser)


@pytest.fixture
async def closed_gate(superuser: Driver) -> AsyncIterator[Driver]:
    """The superuser, who holds the lock that `GATE` of `tests.db.backends` waits for."""
    await superuser.execute("SELECT pg_advisory_lock(1)")
    yield superuser
    await superuser.execute("SELECT pg_advisory_unlock_all()")
