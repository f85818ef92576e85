"""The statements that the application sends to PostgreSQL, recorded where all statements of a connection pass."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from asyncpg import Record

from db.connections.leases import LeasedConnection

_LABEL = re.compile(r"(?:\.[a-z_]+|NULL|END|\)) AS (?!parent_id|planned|page\b)([a-z_]+)(?:,| *\n)")
_TABLE = re.compile(r"FROM (users|profiles|posts|accounts|transactions)\b(?! AS)")


@dataclass(frozen=True, slots=True)
class RecordedStatement:
    """One statement, with its arguments in the order of its parameters."""

    query: str
    args: tuple[Any, ...]


_recordings: list[list[RecordedStatement]] = []


@contextmanager
def recorded() -> Iterator[list[RecordedStatement]]:
    """Yield a list that receives every statement until the block ends, without BEGIN, COMMIT and ROLLBACK."""
    queries: list[RecordedStatement] = []
    fetch = LeasedConnection.fetch

    async def recording(connection: LeasedConnection, sql: str, arguments: Sequence[object]) -> Sequence[Record]:
        queries.append(RecordedStatement(sql, tuple(arguments)))
        return await fetch(connection, sql, arguments)

    _recordings.append(queries)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LeasedConnection, "fetch", recording)
            yield queries
    finally:
        _recordings[:] = [one for one in _recordings if one is not queries]


@contextmanager
def unrecorded() -> Iterator[None]:
    """Remove the statements that are sent until the block ends from all lists."""
    lengths = [(queries, len(queries)) for queries in _recordings]
    try:
        yield
    finally:
        for queries, length in lengths:
            del queries[length:]


def columns_read(queries: list[RecordedStatement]) -> list[str]:
    """Return the columns that each statement with labelled columns reads, as `table: column column …`, sorted.

    Concurrent statements have no order among them, and a statement may read several tables.
    """
    return sorted(read for query in queries for read in _columns_read(query))


def _columns_read(query: RecordedStatement) -> Iterator[str]:
    for part in query.query.split("LATERAL"):  # a page, and the lists that it includes
        # A page of two index ranges names its columns once for each.
        labels, tables = dict.fromkeys(_LABEL.findall(part)), _TABLE.findall(part)
        if labels and tables:
            yield f"{tables[0]}: {' '.join(labels)}"
