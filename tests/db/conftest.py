"""What the tests of the database share: no connection is lost, a superuser's connection, and Hypothesis's profile."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy.pool import QueuePool

from db.engine import Database, Driver

# No deadline: an example that waits for the other core is no slower for it. A test's own database lives through all
# of its examples, which clean up after themselves.
hypothesis_settings.register_profile(
    "folio",
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
hypothesis_settings.load_profile("folio")


@pytest.fixture
async def database(database: Database) -> AsyncIterator[Database]:
    """The pool on this test's database, which has every connection back at the end."""
    yield database
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedout() == 0


@pytest.fixture
async def superuser(database_url: str) -> AsyncIterator[Driver]:
    """A superuser's connection to this test's database."""
    connection = await asyncpg.connect(database_url.replace("+asyncpg", "").replace("//folio@", "//postgres@"))
    yield connection
    await connection.close()
