"""Many rows at once, for tests that count statements or walk lists: made by SQL, because how they came is not tested.

The ledger's invariants hold for them too: every balance is what came in less what went out.
"""

from dataclasses import dataclass

from asyncpg import Record

from db.engine import Database, Transaction


@dataclass(frozen=True)
class Population:
    """The ids of what was made, as clients see them; the n-th of each kind belongs to the n-th user."""

    users: list[str]
    posts: list[str]
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
_ACCOUNTS = """
    INSERT INTO accounts (owner_id, currency_code)
    SELECT owner_id, 'EUR' FROM unnest($1::bigint[]) WITH ORDINALITY AS owners (owner_id, n) ORDER BY n RETURNING id
"""
# A ring: each account gives to the next and the last to the first, so that all balances stay at zero.
_TRANSACTIONS = """
    INSERT INTO transactions (from_id, to_id, amount)
    SELECT id, lead(id, 1, ($1::bigint[])[1]) OVER (PARTITION BY round ORDER BY n), 100
    FROM unnest($1::bigint[]) WITH ORDINALITY AS accounts (id, n), generate_series(1, 2) AS round
    ORDER BY round, n RETURNING id
"""


async def populate(database: Database, count: int) -> Population:
    """Make `count` users, each with a profile, three posts and an account, and a ring of transactions between them."""

    async def work(transaction: Transaction) -> Population:
        driver = transaction.driver
        users = _ids(await driver.fetch(_USERS, count))
        await driver.execute(_PROFILES, users)
        posts = _ids(await driver.fetch(_POSTS, users))
        accounts = _ids(await driver.fetch(_ACCOUNTS, users))
        transactions = _ids(await driver.fetch(_TRANSACTIONS, accounts))
        return Population(
            [f"user_{number}" for number in users],
            [f"post_{number}" for number in posts[:count]],
            [f"account_{number}" for number in accounts],
            [f"transaction_{number}" for number in transactions[:count]],
        )

    return await database.write(work)


def _ids(rows: list[Record]) -> list[int]:
    return sorted(row["id"] for row in rows)
