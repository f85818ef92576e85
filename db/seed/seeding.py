"""Seeding: writes what `db.seed.rows` makes into an empty database, by COPY.

Invariants: all or nothing, in one transaction that refuses to begin where anything is stored already; nothing is made
before the database was found empty; rows are made while they are copied, so that memory grows with users and accounts
alone, which have a limit; afterwards the tables have the indexes that they had, the identity columns continue behind
the seeded rows, and the planner knows the tables.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

import asyncpg
from asyncpg import Record
from sqlalchemy import text

from db.connections.database import Database, OpenTransaction
from db.connections.leases import Driver
from db.connections.statements import Statement
from db.errors import Unavailable
from db.models import Account, Comment, Model, Post, Profile, Transaction, User
from db.models.base import stored_columns
from db.seed.rows import (
    Crowd,
    FirstIds,
    Ledger,
    Row,
    SeedPlan,
    comment_rows,
    post_rows,
    profile_numbers,
    profile_rows,
    user_rows,
)

__all__ = ["Progress", "SeedError", "SeedPlan", "SeedReport", "seed"]

logger = logging.getLogger(__name__)

# One COPY: until its end the server remembers each row whose foreign key it has to check.
BATCH_ROWS = 2000

# For the words and the indexes of millions of posts. An ordinary statement has seconds.
STATEMENT_TIMEOUT = "30min"

# Of each user and account some numbers are held in memory: with as many of both, about a gigabyte in all.
USERS_MAX = 2_000_000
ACCOUNTS_MAX = 2_000_000
# Posts are held nowhere; these take hours.
POSTS_MAX = 100_000_000

_LIMITS = {
    "users": USERS_MAX,
    "posts": POSTS_MAX,
    "comments": POSTS_MAX,
    "accounts": ACCOUNTS_MAX,
    "transfers_per_account": 1000,
}

T = TypeVar("T")
Progress = Callable[[str, int, int], None]


class SeedError(Exception):
    """Data that cannot be seeded as asked for. Nothing was written; the message says why and what to do."""


@dataclass(frozen=True)
class SeedReport:
    """How many rows each table was given. The system's own accounts count among the accounts."""

    users: int
    profiles: int
    posts: int
    accounts: int
    transactions: int
    comments: int = 0


@dataclass(frozen=True)
class _Table:
    model: type[Model]
    count: int
    rows: Iterator[Row]

    @property
    def name(self) -> str:
        return str(self.model.__tablename__)


async def seed(database: Database, plan: SeedPlan, hashed_password: str, progress: Progress) -> SeedReport:
    """Fill an empty, migrated database as `plan` says.

    Args:
        database: holds no user but the system's own.
        plan: what to seed.
        hashed_password: the hash of the one password that all seeded users share.
        progress: is told a table's name, how many of its rows are written, and how many there will be.

    Raises:
        SeedError: the database is not empty, its role does not own the tables, or the plan cannot be carried out.
        Unavailable: the database does not answer, or not in time.
    """
    _ensure_possible(plan)
    # Before anything is made; the transaction looks once more, where nobody can come in between.
    _refuse_filled(await database.fetch(_FILLED, {}))
    crowd, ledger = await _in_background(lambda: _made(plan))

    async def work(transaction: OpenTransaction) -> SeedReport:
        driver = transaction.driver
        await driver.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        await _ensure_empty(driver)
        ids = await _first_ids(driver)
        tables = _tables(plan, crowd, ledger, ids, hashed_password)
        indexes = await _drop_indexes_of_posts(driver)
        for table in tables:
            await _copy(driver, table, progress)
        await _create_indexes(driver, indexes, progress)
        await _continue_identities(driver, tables)
        return SeedReport(**{table.name: table.count for table in tables})

    try:
        report = await database.write(work)
    except asyncpg.InsufficientPrivilegeError as error:
        raise SeedError(f"{error}; seed with a FOLIO_DATABASE_URL whose role owns the tables") from error
    await _analyze(database, [name for name, count in asdict(report).items() if count])
    return report


def _made(plan: SeedPlan) -> tuple[Crowd, Ledger]:
    crowd = Crowd(plan)
    return crowd, Ledger(plan, crowd)


async def _in_background(work: Callable[[], T]) -> T:
    """Run what computes for long, up to a minute here, beside the event loop; a cancellation does not wait for it.

    The thread of an executor would be waited for at the end of the loop.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            try:
                result = work()
            except Exception as error:  # noqa: BLE001 - raised again where it is awaited
                loop.call_soon_threadsafe(_settle, done, None, error)
            else:
                loop.call_soon_threadsafe(_settle, done, result, None)

    threading.Thread(target=run, name="seed", daemon=True).start()
    return await done


def _settle(future: "asyncio.Future[Any]", result: object, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _ensure_possible(plan: SeedPlan) -> None:
    for name, limit in _LIMITS.items():
        if getattr(plan, name) < 0:
            raise SeedError(f"{name} is {getattr(plan, name)}; ask for 0 or more")
        if getattr(plan, name) > limit:
            raise SeedError(f"{name} is {getattr(plan, name)}; ask for {limit} at most")
    if plan.comments and not plan.posts:
        raise SeedError("comments belong to posts; ask for at least 1 post, or for 0 comments")
    for name in ("posts", "accounts"):
        if getattr(plan, name) and not plan.users:
            raise SeedError(f"{name} belong to users; ask for at least 1 user, or for 0 {name}")


async def _ensure_empty(driver: Driver) -> None:
    # Until the end nobody signs up, and without a user nobody writes a post or opens an account.
    await driver.execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
    _refuse_filled(await driver.fetch(_FILLED.sql))


_FILLED = Statement(
    text(
        "SELECT 'users' WHERE EXISTS (SELECT FROM users WHERE role <> 'system') "
        "UNION ALL SELECT 'posts' WHERE EXISTS (SELECT FROM posts) "
        "UNION ALL SELECT 'accounts' WHERE EXISTS (SELECT FROM accounts)"
    )
)


def _refuse_filled(filled: Sequence[Record]) -> None:
    if filled:
        raise SeedError(
            f"the database has {' and '.join(row[0] for row in filled)} already, and only an empty one is seeded; "
            "point FOLIO_DATABASE_URL at a new database, or FOLIO_DATA_DIR at a new directory"
        )


async def _first_ids(driver: Driver) -> FirstIds:
    # Behind all that were ever given out, be their rows deleted: an id never comes to mean something else.
    row = await driver.fetchrow(
        "SELECT 1 + coalesce(pg_sequence_last_value(pg_get_serial_sequence('users', 'id')), 0), "
        "1 + coalesce(pg_sequence_last_value(pg_get_serial_sequence('posts', 'id')), 0), "
        "1 + coalesce(pg_sequence_last_value(pg_get_serial_sequence('comments', 'id')), 0), "
        "1 + coalesce(pg_sequence_last_value(pg_get_serial_sequence('accounts', 'id')), 0), "
        "1 + coalesce(pg_sequence_last_value(pg_get_serial_sequence('transactions', 'id')), 0), "
        "(SELECT id FROM users WHERE role = 'system')"
    )
    assert row is not None
    return FirstIds(*row)


def _tables(plan: SeedPlan, crowd: Crowd, ledger: Ledger, ids: FirstIds, hashed_password: str) -> list[_Table]:
    numbers = profile_numbers(plan)
    return [
        _Table(User, plan.users, user_rows(plan, crowd, ids, hashed_password)),
        _Table(Profile, len(numbers), profile_rows(plan, numbers, ids)),
        _Table(Post, plan.posts, post_rows(plan, crowd, ids)),
        _Table(Comment, plan.comments, comment_rows(plan, crowd, ids)),
        _Table(Account, ledger.account_count, ledger.account_rows(ids)),
        _Table(Transaction, ledger.transaction_count, ledger.transaction_rows(ids)),
    ]


async def _copy(driver: Driver, table: _Table, progress: Progress) -> None:
    progress(table.name, 0, table.count)
    columns = stored_columns(table.model)
    records = map(itemgetter(*columns), table.rows)
    for done in range(0, table.count, BATCH_ROWS):
        # COPY stores the ids that it is given, though the columns are GENERATED ALWAYS.
        await driver.copy_records_to_table(table.name, columns=columns, records=islice(records, BATCH_ROWS))
        progress(table.name, min(done + BATCH_ROWS, table.count), table.count)


async def _drop_indexes_of_posts(driver: Driver) -> list[str]:
    """Drop the indexes of posts but the primary key, and return the statements that make them again.

    200,000 posts with their indexes take 47 s to copy. Without them it is 36 s, nearly all of it for the words of each
    post, and 5 s more to build the indexes afterwards: a sorted build touches each page once.
    """
    rows = await driver.fetch(
        "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition "
        "FROM pg_index WHERE indrelid = 'posts'::regclass AND NOT indisunique ORDER BY 1"
    )
    for row in rows:
        await driver.execute(f"DROP INDEX {row['name']}")
    return [row["definition"] for row in rows]


async def _create_indexes(driver: Driver, definitions: Sequence[str], progress: Progress) -> None:
    for done, definition in enumerate(definitions):
        progress("indexes", done, len(definitions))
        await driver.execute(definition)
    progress("indexes", len(definitions), len(definitions))


async def _continue_identities(driver: Driver, tables: Sequence[_Table]) -> None:
    for table in tables:
        if "id" in stored_columns(table.model) and table.count:
            await driver.execute(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) FROM {table.name}"  # noqa: S608 - a name of ours
            )


async def _analyze(database: Database, tables: Sequence[str]) -> None:
    """Tell the planner what is in `tables`, none of which is empty.

    Of a table that was empty then, PostgreSQL expects nothing: it would plan to read all of it for each row, where it
    knows nothing it looks into the index, and connections keep their plans until autovacuum comes by.
    """
    if not tables:
        return

    async def work(transaction: OpenTransaction) -> None:
        # 30,000 posts are sampled with all their words.
        await transaction.driver.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        await transaction.driver.execute(f"ANALYZE {', '.join(tables)}")

    try:
        await database.write(work)
    except Unavailable as error:
        # What was asked for is done, and autovacuum will come by within minutes.
        logger.warning("seeded, but the statistics are not gathered yet: %s", error)
