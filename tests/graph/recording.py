"""What the application really asks PostgreSQL, overheard on the driver's own connections."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asyncpg.connection import LoggedQuery
from sqlalchemy import event

from db.engine import Database

_LABEL = re.compile(r"(?:\.[a-z_]+|NULL|END|\)) AS (?!parent_id)([a-z_]+)(?:,| *\n)")
_TABLE = re.compile(r"FROM (users|profiles|posts|accounts|transactions)\b(?! AS)")


@contextmanager
def recorded(database: Database) -> Iterator[list[LoggedQuery]]:
    """Give the list that every statement of `database` is put on while the block runs, the driver's own left out."""
    pool = database.engine.sync_engine.pool
    queries: list[LoggedQuery] = []

    def record(query: LoggedQuery) -> None:
        if "pg_catalog" not in query.query:
            queries.append(query)

    def listen(dbapi_connection: Any, *_: object) -> None:
        dbapi_connection.driver_connection.add_query_logger(record)

    def stop_listening(dbapi_connection: Any, *_: object) -> None:
        if dbapi_connection is not None:
            dbapi_connection.driver_connection.remove_query_logger(record)

    event.listen(pool, "checkout", listen)
    event.listen(pool, "checkin", stop_listening)
    try:
        yield queries
    finally:
        event.remove(pool, "checkout", listen)
        event.remove(pool, "checkin", stop_listening)


def columns_read(queries: list[LoggedQuery]) -> list[str]:
    """Return what each statement that answers with labelled columns reads, as `table: column column …`, sorted.

    Statements that run side by side have no order among them.
    """
    return sorted(read for read in map(_columns_read, queries) if read is not None)


def _columns_read(query: LoggedQuery) -> str | None:
    # A page of two index ranges names its columns once for each.
    labels = dict.fromkeys(_LABEL.findall(query.query))
    tables = _TABLE.findall(query.query)
    return f"{tables[0]}: {' '.join(labels)}" if labels and tables else None
