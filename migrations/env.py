"""Runs migrations, online over asyncpg or offline as a script, for `folio migrate` and for `alembic` itself.

Two deployments never migrate at the same time. The one connection that migrates holds an advisory lock, from before it
reads the current revision until the end. It is a session lock, because a migration may leave its transaction to build
an index concurrently.
"""

import asyncio
import time

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from db.models import Model
from db.settings import load_settings

# Any constant number; this one is "folio" in ASCII.
ADVISORY_LOCK_KEY = 0x666F6C696F
ADVISORY_LOCK_TIMEOUT_S = 60
ADVISORY_LOCK_SLICE_MS = 300  # well below deadlock_timeout, after which PostgreSQL would end one of two waiting ones
LOCK_NOT_AVAILABLE = "55P03"


class MigrationBusyError(CommandError):
    """Another process migrates the same database."""


def _database_url() -> str:
    given: str | None = context.config.attributes.get("database_url")
    if given is not None:
        return given
    settings = load_settings()
    if settings.database_url is None:
        raise SystemExit("FOLIO_DATABASE_URL is not set; set it, or use `folio migrate` for the embedded server")
    return settings.database_url.get_secret_value()


def _take_turn(connection: Connection) -> None:
    """Wait for a process that already migrates, in slices.

    A waiting statement keeps its snapshot. The other process may build an index concurrently, which waits for all older
    snapshots, so that the two would wait for each other. Between two slices there is no snapshot.
    """
    ends_at = time.monotonic() + ADVISORY_LOCK_TIMEOUT_S
    while not _locked_within(connection, ADVISORY_LOCK_SLICE_MS):
        if time.monotonic() > ends_at:
            raise MigrationBusyError(
                f"another process has been migrating this database for {ADVISORY_LOCK_TIMEOUT_S} s; try again later"
            )


def _locked_within(connection: Connection, timeout_ms: int) -> bool:
    connection.execute(text(f"SET lock_timeout = {timeout_ms}"))
    try:
        connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK_KEY})"))
    except DBAPIError as error:
        connection.rollback()
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        return False
    connection.execute(text("SET lock_timeout = 0"))
    connection.commit()
    return True


def _run(connection: Connection) -> None:
    _take_turn(connection)
    context.configure(
        connection=connection,
        target_metadata=Model.metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=True,
        on_version_apply=context.config.attributes.get("on_version_apply"),
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run_online() -> None:
    engine = create_async_engine(
        _database_url(), poolclass=NullPool, connect_args={"server_settings": {"application_name": "folio migrate"}}
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_run)
    finally:
        await engine.dispose()


def _run_offline() -> None:
    context.configure(dialect_name="postgresql", target_metadata=Model.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    _run_offline()
else:
    asyncio.run(_run_online())
