"""A batch of the lines that `db.bulk.jsonlines` imports: checked against each other and the database, then written.

Invariant: the error names the first invalid line, whatever makes it invalid. Taken names and unknown authors are
therefore both checked before anything is written. If a line cannot be parsed, the caller writes the lines before it
first, and only then reports it.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from db.bulk.line_fields import UNUSABLE_PASSWORD, CommentLine, LineError, PostLine, UserLine
from db.connections.leases import Driver
from db.models.base import stored_columns
from db.models.comments import Comment
from db.models.posts import Post
from db.models.users import Profile, User

# Each database assigns its own versions, and its own ids of comments.
_USER_COLUMNS = stored_columns(User, but=("version",))
_PROFILE_COLUMNS = stored_columns(Profile)
_POST_COLUMNS = stored_columns(Post, but=("version",))
_COMMENT_COLUMNS = stored_columns(Comment, but=("id", "version"))

BATCH_LINES = 1000
BATCH_BYTES = 8 * 1024 * 1024

# The line of each user. The server stores it, so that the client's memory does not grow with the file.
CREATE_IMPORTED_USERS = "CREATE TEMP TABLE imported_users (user_id bigint, line bigint) ON COMMIT DROP"


@dataclass(frozen=True)
class LineCounts:
    """The number of lines of each type.

    Attributes:
        without_password: the number of imported users who cannot sign in until a password is set.
    """

    users: int = 0
    posts: int = 0
    comments: int = 0
    without_password: int = 0

    def __add__(self, more: "LineCounts") -> "LineCounts":
        return LineCounts(
            self.users + more.users,
            self.posts + more.posts,
            self.comments + more.comments,
            self.without_password + more.without_password,
        )


@dataclass
class Batch:
    """Lines that are written together; `size` is their length in bytes.

    Attributes:
        comments: each with the index of its post in `posts`; -1 is the last post of earlier batches.
        last_post_id: the id of the last post of earlier batches, and after `write` of this one.
    """

    users: list[UserLine] = field(default_factory=list)
    posts: list[PostLine] = field(default_factory=list)
    comments: list[tuple[int, CommentLine]] = field(default_factory=list)
    last_post_id: int | None = None
    size: int = 0

    def add(self, line: UserLine | PostLine | CommentLine, size: int) -> None:
        """Add a line of `size` bytes.

        Raises:
            LineError: a comment before any post.
        """
        if isinstance(line, UserLine):
            self.users.append(line)
        elif isinstance(line, PostLine):
            self.posts.append(line)
        elif self.posts or self.last_post_id is not None:
            self.comments.append((len(self.posts) - 1, line))
        else:
            raise LineError(line.number, None, "is a comment, and there is no post on an earlier line")
        self.size += size

    @property
    def is_full(self) -> bool:
        """Whether the batch has reached its limit of lines or bytes, and must be written."""
        return len(self.users) + len(self.posts) + len(self.comments) >= BATCH_LINES or self.size >= BATCH_BYTES

    @property
    def counts(self) -> LineCounts:
        """The number of lines of each type."""
        without_password = sum(user.values["hashed_password"] == UNUSABLE_PASSWORD for user in self.users)
        return LineCounts(len(self.users), len(self.posts), len(self.comments), without_password)

    async def write(self, driver: Driver, now: datetime.datetime) -> None:
        """Insert the users, posts and comments. Those without a creation time get `now`.

        Raises:
            LineError: a username or email is taken, or an author does not exist. Nothing of the batch is written.
        """
        taken = await _first_taken(driver, self.users)
        written: list[PostLine | CommentLine] = [*self.posts, *(comment for _, comment in self.comments)]
        written.sort(key=lambda line: line.number)
        authors = await _author_ids(driver, written)
        unknown = self._first_unknown_author(authors, written)
        if taken is not None or unknown is not None:
            raise min((error for error in (taken, unknown) if error is not None), key=lambda error: error.number)
        authors |= await _insert_users(driver, self.users, now)
        ids = await _next_ids(driver, "posts", len(self.posts))
        await _copy(
            driver,
            "posts",
            _POST_COLUMNS,
            [
                _dated(post.values, now) | {"id": post_id, "author_id": authors[post.author.lower()]}
                for post_id, post in zip(ids, self.posts, strict=True)
            ],
        )
        await _copy(
            driver,
            "comments",
            _COMMENT_COLUMNS,
            [
                _dated(comment.values, now)
                | {"post_id": self.last_post_id if at < 0 else ids[at], "author_id": authors[comment.author.lower()]}
                for at, comment in self.comments
            ],
        )
        self.last_post_id = ids[-1] if ids else self.last_post_id

    def _first_unknown_author(
        self, authors: Mapping[str, int], written: Sequence[PostLine | CommentLine]
    ) -> LineError | None:
        # Reversed, so that of several lines with one username the first is kept.
        lines = {user.values["username"].lower(): user.number for user in reversed(self.users)}
        for line in written:
            author = line.author.lower()
            if author not in authors and lines.get(author, line.number) >= line.number:
                return LineError(line.number, "author", "is nobody in the database or on an earlier line")
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


async def _author_ids(driver: Driver, posts: Sequence[PostLine | CommentLine]) -> dict[str, int]:
    rows = await driver.fetch(
        "SELECT lower(username) AS username, id FROM users "
        "WHERE lower(username) = any($1::text[]) AND role <> 'system'",
        list({post.author.lower() for post in posts}),
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
