"""Exports and imports users with their profiles, posts and comments as JSON Lines: UTF-8, one object per line.

    {"type":"user","username":"ada","email":"ada@example.com","isActive":true,"role":"member","createdAt":"…",
     "updatedAt":"…","hashedPassword":"…","profile":{"displayName":"Ada","bio":null,"websiteUrl":null}}
    {"type":"post","author":"ada","title":"…","content":"…","published":true,"views":7,"createdAt":"…","updatedAt":"…"}
    {"type":"comment","author":"ben","body":"…","createdAt":"…","updatedAt":"…"}

(Each on one line.) A user must have username and email, a post author, title and content, a comment author and body. A
missing field has the value that it has for a new user, post or comment. Ids and versions belong to one database and are
not in the file.

Invariants:

- An export that is imported into an empty database is exported to the same bytes again. Users are in the order of their
  ids, then posts in the order of theirs, each followed by its comments in the order of their ids.
- Users are referred to by username. An author must be on an earlier line or in the database already. A comment belongs
  to the nearest earlier post.
- The system user is neither exported nor imported.
- Password hashes are exported only if the caller requests them. A user imported without one has an unusable password,
  which no sign-in matches, until a password is set.
- An export is one snapshot, an import one transaction: all or nothing. Memory does not grow with the file, because the
  database stores which line each user is from.
"""

import datetime
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import BinaryIO

import asyncpg
import orjson
from asyncpg import Record

from db.bulk.line_batches import CREATE_IMPORTED_USERS, Batch, LineCounts
from db.bulk.line_fields import (
    LINE_BYTES_MAX,
    PROFILE_FIELDS,
    ROW_KINDS,
    TABLES,
    USER_FIELDS,
    LineError,
    LineField,
    RowKind,
    parse_line,
)
from db.connections.database import Database, OpenTransaction
from db.connections.leases import Driver
from db.errors import Unavailable
from db.instants import write_instant

__all__ = ["TABLES", "LineCounts", "LineError", "export_lines", "import_lines", "read_lines"]

FETCH_ROWS = 200

# A pipe may be slow; an ordinary transaction never waits for one.
_ALLOW_PAUSES = "SET LOCAL idle_in_transaction_session_timeout = '10min'"


# ---------------------------------------------------------------- export


def _selected(fields: Mapping[str, LineField]) -> str:
    return ", ".join(field.column for field in fields.values())


_USERS = f"""
SELECT {_selected(USER_FIELDS)},
    CASE WHEN $1 THEN hashed_password END AS hashed_password,
    user_id IS NOT NULL AS has_profile, {_selected(PROFILE_FIELDS)}
FROM users LEFT JOIN profiles ON user_id = id WHERE role <> 'system' ORDER BY id
"""  # noqa: S608 - names of columns


def _rows_of(kind: RowKind) -> str:
    """Return the statement for all rows of a kind, or for the rows of the parents with ids from $1 to $2, in order."""
    authors = "JOIN (SELECT id AS user_id, username AS author FROM users) AS authors ON user_id = author_id"
    key = kind.parent_key
    return (
        f"SELECT id, {key or 'NULL'} AS parent_id, {_selected(kind.fields)} FROM {kind.table} "  # noqa: S608 - names
        f"{authors if 'author' in kind.fields else ''} "
        f"{f'WHERE {key} BETWEEN $1 AND $2 ORDER BY {key}, id' if key else 'ORDER BY id'}"
    )


async def export_lines(
    database: Database,
    write: Callable[[bytes], object],
    progress: Callable[[str, int, int], None],
    *,
    with_password_hashes: bool = False,
) -> LineCounts:
    """Export all users, then the rows of the other tables, each followed by the rows that belong to it.

    Args:
        database: the database to export.
        write: receives one or more whole lines per call.
        progress: receives a table's name, the number of its rows that are written, and the number of all its rows.
        with_password_hashes: whether lines of users include the hashes. Users can then keep their passwords in another
            database, but a reader of the file can try passwords on the hashes.

    Raises:
        Unavailable: the database does not answer, or not in time.
    """
    async with database.read() as snapshot:
        driver = snapshot.driver
        await driver.execute(_ALLOW_PAUSES)
        counts = await driver.fetchrow("SELECT " + ", ".join(map(_count_of, TABLES)))
        assert counts is not None
        total = LineCounts(dict(counts))
        async for done, rows in _pages(driver, _USERS, with_password_hashes):
            write(b"".join(map(_user_line, rows)))
            progress("users", done, total["users"])
        for kind in ROW_KINDS:
            if kind.parent is None:
                async for done, rows in _pages(driver, _rows_of(kind)):
                    await _write_rows(driver, kind, rows, write)
                    progress(kind.table, done, total[kind.table])
        return total


def _count_of(table: str) -> str:
    people = "WHERE role <> 'system'" if table == "users" else ""
    return f"(SELECT count(*) FROM {table} {people}) AS {table}"  # noqa: S608 - names


async def _write_rows(driver: Driver, kind: RowKind, rows: Sequence[Record], write: Callable[[bytes], object]) -> None:
    """Write the lines of rows, each followed by the lines of the rows that belong to it."""
    first, last = rows[0]["id"], rows[-1]["id"]
    children = [_Children(driver, one, first, last) for one in ROW_KINDS if one.parent is kind]
    for row in rows:
        write(_row_line(kind, row))
        for child in children:
            async for line in child.lines_of(row["id"]):
                write(line)


class _Children:
    """The lines of one kind of a range of parents. Its rows are read when they are needed, in pages."""

    def __init__(self, driver: Driver, kind: RowKind, first: int, last: int) -> None:
        self._kind = kind
        self._pages = _pages(driver, _rows_of(kind), first, last)
        self._rows: list[Record] = []

    async def lines_of(self, parent_id: int) -> AsyncIterator[bytes]:
        """Yield the lines of one parent. The parents must be given in the order of their ids."""
        while True:
            if not self._rows:
                async for _, rows in self._pages:
                    self._rows = rows[::-1]
                    break
            if not self._rows or self._rows[-1]["parent_id"] != parent_id:
                return
            yield _row_line(self._kind, self._rows.pop())


async def _pages(driver: Driver, sql: str, *arguments: object) -> AsyncIterator[tuple[int, list[Record]]]:
    """Yield pages of rows from a server-side cursor, each with the number of rows up to its end."""
    cursor = await driver.cursor(sql, *arguments)
    done = 0
    while rows := await cursor.fetch(FETCH_ROWS):
        done += len(rows)
        yield done, rows


def _user_line(row: Record) -> bytes:
    hashed = {} if row["hashed_password"] is None else {"hashedPassword": row["hashed_password"]}
    profile = _exported(PROFILE_FIELDS, row) if row["has_profile"] else None
    return _line({"type": "user", **_exported(USER_FIELDS, row), **hashed, "profile": profile})


def _row_line(kind: RowKind, row: Record) -> bytes:
    return _line({"type": kind.noun, **_exported(kind.fields, row)})


def _exported(fields: Mapping[str, LineField], row: Record) -> dict[str, object]:
    values = ((name, row[field.column]) for name, field in fields.items())
    return {name: write_instant(one) if isinstance(one, datetime.datetime) else one for name, one in values}


def _line(value: dict[str, object]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


# ---------------------------------------------------------------- import


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of `file`. A line that is too long is cut just behind the limit."""
    return iter(partial(file.readline, LINE_BYTES_MAX + 2), b"")


async def import_lines(database: Database, lines: Iterable[bytes], progress: Callable[[int], None]) -> LineCounts:
    """Add the users and the rows of `lines` to a database.

    `lines` are as `read_lines` yields them. `progress` receives the number of lines that are done.

    Raises:
        LineError: the first line that cannot be imported. Nothing was imported.
        Refusal: another client took one of the usernames or emails during the import. Nothing was imported.
        Unavailable: the database does not answer, or not in time. Nothing was imported.
    """
    is_begun = False

    async def work(transaction: OpenTransaction) -> LineCounts:
        nonlocal is_begun
        if is_begun:
            # After a lost connection, other writes are run again. This one cannot be: its lines have been consumed, and
            # a pipe yields them only once.
            raise Unavailable("DATABASE_UNAVAILABLE", "the transaction broke off; nothing was imported, try again")
        is_begun = True
        try:
            return await _import(transaction.driver, lines, progress)
        except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError) as error:
            raise Unavailable("DATABASE_BUSY", "others write the same rows; nothing was imported, try again") from error

    return await database.write(work)


async def _import(driver: Driver, lines: Iterable[bytes], progress: Callable[[int], None]) -> LineCounts:
    await driver.execute(_ALLOW_PAUSES)
    # The tables grow under statements that are prepared once: a plan made for few users would be kept for many.
    await driver.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    await driver.execute(CREATE_IMPORTED_USERS)
    now = datetime.datetime.now(datetime.UTC)
    number, counts, batch = 0, LineCounts(), Batch()
    for number, line in _numbered(lines):
        try:
            batch.add(parse_line(number, line.removesuffix(b"\n")), len(line))
        except LineError:
            # The error must name the first invalid line. An earlier line may be invalid for a reason that only the
            # database can find, such as a taken name.
            await batch.write(driver, now)
            raise
        if batch.is_full:
            await batch.write(driver, now)
            counts, batch = counts + batch.counts, Batch(last_ids=batch.last_ids)
            progress(number)
    await batch.write(driver, now)
    progress(number)
    return counts + batch.counts


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            yield number, line
    except OSError as error:
        raise LineError(number + 1, None, f"cannot be read: {error.strerror}") from error
