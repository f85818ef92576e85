"""A batch of the lines that `db.bulk.jsonlines` imports: checked against each other and the database, then written.

Invariant: the error names the first invalid line, whatever makes it invalid. Taken names and unknown authors are
therefore both checked before anything is written. If a line cannot be parsed, the caller writes the lines before it
first, and only then reports it.
"""

import datetime
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from db.bulk.line_fields import ROW_KINDS, UNUSABLE_PASSWORD, LineError, RowKind, RowLine, UserLine
from db.connections.leases import Driver
from db.models.base import stored_columns
from db.models.users import Profile, User

_USER_COLUMNS = stored_columns(User, without=("version",))  # each database assigns its own versions
_PROFILE_COLUMNS = stored_columns(Profile)

BATCH_LINES = 1000
BATCH_BYTES = 8 * 1024 * 1024

# The line of each user. The server stores it, so that the client's memory does not grow with the file.
CREATE_IMPORTED_USERS = "CREATE TEMP TABLE imported_users (user_id bigint, line bigint) ON COMMIT DROP"


LineCounts = Counter[str]
"""The number of lines by the name of the table, and `without_password`.

The latter is the number of imported users who cannot sign in until a password is set.
"""


@dataclass
class Batch:
    """Lines that are written together; `size` is their length in bytes.

    Attributes:
        rows: the lines of all tables but users, in the order of their numbers.
        last_ids: the id of the last row of each kind in earlier batches, and after `write` in this one. It is 0 for a
            kind whose first rows are in this batch.
    """

    users: list[UserLine] = field(default_factory=list)
    rows: list[RowLine] = field(default_factory=list)
    last_ids: dict[RowKind, int] = field(default_factory=dict)
    size: int = 0

    def add(self, line: UserLine | RowLine, size: int) -> None:
        """Add a line of `size` bytes.

        Raises:
            LineError: a row before any row of its parent.
        """
        if isinstance(line, UserLine):
            self.users.append(line)
        else:
            noun, parent = line.kind.noun, line.kind.parent
            if parent is not None and parent not in self.last_ids:
                raise LineError(line.number, None, f"is a {noun}, and there is no {parent.noun} on an earlier line")
            self.last_ids.setdefault(line.kind, 0)
            self.rows.append(line)
        self.size += size

    @property
    def is_full(self) -> bool:
        """Whether the batch has reached its limit of lines or bytes, and must be written."""
        return len(self.users) + len(self.rows) >= BATCH_LINES or self.size >= BATCH_BYTES

    @property
    def counts(self) -> LineCounts:
        """The number of lines of each table."""
        without_password = sum(user.values["hashed_password"] == UNUSABLE_PASSWORD for user in self.users)
        others = LineCounts(line.kind.table for line in self.rows)
        return others + LineCounts(users=len(self.users), without_password=without_password)

    async def write(self, driver: Driver, now: datetime.datetime) -> None:
        """Insert the users and the rows. Those without a creation time get `now`.

        Raises:
            LineError: a username or email is taken, or an author does not exist. Nothing of the batch is written.
        """
        taken = await _first_taken(driver, self.users)
        authors = await _author_ids(driver, self.rows)
        unknown = self._first_unknown_author(authors)
        if taken is not None or unknown is not None:
            raise min((error for error in (taken, unknown) if error is not None), key=lambda error: error.number)
        authors |= await _insert_users(driver, self.users, now)
        kinds = [line.kind for line in self.rows]
        ids = {kind: iter(await _next_ids(driver, kind.table, kinds.count(kind))) for kind in ROW_KINDS}
        rows: dict[RowKind, list[dict[str, Any]]] = {kind: [] for kind in ROW_KINDS}
        for _, kind, author, values in self.rows:
            row = _dated(values, now) | {"id": next(ids[kind])}
            if author is not None:
                row["author_id"] = authors[author.lower()]
            if kind.parent is not None:
                row[f"{kind.parent_key}"] = self.last_ids[kind.parent]
            self.last_ids[kind] = row["id"]
            rows[kind].append(row)
        for kind in ROW_KINDS:
            await _copy(driver, kind.table, kind.columns, rows[kind])

    def _first_unknown_author(self, authors: Mapping[str, int]) -> LineError | None:
        # Reversed, so that of several lines with one username the first is kept.
        lines = {user.values["username"].lower(): user.number for user in reversed(self.users)}
        for line in self.rows:
            author = (line.author or "").lower()
            if author and author not in authors and lines.get(author, line.number) >= line.number:
                return LineError(
                    line.number, "author", "is not the username of a user in the database or on an earlier line"
                )
        return None


def _dated(values: Mapping[str, Any], now: datetime.datetime) -> dict[str, Any]:
    created = values["created_at"] or now
    return {**values, "created_at": created, "updated_at": values["updated_at"] or created}


async def _copy(driver: Driver, table: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    records = [tuple(row[name] for name in columns) for row in rows]
    await driver.copy_records_to_table(table, columns=columns, records=records)


async def _first_taken(driver: Driver, users: Sequence[UserLine]) -> LineError | None:
    rows = await driver.fetch(
        "SELECT id, lower(username) AS username, lower(email) AS email FROM users "
        "WHERE lower(username) = any($1::text[]) OR lower(email) = any($2::text[])",
        [user.values["username"].lower() for user in users],
        [user.values["email"].lower() for user in users],
    )
    stored = [{row["username"]: row["id"] for row in rows}, {row["email"]: row["id"] for row in rows}]
    earlier: list[dict[str, int]] = [{}, {}]
    for user in users:
        for index, (name, value) in enumerate(
            (("username", user.values["username"].lower()), ("email", user.values["email"].lower()))
        ):
            line: int | None = earlier[index].setdefault(value, user.number)
            if value in stored[index]:
                line = await driver.fetchval("SELECT line FROM imported_users WHERE user_id = $1", stored[index][value])
            if line != user.number:
                where = "in the database" if line is None else f"on line {line}"
                return LineError(user.number, name, f"is taken already, {where}")
    return None


async def _author_ids(driver: Driver, lines: Sequence[RowLine]) -> dict[str, int]:
    rows = await driver.fetch(
        "SELECT lower(username) AS username, id FROM users "
        "WHERE lower(username) = any($1::text[]) AND role <> 'system'",
        list({line.author.lower() for line in lines if line.author is not None}),
    )
    return {row["username"]: row["id"] for row in rows}


async def _next_ids(driver: Driver, table: str, count: int) -> list[int]:
    """Return the next ids of a table in ascending order, so that ids rise with the lines."""
    rows = await driver.fetch(
        "SELECT nextval(pg_get_serial_sequence($1, 'id')) FROM generate_series(1, $2)", table, count
    )
    return [row[0] for row in rows]


async def _insert_users(driver: Driver, users: Sequence[UserLine], now: datetime.datetime) -> dict[str, int]:
    """Insert `users` with their profiles, and return their ids by username in lower case."""
    numbered = list(zip(await _next_ids(driver, "users", len(users)), users, strict=True))
    dated = [_dated(user.values, now) | {"id": user_id} for user_id, user in numbered]
    await _copy(driver, "users", _USER_COLUMNS, dated)
    profiles = [{"user_id": user_id, **user.profile} for user_id, user in numbered if user.profile is not None]
    await _copy(driver, "profiles", _PROFILE_COLUMNS, profiles)
    lines = [(user_id, user.number) for user_id, user in numbered]
    await driver.copy_records_to_table("imported_users", columns=["user_id", "line"], records=lines)
    return {user.values["username"].lower(): user_id for user_id, user in numbered}
