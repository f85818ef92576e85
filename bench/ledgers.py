"""A large ledger for audits: a separate PostgreSQL, whose rows are written by SQL and not by requests.

Each transaction has a key. The first tenth of the transactions are deposits, equally many for each account, so that one
account, the system's, takes part in a tenth of all rows. The others are transfers between two random accounts. The
balances are computed from the rows.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from alembic import command

from db.embedded.server import EmbeddedServer, embedded_postgres
from db.ledger.audit_statements import REQUEST_HASH
from db.setup.schema_version import alembic_config

OPTIONS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "maintenance_work_mem": "512MB"}
ACCOUNTS_OF_USER = 10

_ALONE = """
SET session_replication_role = replica;
SET synchronous_commit = off;
ALTER TABLE idempotency_keys DROP CONSTRAINT uq_idempotency_keys_owner_id_key;
ALTER TABLE transactions DROP CONSTRAINT uq_transactions_key_id;
DROP INDEX ix_transactions_from_id_id_covering, ix_transactions_to_id_id_covering;
"""
# The system's user and its account have the id 1; the only administrator has the id 2.
_USERS = """
INSERT INTO users (id, email, username, hashed_password, role, created_at, updated_at) OVERRIDING SYSTEM VALUE
SELECT 1 + n, 'user' || n || '@example.org', 'user' || n, '!', CASE n WHEN 1 THEN 'admin' ELSE 'member' END,
       '2026-01-01', '2026-01-01'
  FROM generate_series(1, $1::bigint) AS n ORDER BY n
"""
_ACCOUNTS = """
INSERT INTO accounts (id, owner_id, currency_code, is_system) OVERRIDING SYSTEM VALUE
SELECT 1 + n, CASE n WHEN 0 THEN 1 ELSE 2 + n % $2::bigint END, 'EUR', n = 0
  FROM generate_series(0, $1::bigint) AS n ORDER BY n
"""
_LEDGER = """
WITH drawn AS (
    SELECT n, n <= $1::bigint / 10 AS is_deposit,
           2 + CASE WHEN n <= $1::bigint / 10 THEN n % $2::bigint
               ELSE floor(random() * $2::bigint)::bigint END AS to_id,
           floor(random() * ($2::bigint - 1))::bigint AS step, 1 + floor(random() * 100)::bigint AS units
      FROM generate_series(1, $1::bigint) AS n ORDER BY n
)
INSERT INTO transactions (id, from_id, to_id, amount, key_id) OVERRIDING SYSTEM VALUE
SELECT n, CASE WHEN is_deposit THEN 1 ELSE 2 + (to_id - 2 + 1 + step) % $2::bigint END, to_id,
       CASE WHEN is_deposit THEN 1000000 ELSE units END, n
  FROM drawn
"""
_KEYS = f"""
INSERT INTO idempotency_keys (id, owner_id, key, operation, request_hash) OVERRIDING SYSTEM VALUE
SELECT id, owner_id, gen_random_uuid(), operation, {REQUEST_HASH} FROM (
    SELECT transactions.*, CASE WHEN source.is_system THEN 2 ELSE source.owner_id END AS owner_id, 2 AS exponent,
           CASE WHEN source.is_system THEN 'deposit' ELSE 'transfer' END AS operation
      FROM transactions JOIN accounts AS source ON source.id = from_id ORDER BY transactions.id
) AS made
"""  # noqa: S608 - constants
_BALANCES = """
UPDATE accounts SET balance = coalesce(moved.total, 0) FROM (
    SELECT id, sum(amount) AS total FROM (
        SELECT to_id AS id, amount FROM transactions UNION ALL SELECT from_id, -amount FROM transactions
    ) AS ends GROUP BY id
) AS moved WHERE moved.id = accounts.id
"""
_TOGETHER = """
ALTER TABLE idempotency_keys ADD CONSTRAINT uq_idempotency_keys_owner_id_key UNIQUE (owner_id, key);
ALTER TABLE transactions ADD CONSTRAINT uq_transactions_key_id UNIQUE (key_id);
"""


@contextmanager
def ledger_of(directory: Path, accounts: int, transactions: int, *, covering: bool) -> Iterator[EmbeddedServer]:
    """Start PostgreSQL in `directory` with a large ledger, which is written at the first start.

    Args:
        directory: the directory of the clusters.
        accounts: the number of accounts besides the system's.
        transactions: the number of rows in the ledger.
        covering: whether the indexes by account also contain the amounts.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # root's PostgreSQL runs as another account
    with embedded_postgres(directory / f"ledger-{accounts}-{transactions}", options=OPTIONS) as server:
        command.upgrade(alembic_config(server.url()), "head")
        asyncio.run(_filled(server, accounts, transactions, covering))
        yield server


async def _filled(server: EmbeddedServer, accounts: int, transactions: int, covering: bool) -> None:
    connection = await asyncpg.connect(server.url(role="postgres").replace("+asyncpg", ""))
    try:
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM transactions)"):
            users = max(1, accounts // ACCOUNTS_OF_USER)
            async with connection.transaction():
                await connection.execute(_ALONE)
                await connection.execute(_USERS, users)
                await connection.execute(_ACCOUNTS, accounts, users)
                await connection.execute(_LEDGER, transactions, accounts)
                await connection.execute(_KEYS)
                await connection.execute(_BALANCES)
                await connection.execute(_TOGETHER)
        for column in ("from_id", "to_id"):
            await _index(connection, column, covering=covering)
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()


async def _index(connection: "asyncpg.Connection[asyncpg.Record]", column: str, *, covering: bool) -> None:
    """Make the index by `column`, with or without amounts, unless it exists; drop the other one."""
    plain = f"ix_transactions_{column}_id"
    name, other = (f"{plain}_covering", plain) if covering else (plain, f"{plain}_covering")
    include = "INCLUDE (amount, created_at)" if covering else ""
    await connection.execute(f"DROP INDEX IF EXISTS {other}")
    await connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON transactions ({column}, id) {include}")
