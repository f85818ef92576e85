"""Seeding: writes the rows of `db.seed.rows` into an empty database, by COPY.

Invariants:

- All rows are written in one transaction, or none. A database with rows is refused before any row is generated.
- Rows are generated while they are copied, so that memory grows only with users and accounts, which have a limit.
- Afterwards the tables have the same indexes as before, the identity columns continue behind the seeded rows, and the
  planner has statistics of the tables.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
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
from db.models import Account, Model, Post, Profile, Transaction, User
from db.models.base import stored_columns
from db.seed.rows import (
    CHILDREN,
    Crowd,
    FirstIds,
    Ledger,
    Row,
    SeedPlan,
    post_rows,
    profile_numbers,
    profile_rows,
    user_rows,
)

__all__ = ["Progress", "SeedError", "SeedPlan", "SeedReport", "seed"]

logger = logging.getLogger(__name__)

# The rows of one COPY. Until its end, the server stores each row whose foreign key it has to check.
BATCH_ROWS = 2000

# For the words and the indexes of millions of posts. Other statements have seconds.
STATEMENT_TIMEOUT = "30min"

# Some numbers of each user and account are in memory: with the maximum of both, about a gigabyte in all.
USERS_MAX = 2_000_000
ACCOUNTS_MAX = 2_000_000
# Posts take no memory. The maximum takes hours.
POSTS_MAX = 100_000_000

_LIMITS = {
    "users": USERS_MAX,
    "posts": POSTS_MAX,
    **{child.table: POSTS_MAX for child in CHILDREN},
    "accounts": ACCOUNTS_MAX,
    "transfers_per_account": 1000,
}

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
SeedReport = Mapping[str, int]
"""The number of rows that were written to each table. The accounts include those of the system user."""


class SeedError(Exception):
    """The plan cannot be carried out. Nothing was written. The message contains the reason and what to do."""


@dataclass(frozen=True)
class _Table:
    model: type[Model]
    count: int
    rows: Iterator[Row]

    @property
    def name(self) -> str:
        return str(self.model.__tablename__)


async def seed(database: Database, plan: SeedPlan, hashed_password: str, progress: Progress) -> SeedReport:
    """Fill an empty, migrated database according to `plan`.

    Args:
        database: a database without users except the system user.
        plan: the numbers of rows, and the seed.
        hashed_password: the hash of the one password that all seeded users share.
        progress: receives a table's name, the number of its rows that are written, and the number of all its rows.

    Raises:
        SeedError: the database is not empty, its role does not own the tables, or the plan cannot be carried out.
        Unavailable: the database does not answer, or not in time.
    """
    _ensure_possible(plan)
    # A first check, before any row is generated. The transaction checks again, under a lock.
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
        return {table.name: table.count for table in tables}

    try:
        report = await database.write(work)
    except asyncpg.InsufficientPrivilegeError as error:
        raise SeedError(f"{error}; seed with a FOLIO_DATABASE_URL whose role owns the tables") from error
    await _analyze(database, [name for name, count in report.items() if count])
    return report


def _made(plan: SeedPlan) -> tuple[Crowd, Ledger]:
    crowd = Crowd(plan)
    return crowd, Ledger(plan, crowd)


async def _in_background(work: Callable[[], T]) -> T:
    """Run a long computation, here up to a minute, in a daemon thread. A cancellation does not wait for it.

    The event loop would wait at its end for the thread of an executor.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        with suppress(RuntimeError):  # the loop is closed: no caller waits any more
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
    given = {**plan.counts, "transfers_per_account": plan.transfers_per_account}
    for name, number in given.items():
        if number < 0:
            raise SeedError(f"{name} is {number}; it must be 0 or more")
        if number > _LIMITS[name]:
            raise SeedError(f"{name} is {number}; the maximum is {_LIMITS[name]}")
    parents = {**{child.table: "post" for child in CHILDREN}, "posts": "user", "accounts": "user"}
    for name, parent in parents.items():
        if given[name] and not given[f"{parent}s"]:
            raise SeedError(f"{name} belong to {parent}s; seed at least 1 {parent}, or 0 {name}")


async def _ensure_empty(driver: Driver) -> None:
    # The lock prevents sign-ups until the end. Without users there are no posts and no accounts.
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
    # Higher than all ids that were ever assigned, even if their rows are deleted: an id is never assigned again.
    tables = ("users", "posts", *(child.table for child in CHILDREN), "accounts", "transactions")
    following = [
        f"1 + coalesce(pg_sequence_last_value(pg_get_serial_sequence('{name}', 'id')), 0) AS {name}" for name in tables
    ]
    system = "(SELECT id FROM users WHERE role = 'system') AS system"
    row = await driver.fetchrow(f"SELECT {', '.join(following)}, {system}")
    assert row is not None
    return dict(row)


def _tables(plan: SeedPlan, crowd: Crowd, ledger: Ledger, ids: FirstIds, hashed_password: str) -> list[_Table]:
    numbers = profile_numbers(plan)
    return [
        _Table(User, plan.users, user_rows(plan, crowd, ids, hashed_password)),
        _Table(Profile, len(numbers), profile_rows(plan, numbers, ids)),
        _Table(Post, plan.posts, post_rows(plan, crowd, ids)),
        *(_Table(child.model, plan.counts[child.table], child.rows(plan, crowd, ids)) for child in CHILDREN),
        _Table(Account, ledger.account_count, ledger.account_rows(ids)),
        _Table(Transaction, ledger.transaction_count, ledger.transaction_rows(ids)),
    ]


async def _copy(driver: Driver, table: _Table, progress: Progress) -> None:
    progress(table.name, 0, table.count)
    columns = stored_columns(table.model)
    records = map(itemgetter(*columns), table.rows)
    for done in range(0, table.count, BATCH_ROWS):
        # COPY stores the ids that it receives, although the columns are GENERATED ALWAYS.
        await driver.copy_records_to_table(table.name, columns=columns, records=islice(records, BATCH_ROWS))
        progress(table.name, min(done + BATCH_ROWS, table.count), table.count)


async def _drop_indexes_of_posts(driver: Driver) -> list[str]:
    """Drop the indexes of posts except the primary key, and return the statements that create them again.

    To copy 200,000 posts with their indexes takes 47 s. Without indexes it takes 36 s, nearly all of it for the words
    of each post, and 5 s more to build the indexes afterwards, because a sorted build writes each page once.
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
                f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) FROM {table.name}"  # noqa: S608 - a constant
            )


async def _analyze(database: Database, tables: Sequence[str]) -> None:
    """Collect the planner's statistics of `tables`, none of which is empty.

    For a table that was empty at the last ANALYZE, PostgreSQL expects no rows. It would plan to read the whole table
    for each row. Without statistics it uses the index. Connections keep their plans until autovacuum runs.
    """
    if not tables:
        return

    async def work(transaction: OpenTransaction) -> None:
        # ANALYZE samples 30,000 posts with all their words.
        await transaction.driver.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
        await transaction.driver.execute(f"ANALYZE {', '.join(tables)}")

    try:
        await database.write(work)
    except Unavailable as error:
        # The rows are written, and autovacuum will run within minutes.
        logger.warning("seeded, but the statistics are not gathered yet: %s", error)
