"""Many rows at once, for tests that count statements or walk lists: made by SQL, because no test depends on how.

The ledger's invariants hold for them, too: every balance is the sum of its incoming less its outgoing transactions.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from asyncpg import Record

from db.connections.database import Database, OpenTransaction


@dataclass(frozen=True)
class Population:
    """The ids of the rows, as clients see them; the n-th of each kind belongs to the n-th user."""

    users: list[str]
    posts: list[str]
    comments: list[str]
    accounts: list[str]
    transactions: list[str]


_USERS = """
    INSERT INTO users (email, username, hashed_password)
    SELECT 'reader' || n || '@example.org', 'reader' || n, '!' FROM generate_series(1, $1::int) AS n ORDER BY n
    RETURNING id
"""
_PROFILES = "INSERT INTO profiles (user_id, bio) SELECT id, 'Reads.' FROM unnest($1::bigint[]) AS id"
_POSTS = """
    INSERT INTO posts (title, content, published, author_id)
    SELECT 'Title ' || round || ' ' || author_id, 'Content.', true, author_id
    FROM generate_series(1, 3) AS round, unnest($1::bigint[]) WITH ORDINALITY AS authors (author_id, n)
    ORDER BY round, n RETURNING id
"""
# Each user comments on their own first post, and the next user on it, too.
_COMMENTS = """
    INSERT INTO comments (body, author_id, post_id)
    SELECT 'Comment ' || round, author_id, ($2::bigint[])[1 + (n - 1 + round) % cardinality($1::bigint[])]
    FROM generate_series(0, 1) AS round, unnest($1::bigint[]) WITH ORDINALITY AS authors (author_id, n)
    ORDER BY round, n RETURNING id
"""
_ACCOUNTS = """
    INSERT INTO accounts (owner_id, currency_code)
    SELECT owner_id, 'EUR' FROM unnest($1::bigint[]) WITH ORDINALITY AS owners (owner_id, n) ORDER BY n RETURNING id
"""
# A ring: each account pays the next one, and the last pays the first, so that all balances stay at zero.
_TRANSACTIONS = """
    INSERT INTO transactions (from_id, to_id, amount)
    SELECT id, lead(id, 1, ($1::bigint[])[1]) OVER (PARTITION BY round ORDER BY n), 100
    FROM unnest($1::bigint[]) WITH ORDINALITY AS accounts (id, n), generate_series(1, 2) AS round
    ORDER BY round, n RETURNING id
"""


async def populate(database: Database, count: int) -> Population:
    """Make `count` users, at least two, each with a profile, three posts and an account, and a ring of transactions."""

    async def work(transaction: OpenTransaction) -> Population:
        driver = transaction.driver
        users = _ids(await driver.fetch(_USERS, count))
        await driver.execute(_PROFILES, users)
        posts = _ids(await driver.fetch(_POSTS, users))
        comments = _ids(await driver.fetch(_COMMENTS, users, posts))
        accounts = _ids(await driver.fetch(_ACCOUNTS, users))
        transactions = _ids(await driver.fetch(_TRANSACTIONS, accounts))
        return Population(
            [f"user_{number}" for number in users],
            [f"post_{number}" for number in posts[:count]],
            [f"comment_{number}" for number in comments[:count]],
            [f"account_{number}" for number in accounts],
            [f"transaction_{number}" for number in transactions[:count]],
        )

    return await database.write(work)


START = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


def day(number: int) -> datetime.datetime:
    """Return the midnight `number` days after START."""
    return START + datetime.timedelta(days=number)


@dataclass(frozen=True)
class Text:
    """A post to make; its author is the treasury unless another one is given."""

    title: str = "Title"
    content: str = "Content."
    views: int = 0
    created_at: datetime.datetime = START
    published: bool = True
    author_id: int = 1


_POST = """
    INSERT INTO posts (title, content, views, created_at, published, author_id) VALUES ($1, $2, $3, $4, $5, $6)
    RETURNING 'post_' || id
"""


async def insert_posts(database: Database, posts: Sequence[Text]) -> list[str]:
    """Make posts and return their ids, in order."""

    async def work(transaction: OpenTransaction) -> list[str]:
        return [
            await transaction.driver.fetchval(
                _POST, one.title, one.content, one.views, one.created_at, one.published, one.author_id
            )
            for one in posts
        ]

    return await database.write(work)


_USER = """
    INSERT INTO users (email, username, hashed_password, is_active, created_at) VALUES ($1, $2, '!', $3, $4)
    RETURNING 'user_' || id
"""


async def insert_users(
    database: Database, users: Sequence[tuple[str, datetime.datetime]], *, active: bool = True
) -> list[str]:
    """Make users with these names and instants and return their ids, in order."""

    async def work(transaction: OpenTransaction) -> list[str]:
        return [
            await transaction.driver.fetchval(_USER, f"{name}@example.org", name, active, created_at)
            for name, created_at in users
        ]

    return await database.write(work)


def _ids(rows: list[Record]) -> list[int]:
    return sorted(row["id"] for row in rows)
