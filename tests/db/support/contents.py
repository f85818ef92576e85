"""Whole databases: a digest of every table, and a function that empties all tables."""

from db.connections.leases import Driver
from db.models import Model

TABLES = tuple(sorted(Model.metadata.tables))
# Their contents depend on the ids of database transactions.
LOG = ("events", "swept_events")


async def contents(superuser: Driver) -> dict[str, str]:
    """Return a digest of the contents of each table but the log of events, ids included."""
    return {table: await _digest(superuser, table) for table in TABLES if table not in LOG}


async def _digest(superuser: Driver, table: str) -> str:
    rows = await superuser.fetch(f"SELECT row::text FROM {table} AS row ORDER BY 1")  # noqa: S608 - a table of ours
    digest: str = await superuser.fetchval(
        "SELECT count(*) || ' rows ' || md5(coalesce(string_agg(line, '' ORDER BY position), ''))"
        " FROM unnest($1::text[]) WITH ORDINALITY AS given(line, position)",
        [row[0] for row in rows],
    )
    return digest


async def make_empty(superuser: Driver) -> None:
    """Remove everything except the system user, and restart the ids."""
    others = ", ".join(table for table in TABLES if table != "users")
    await superuser.execute(f"TRUNCATE {others} RESTART IDENTITY")
    await superuser.execute(
        "DELETE FROM users WHERE role <> 'system';"
        "SELECT setval(pg_get_serial_sequence('users', 'id'), max(id)) FROM users"
    )


async def rows(superuser: Driver, sql: str) -> list[tuple[object, ...]]:
    """Return the rows that `sql` selects."""
    return [tuple(row) for row in await superuser.fetch(sql)]


def no_progress(*_: object) -> None:
    """Show no progress."""
