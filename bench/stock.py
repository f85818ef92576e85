"""The stored rows: a separate, seeded PostgreSQL, and the ids and values that requests use.

The rows are those of `folio seed`, with one change: posts are distributed evenly among active users, so that "10 posts
of each of 20 users" are 200 posts, independent of a few busy authors. PostgreSQL runs with its default durability: a
commit is on disk before it is acknowledged.
"""

import asyncio
import datetime
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from alembic import command
from pydantic import SecretStr

from db.connections.database import Database
from db.embedded.server import EmbeddedServer, embedded_postgres
from db.ledger.audit import Defect, audit
from db.money import from_minor
from db.seed.seeding import SeedPlan, seed
from db.settings import Settings
from db.setup.schema_version import alembic_config
from graph.runtime.tokens import TokenSigner

TOKEN_TTL_S = 86_400
READER = "bench_reader"  # PostGraphile's role, which may only read
NOBODY = "-"  # in place of a token
RELOAD_S = 0.3  # the time until every connection has read the configuration again

# pg_stat_statements is loaded to count statements. It is switched off while times are measured.
OPTIONS = {
    "shared_preload_libraries": "pg_stat_statements",
    "max_connections": "200",
    "shared_buffers": "512MB",
}


@dataclass(frozen=True)
class Size:
    """The number of rows of each kind."""

    users: int = 10_000
    posts: int = 200_000
    accounts: int = 2000


@dataclass(frozen=True)
class OwnAccount:
    """An account, with the token of its owner and the smallest amount of its currency."""

    id: int
    currency: str
    least: str
    token: str


@dataclass(frozen=True)
class Position:
    """The place of a row in its list, newest first. Each dialect has its own cursor for it."""

    list_name: str
    id: int
    created_at: datetime.datetime


@dataclass(frozen=True)
class Stock:
    """The values that random requests use.

    Attributes:
        users: the ids of all persons.
        published: the ids of published posts.
        positions: positions in the lists `users` and `posts`, from the whole table; at least 100 rows follow each.
        periods: begin and end of periods from the whole table, each with 300 published posts.
        thresholds: different numbers of views; between 170 and 1,700 posts have at least as many.
        owned: the ids of posts, each with the token of its author.
        accounts: the thousand accounts with the highest balances.
        pair: two accounts with the same currency.
    """

    users: list[int]
    published: list[int]
    positions: dict[str, list[Position]]
    periods: list[tuple[datetime.datetime, datetime.datetime]]
    thresholds: list[int]
    owned: list[tuple[int, str]]
    accounts: list[OwnAccount]
    pair: list[OwnAccount]


@dataclass(frozen=True)
class Place:
    """The running database, and the secret for Folio's tokens."""

    server: EmbeddedServer
    secret_key: str
    postmaster: int

    def dsn(self, role: str = "folio") -> str:
        """Return the URL for libpq and asyncpg."""
        return self.server.url(role=role).replace("+asyncpg", "")


@contextmanager
def stocked(directory: Path, size: Size) -> Iterator[Place]:
    """Start PostgreSQL in `directory`. At the first start, create and fill the tables."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)  # root's PostgreSQL runs as another account
    with embedded_postgres(
        directory / f"postgres-{size.users}-{size.posts}-{size.accounts}", options=OPTIONS
    ) as server:
        command.upgrade(alembic_config(server.url()), "head")
        postmaster = asyncio.run(_filled(server, size))
        yield Place(server, secrets.token_urlsafe(48), postmaster)


async def _filled(server: EmbeddedServer, size: Size) -> int:
    connection = await asyncpg.connect(server.url(role="postgres").replace("+asyncpg", ""))
    try:
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM users WHERE role <> 'system')"):
            first = await connection.fetchval(_FIRST_USER)
            await connection.execute(_DEAL_OUT.format(first=first, users=size.users))
            await _seed(server, size)
        await connection.execute(_DEALT_OUT)
        await connection.execute(_PREPARED)
        await connection.execute("ALTER SYSTEM SET pg_stat_statements.track = 'none'")
        await connection.execute("SELECT pg_reload_conf()")
        # PostgreSQL expects no rows in a table that was empty when it was analysed. It would plan foreign key checks on
        # it as scans of the whole table, and each connection would keep these plans until the next analysis.
        exists = "SELECT EXISTS (SELECT FROM {})"
        filled = [name for name in _TABLES if await connection.fetchval(exists.format(name))]
        await connection.execute(f"VACUUM (ANALYZE) {', '.join(filled)}")
        backend: int = await connection.fetchval("SELECT pg_backend_pid()")
        return int(_status(backend, "PPid"))
    finally:
        await connection.close()


def _status(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


async def _seed(server: EmbeddedServer, size: Size) -> None:
    database = Database(Settings(database_url=SecretStr(server.url())))
    try:
        plan = SeedPlan(size.users, size.posts, size.accounts)
        await seed(database, plan, "!", lambda _table, _done, _count: None)  # no password is used
    finally:
        await database.close()


_TABLES = ("users", "posts", "accounts", "transactions", "idempotency_keys", "sessions")
_FIRST_USER = "SELECT 1 + pg_sequence_last_value(pg_get_serial_sequence('users', 'id'))"
# A trigger during the copy: changing millions of posts afterwards, with all their indexes, takes longer than seeding.
_DEAL_OUT = """
CREATE OR REPLACE FUNCTION deal_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.author_id := {first} + NEW.id % {users};
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER deal_out BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION deal_out();
"""
_DEALT_OUT = """
DROP TRIGGER IF EXISTS deal_out ON posts;
DROP FUNCTION IF EXISTS deal_out;
UPDATE users SET is_active = true WHERE role <> 'system' AND NOT is_active;
-- The system's own user has no posts, and would be the newest.
UPDATE users SET created_at = '2000-01-01' WHERE role = 'system';
"""

_PREPARED = f"""
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
DO $$ BEGIN CREATE ROLE {READER} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT USAGE ON SCHEMA public TO {READER};
GRANT SELECT ON users, posts TO {READER};
-- Folio's own index is for its condition on the role. Peers that list users without this condition would sort them all.
CREATE INDEX IF NOT EXISTS bench_users_created_at_id ON users (created_at, id);
"""


# By rank, so that the number of counted rows does not depend on the size.
_THRESHOLDS = """
SELECT DISTINCT views FROM (
    SELECT views, row_number() OVER (ORDER BY views DESC, id DESC) AS rank FROM posts WHERE published
    ORDER BY views DESC, id DESC LIMIT 1700
) ranked WHERE rank >= 170 ORDER BY views
"""
# A repeatable choice of rows from the whole table.
_POSITIONS = """
SELECT id, created_at FROM (
    SELECT id, created_at, row_number() OVER (ORDER BY created_at, id) AS place FROM {table} WHERE {listed}
) placed WHERE place > {follow} ORDER BY md5(id::text) LIMIT {limit}
"""
_PERIODS = """
SELECT since, until FROM (
    SELECT id, created_at AS since, lead(created_at, {posts}) OVER (ORDER BY created_at, id) AS until
    FROM posts WHERE published
) period WHERE until IS NOT NULL ORDER BY md5(id::text) LIMIT {limit}
"""
_PERSONS = "role <> 'system'"
_USERS = f"SELECT id FROM users WHERE {_PERSONS} ORDER BY id"  # noqa: S608 - a constant
_DRAWN_MAX = 5000
_FOLLOW = 100
_POSTS_OF_PERIOD = 300


async def drawn_from(place: Place) -> Stock:
    """Read the values for random requests, and open a session for each user who will write."""
    connection = await asyncpg.connect(place.dsn())
    try:
        users = [row[0] for row in await connection.fetch(_USERS)]
        published = [row[0] for row in await connection.fetch("SELECT id FROM posts WHERE published ORDER BY id")]
        positions = {
            table: [
                Position(table, row["id"], row["created_at"])
                for row in await connection.fetch(
                    _POSITIONS.format(table=table, listed=listed, follow=_FOLLOW, limit=_DRAWN_MAX)
                )
            ]
            for table, listed in (("users", _PERSONS), ("posts", "published"))
        }
        periods = [
            (row["since"], row["until"])
            for row in await connection.fetch(_PERIODS.format(posts=_POSTS_OF_PERIOD, limit=_DRAWN_MAX))
        ]
        thresholds = [row[0] for row in await connection.fetch(_THRESHOLDS)]
        posts = await connection.fetch("SELECT id, author_id FROM posts WHERE id % 20 = 0 ORDER BY id LIMIT 1000")
        accounts = await connection.fetch(
            "SELECT id, owner_id, currency_code FROM accounts WHERE NOT is_system ORDER BY balance DESC LIMIT 1000"
        )
        owners = sorted({row["author_id"] for row in posts} | {row["owner_id"] for row in accounts})
        tokens = await signed_in(connection, place, owners)
    finally:
        await connection.close()
    usable = [
        OwnAccount(row["id"], row["currency_code"], str(from_minor(1, row["currency_code"])), tokens[row["owner_id"]])
        for row in accounts
    ]
    pair = [account for account in usable if account.currency == usable[0].currency][:2]
    owned = [(row["id"], tokens[row["author_id"]]) for row in posts]
    return Stock(users, published, positions, periods, thresholds, owned, usable, pair)


async def signed_in(
    connection: "asyncpg.Connection[asyncpg.Record]", place: Place, owners: list[int]
) -> dict[int, str]:
    """Open a session for each of these users, and return their access tokens."""
    settings = Settings(secret_key=SecretStr(place.secret_key), access_token_ttl_s=TOKEN_TTL_S)
    signer = TokenSigner(settings)
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=TOKEN_TTL_S)
    sessions = await connection.fetch(
        "INSERT INTO sessions (user_id, expires_at) SELECT unnest($1::bigint[]), $2 RETURNING user_id, id",
        owners,
        until,
    )
    return {row["user_id"]: signer.sign(row["user_id"], row["id"]).text for row in sessions}


async def counted(place: Place, role: str, work: Callable[[], None]) -> int:
    """Return the number of statements that `role` sends while `work` runs, including BEGIN and COMMIT."""
    connection = await asyncpg.connect(place.dsn("postgres"))
    try:
        await _track(connection, "top")
        await connection.execute("SELECT pg_stat_statements_reset()")
        await asyncio.to_thread(work)
        count: int = await connection.fetchval(
            "SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid "
            "WHERE r.rolname = $1",
            role,
        )
        await _track(connection, "none")
    finally:
        await connection.close()
    return count


async def _track(connection: "asyncpg.Connection[asyncpg.Record]", what: str) -> None:
    await connection.execute(f"ALTER SYSTEM SET pg_stat_statements.track = '{what}'")
    await connection.execute("SELECT pg_reload_conf()")
    await asyncio.sleep(RELOAD_S)


async def ensure_right_balances(place: Place) -> None:
    """Compare every balance with the ledger, after all transfers.

    Raises:
        RuntimeError: a balance is wrong, because a peer has moved money wrongly.
    """
    database = Database(Settings(database_url=SecretStr(place.server.url())))
    try:
        found = await audit(database)
    finally:
        await database.close()
    # The peers store other request digests with their keys. Differences of accounts come first in the report.
    wrong = [one for one in found.differences if one.defect is not Defect.REQUEST]
    if wrong:
        raise RuntimeError(f"the ledger does not balance: {wrong}")


async def changes(place: Place) -> int:
    """Return a number that grows by one with each transfer and each update of a post."""
    connection = await asyncpg.connect(place.dsn())
    try:
        total: int = await connection.fetchval(
            "SELECT (SELECT count(*) FROM transactions) + (SELECT sum(version)::bigint FROM posts)"
        )
    finally:
        await connection.close()
    return total
